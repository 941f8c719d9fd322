package pool

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFailoverRules(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	type step struct {
		after time.Duration
		up    string // one letter for each upstream: u(p), d(own), ? (not heard of)
		want  int
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"waits for the best at the start", []step{{0, "?u", -1}, {time.Second, "?u", -1}, {time.Second, "?u", 1}}},
		{"takes the best at once", []step{{0, "u?", 0}}},
		{"the best is down from the start", []step{{0, "du", 1}}},
		{"fails over at once", []step{{0, "uu", 0}, {time.Second, "du", 1}}},
		{"returns after the hold-down", []step{{0, "uu", 0}, {time.Second, "du", 1}, {time.Second, "uu", 1}, {59 * time.Second, "uu", 1}, {time.Second, "uu", 0}}},
		{"flapping starts the hold-down anew", []step{
			{0, "du", 1}, {0, "uu", 1}, {50 * time.Second, "du", 1}, {time.Second, "uu", 1}, {59 * time.Second, "uu", 1}, {time.Second, "uu", 0},
		}},
		{"no hold-down when the backup dies too", []step{{0, "du", 1}, {time.Second, "uu", 1}, {time.Second, "ud", 0}}},
		{"all down, then one", []step{{0, "dd", -1}, {time.Hour, "dd", -1}, {time.Second, "du", 1}}},
		{"three: the middle one first", []step{{0, "ddu", 2}, {0, "duu", 2}, {time.Minute, "duu", 1}, {0, "uuu", 1}, {time.Minute, "uuu", 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFailover(len(c.steps[0].up), start, time.Minute, 2*time.Second)
			now := start
			for i, s := range c.steps {
				now = now.Add(s.after)
				for u, state := range s.up {
					if state != '?' {
						f.set(now, u, state == 'u')
					}
				}
				if got := f.choose(now); got != s.want {
					t.Fatalf("step %d: upstream %d, want %d", i, got, s.want)
				}
			}
		})
	}
}

// TestFailoverProperties: what is chosen is up; if anything is up, something is
// chosen once the patience of the start is over.
func TestFailoverProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_700_000_000, 0)
		n := rapid.IntRange(1, 4).Draw(t, "upstreams")
		f := newFailover(n, now, time.Minute, 2*time.Second)
		now = now.Add(3 * time.Second)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			f.set(now, rapid.IntRange(0, n-1).Draw(t, "which"), rapid.Bool().Draw(t, "up"))
			any := false
			for _, up := range f.up {
				any = any || up
			}
			got := f.choose(now)
			if (got >= 0) != any || got >= 0 && !f.up[got] {
				t.Fatalf("chose %d of %v", got, f.up)
			}
		}
	})
}
