package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lode/scheduler/api"
)

// The token goes to the leader that a standby names on purpose, and nowhere else.
func TestTokenFollowsOnlyToTheLeader(t *testing.T) {
	for _, test := range []struct {
		name   string
		header func(to string) string // what the standby says of the leader
		token  string
		err    string // part of it
	}{
		{"the leader", func(to string) string { return to }, "secret", ""},
		{"no standby speaks", func(string) string { return "" }, "secret", "not as a standby does"},
		{"the leader is another one", func(string) string { return "http://10.0.0.1:8650" }, "secret", "not as a standby does"},
		{"a beginning of its address", func(to string) string { return to[:len(to)-1] }, "secret", "not as a standby does"},
		{"no token, no harm", func(string) string { return "" }, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := make(chan string, 1)
			to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Header.Get("Authorization")
				w.Write([]byte(`{"framework_id": ""}`))
			}))
			defer to.Close()
			standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if h := test.header(to.URL); h != "" {
					w.Header().Set(api.LeaderHeader, h)
				}
				http.Redirect(w, r, to.URL+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			}))
			defer standby.Close()
			c, err := api.NewClient(standby.URL, test.token, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Get(t.Context(), api.StatusPath, new(api.Status))
			if test.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := <-seen; strings.TrimPrefix(got, "Bearer ") != test.token {
					t.Errorf("the leader was sent %q", got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v", err)
			}
			select {
			case got := <-seen:
				t.Errorf("it was followed, with %q", got)
			default:
			}
		})
	}
}
