package driver

import "testing"

func TestRedirectTarget(t *testing.T) {
	for name, test := range map[string]struct{ from, location, want string }{
		"as Mesos says it": {"http://m1:5050", "//m2:5050/api/v1/scheduler", "http://m2:5050"},
		"https stays":      {"https://m1:5050", "//m2:5050", "https://m2:5050"},
		"to https":         {"http://m1:5050", "https://m2:5051/redirect", "https://m2:5051"},
		"without TLS":      {"https://m1:5050", "http://m2:5050/redirect", ""},
		"nowhere":          {"http://m1:5050", "", ""},
		"no URL":           {"http://m1:5050", "ftp://m2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := redirectTarget(test.from, test.location)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}
