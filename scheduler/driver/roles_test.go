package driver_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/driver"
	"lode/scheduler/internal/fakemaster"
)

// The answer of a recorded Mesos 1.11 master for a role, with guarantees and other roles put in.
const someRoles = `{"roles":[
	{"name":"mining","weight":1.0,"quota":{"role":"mining","guarantee":{"cpus":99.0},"limit":{},"consumed":{"cpus":0.2,"mem":64.0}},
	 "resources":{"cpus":2.0,"disk":2048.0},"allocated":{"cpus":0.2,"mem":64.0},"offered":{"cpus":1.8},"reserved":{},"frameworks":["c4e73a45-0000"]},
	{"name":"web","weight":1.0,"quota":{"role":"web","guarantee":{"cpus":8.0,"mem":1024.0},"limit":{},"consumed":{"cpus":3.5}},"offered":{"cpus":2.0},"frameworks":["c4e73a45-0001"]},
	{"name":"batch","quota":{"role":"batch","guarantee":{"cpus":10},"consumed":{}},"offered":{},"frameworks":["c4e73a45-0002","c4e73a45-0003"]},
	{"name":"content","quota":{"guarantee":{"cpus":1},"consumed":{"cpus":4}},"frameworks":["c4e73a45-0004"]},
	{"name":"nobody","quota":{"guarantee":{"cpus":10}},"frameworks":[]},
	{"name":"no quota","weight":2.0,"frameworks":["c4e73a45-0005"]}]}`

func TestRolesThatLackCPUs(t *testing.T) {
	m := fakemaster.New(t)
	say := func(a fakemaster.Answer) {
		m.Answer(func(r *http.Request, _ *scheduler.Call) *fakemaster.Answer {
			if user, password, _ := r.BasicAuth(); r.URL.Path != "/roles" || user != "lode" || password != "s3cret" {
				return nil
			}
			return &a
		})
	}
	say(fakemaster.Answer{Code: http.StatusOK, Body: someRoles})
	l := start(t, func(c *driver.Config) { c.Principal, c.Secret = "lode", "s3cret" }, m.URL())
	if _, err := l.d.Lacks(t.Context(), nil); err == nil {
		t.Error("an answer without a subscription")
	}
	l.subscribe(m)
	got, err := l.d.Lacks(t.Context(), []string{"mining"})
	if want := []driver.Lack{{"batch", 10000}, {"web", 2500}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, c := range []struct {
		name string
		fakemaster.Answer
		want string
	}{
		{"forbidden", fakemaster.Answer{Code: 403}, "403"},
		{"no JSON", fakemaster.Answer{Code: 200, Body: "<html>"}, "invalid character"},
		{"cut off", fakemaster.Answer{Code: 200, Body: someRoles[:100]}, "unexpected EOF"},
		{"of another shape", fakemaster.Answer{Code: 200, Body: `{"roles":{"name":"x"}}`}, "cannot unmarshal"},
		{"endless", fakemaster.Answer{Code: 200, Body: `{"roles":"` + strings.Repeat("x", 5<<20)}, "unexpected EOF"},
	} {
		say(c.Answer)
		if _, err := l.d.Lacks(t.Context(), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	say(fakemaster.Answer{Hang: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.d.Lacks(ctx, nil); err == nil {
		t.Error("an answer of a master that hangs")
	}
}

func FuzzLacks(f *testing.F) {
	f.Add([]byte(someRoles))
	f.Add([]byte(`{"roles":[{"name":"x","frameworks":[1],"quota":{"guarantee":{"cpus":1e308},"consumed":{"cpus":-1e308}},"offered":{"cpus":-5}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		lacks, _ := driver.ParseLacks(text, []string{"mining"})
		for i, l := range lacks {
			if l.Role == "mining" || l.Milli <= 0 || l.Milli > 1e12 || i > 0 && l.Milli > lacks[i-1].Milli {
				t.Errorf("%+v", lacks)
			}
		}
	})
}
