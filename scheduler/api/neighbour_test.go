package api

import (
	"cmp"
	"strings"
	"testing"
)

func TestPromise(t *testing.T) {
	for name, c := range map[string]struct {
		host Host
		want string
		cpus float64 // 0: 1
	}{
		"an idle group":            {Host{Cgroup: 2, Weight: 100, IdleGroup: true, Policy: "idle"}, "to everybody", 0},
		"no groups":                {Host{Policy: "idle"}, "to everybody", 0},
		"revocable, version 2":     {Host{Cgroup: 2, Weight: 1, Policy: "idle"}, "least weight (1)", 0},
		"revocable, version 1":     {Host{Cgroup: 1, Weight: 10, Policy: "other"}, "least weight (10)", 0},
		"ordinary":                 {Host{Cgroup: 2, Weight: 400, Policy: "idle"}, "inside of its control group", 0},
		"an idle group of no use":  {Host{Cgroup: 2, Weight: 400, IdleGroup: true, Policy: "other"}, "competes", 0},
		"neither":                  {Host{Cgroup: 1, Weight: 1024, Policy: "other"}, "competes", 0},
		"revocable, 4 cpus":        {Host{Cgroup: 1, Weight: 41, Policy: "idle"}, "least weight (41)", 4.1},
		"the same, version 2":      {Host{Cgroup: 2, Weight: 4, Policy: "idle"}, "least weight (4)", 4.1},
		"revocable, half a cpu":    {Host{Cgroup: 2, Weight: 1, Policy: "idle"}, "least weight (1)", 0.5},
		"ordinary, half a cpu":     {Host{Cgroup: 2, Weight: 50, Policy: "idle"}, "inside of its control group", 0.5},
		"ordinary, a tenth of one": {Host{Cgroup: 1, Weight: 102, Policy: "idle"}, "inside of its control group", 0.1},
		"a group without a weight": {Host{Cgroup: 1, Policy: "other"}, "competes", 0},
	} {
		if got := PromiseOf(&c.host, cmp.Or(c.cpus, 1)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
