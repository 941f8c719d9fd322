package api

import (
	"strings"
	"testing"
)

func TestPromise(t *testing.T) {
	for name, c := range map[string]struct {
		host Host
		want string
	}{
		"an idle group":            {Host{Cgroup: 2, Weight: 100, IdleGroup: true, Policy: "idle"}, "to everybody"},
		"no groups":                {Host{Policy: "idle"}, "to everybody"},
		"revocable, version 2":     {Host{Cgroup: 2, Weight: 1, Policy: "idle"}, "least weight (1)"},
		"revocable, version 1":     {Host{Cgroup: 1, Weight: 10, Policy: "other"}, "least weight (10)"},
		"ordinary":                 {Host{Cgroup: 2, Weight: 400, Policy: "idle"}, "inside of its control group"},
		"an idle group of no use":  {Host{Cgroup: 2, Weight: 400, IdleGroup: true, Policy: "other"}, "competes"},
		"neither":                  {Host{Cgroup: 1, Weight: 1024, Policy: "other"}, "competes"},
		"a group without a weight": {Host{Cgroup: 1, Policy: "other"}, "competes"},
	} {
		if got := PromiseOf(&c.host); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
