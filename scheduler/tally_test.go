package scheduler

import (
	"fmt"
	"testing"
	"time"

	"lode/scheduler/api"
)

func TestTally(t *testing.T) {
	start := time.Now()
	report := func(id string, launched time.Time, accepted uint64) *api.Task {
		return &api.Task{ID: id, Kind: "miner", LaunchedAt: launched, Shares: api.Shares{Accepted: accepted}}
	}
	after, before := start.Add(time.Minute), start.Add(-time.Hour)
	for name, c := range map[string]struct {
		do   func(*tally)
		want float64
	}{
		"reports of one task are not added": {func(s *tally) { s.report(report("a", after, 3)); s.report(report("a", after, 5)) }, 5},
		"an end keeps the sum":              {func(s *tally) { s.report(report("a", after, 3)); s.ended("a"); s.report(report("b", after, 2)) }, 5},
		"tasks of before count from now on": {func(s *tally) { s.report(report("a", before, 1000)); s.report(report("a", before, 1004)) }, 4},
		"a count that begins anew":          {func(s *tally) { s.report(report("a", after, 7)); s.report(report("a", after, 2)) }, 9},
		"proxies count the same shares": {func(s *tally) {
			s.report(&api.Task{ID: "p", Kind: "proxy", LaunchedAt: after, Shares: api.Shares{Accepted: 9}})
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTally(start)
			c.do(s)
			if got := s.sums().accepted; got != c.want {
				t.Errorf("accepted %v, want %v", got, c.want)
			}
		})
	}
	t.Run("memory is that of the living", func(t *testing.T) {
		s := newTally(start)
		for i := range 1000 {
			id := fmt.Sprint(i)
			s.report(report(id, after, 1))
			s.ended(id)
		}
		if len(s.last) != 0 || s.sums().accepted != 1000 {
			t.Errorf("%d tasks remembered, sum %v", len(s.last), s.sums().accepted)
		}
	})
}
