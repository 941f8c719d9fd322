package miner

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestThreadsShareACookie(t *testing.T) {
	for name, c := range map[string]struct {
		group  Host
		refuse error
		want   string
		log    string
	}{
		"a group that gives way":     {Host{Cgroup: 2, Weight: 1}, nil, "copied copied made", ""},
		"one of version 1":           {Host{Cgroup: 1, Weight: 10}, nil, "copied copied made", ""},
		"an idle one":                {Host{Cgroup: 2, Weight: 100, IdleGroup: true}, nil, "copied copied made", ""},
		"full weight":                {Host{Cgroup: 2, Weight: 100}, nil, "", ""},
		"nothing is known":           {Host{}, nil, "", ""},
		"the system knows no cookie": {Host{Cgroup: 2, Weight: 1}, errors.New("no such thing"), "made", "no such thing"},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var log bytes.Buffer
			var calls []string
			var maker, from []int32
			call := func(what string) error {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, what)
				return c.refuse
			}
			e := newEngine(Options{Threads: 3, CoreSched: true, Log: slog.New(slog.NewTextHandler(&log, nil))}, portablePair(t), allNonces)
			e.group = c.group
			e.system.makeCookie = func() error { maker = append(maker, threadID()); return call("made") }
			e.system.copyCookie = func(tid int32) error { from = append(from, tid); return call("copied") }
			e.SetWork(easyWork(32))
			stop := startOn(e)
			eventually(t, "all threads hash", func() bool {
				return !slices.ContainsFunc(e.workers, func(w *worker) bool { return w.hashes.Load() == 0 })
			})
			stop()
			slices.Sort(calls)
			if got := strings.Join(calls, " "); got != c.want {
				t.Errorf("cookies: %q, want %q", got, c.want)
			}
			for _, tid := range from {
				if tid != maker[0] {
					t.Errorf("a cookie of thread %d, it was made by %d", tid, maker[0])
				}
			}
			if n := strings.Count(log.String(), "core scheduling"); (n == 1) != (c.log != "") || !strings.Contains(log.String(), c.log) {
				t.Errorf("the log: %s", &log)
			}
		})
	}
}
