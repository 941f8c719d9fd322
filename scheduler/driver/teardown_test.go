package driver_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lode/scheduler/driver"
)

func TestTeardown(t *testing.T) {
	var ended []string
	leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, secret, _ := r.BasicAuth()
		switch id := r.PostFormValue("frameworkId"); {
		case r.Method != http.MethodPost || r.URL.Path != "/teardown":
			http.NotFound(w, r)
		case user != "lode" || secret != "s":
			w.WriteHeader(http.StatusUnauthorized)
		case id == "F1":
			ended = append(ended, id)
		default:
			http.Error(w, "No framework found with specified ID", http.StatusBadRequest)
		}
	}))
	defer leader.Close()
	follower := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", strings.TrimPrefix(leader.URL, "http:")+"/teardown")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer follower.Close()
	recovering := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Leader not found", http.StatusServiceUnavailable)
	}))
	defer recovering.Close()
	lost := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "//"+r.Host+"/teardown")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer lost.Close()

	for name, test := range map[string]struct {
		masters   []string
		framework string
		secret    string
		is        error
		text      string // "": it is ended
	}{
		"the leader":            {[]string{leader.URL}, "F1", "s", nil, ""},
		"a follower":            {[]string{follower.URL}, "F1", "s", nil, ""},
		"one that is not ready": {[]string{recovering.URL, follower.URL}, "F1", "s", nil, ""},
		"nobody leads":          {[]string{recovering.URL}, "F1", "s", nil, "503"},
		"round and round":       {[]string{lost.URL}, "F1", "s", nil, "from one to another"},
		"nobody is there":       {[]string{"127.0.0.1:1"}, "F1", "s", nil, "refused"},
		"no such framework":     {[]string{leader.URL}, "F2", "s", driver.ErrNoFramework, "F2"},
		"wrong secret":          {[]string{follower.URL, leader.URL}, "F1", "x", driver.ErrUnauthorized, "401"},
		"what is no master":     {[]string{"ftp://x"}, "F1", "s", nil, "not a URL"},
		"no master at all":      {nil, "F1", "s", nil, "no Mesos master"},
	} {
		t.Run(name, func(t *testing.T) {
			ended = nil
			err := driver.Teardown(t.Context(), driver.Config{Masters: test.masters, Principal: "lode", Secret: test.secret}, test.framework)
			switch {
			case test.text == "" && (err != nil || len(ended) != 1):
				t.Errorf("%v, ended %v", err, ended)
			case test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text) || test.is != nil && !errors.Is(err, test.is) || len(ended) > 0):
				t.Errorf("%v, ended %v", err, ended)
			}
		})
	}
}
