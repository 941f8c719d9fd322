package pool

import "time"

// failover chooses the upstream to mine for. It is pure: time comes in.
//
// The best upstream that gives work is chosen. One that comes back is preferred to a
// worse one only when it has been up for the hold-down, so that a flapping upstream
// does not make the miners flap.
type failover struct {
	hold time.Duration
	// patience is how long after the start a better upstream is waited for.
	patience time.Duration
	started  time.Time
	up       []bool
	since    []time.Time // of the last change of up
	known    []bool      // it has been up or down once
	active   int         // -1: none
}

func newFailover(n int, now time.Time, hold, patience time.Duration) *failover {
	return &failover{
		hold: hold, patience: patience, started: now, active: -1,
		up: make([]bool, n), since: make([]time.Time, n), known: make([]bool, n),
	}
}

// set notes whether upstream i gives work.
func (f *failover) set(now time.Time, i int, up bool) {
	if f.up[i] != up || !f.known[i] {
		f.up[i], f.since[i], f.known[i] = up, now, true
	}
}

// choose returns the upstream to mine for, -1 if there is none.
func (f *failover) choose(now time.Time) int {
	if f.active >= 0 && f.up[f.active] {
		for i := range f.active {
			if f.up[i] && now.Sub(f.since[i]) >= f.hold {
				f.active = i
				break
			}
		}
		return f.active
	}
	best := -1
	for i, up := range f.up {
		if up {
			best = i
			break
		}
		if !f.known[i] && now.Sub(f.started) < f.patience {
			return -1 // it may still connect
		}
	}
	f.active = best
	return best
}
