package yield

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A simulation of one cpu that a hashing thread shares with a neighbour.
const tick = 5 * time.Microsecond

// neighbour is runnable while it has work.
type neighbour struct {
	load    float64       // 1: always runnable
	service time.Duration // a request; gaps are random
	until   time.Duration // it ends then; 0: never

	next, left time.Duration
}

func (n *neighbour) runnable(now time.Duration, r *rand.Rand) bool {
	if n.load == 0 || n.until > 0 && now >= n.until {
		return false
	}
	if n.load == 1 {
		return true
	}
	for now >= n.next {
		n.left += n.service
		n.next += time.Duration(r.ExpFloat64() * float64(n.service) / n.load)
	}
	return n.left > 0
}

// cpu is how the kernel shares it.
type cpu struct {
	// turn is how long the hashing thread has to wait for a turn of slice when the
	// neighbour does not sleep, and for how long the neighbour waits when it wakes up
	// while the thread hashes; 0: not at all, as it is inside of one control group.
	turn, wakeUp time.Duration
	// first is how often a thread that wakes up has its turn at once; always if it yields.
	first float64
}

var (
	idleClass  = cpu{turn: time.Second}
	fullWeight = cpu{turn: 3 * time.Millisecond, wakeUp: 3 * time.Millisecond, first: 0.35}
)

const slice = 3 * time.Millisecond

type outcome struct {
	hashed, ran, idle time.Duration // of the thread, of the neighbour, of nobody
	lastHash          time.Duration
	parks             int
}

// harvest is the share of what the neighbour left that was hashed in.
func (o outcome) harvest(all time.Duration) float64 { return float64(o.hashed) / float64(all-o.ran) }

func simulate(c cpu, n neighbour, all time.Duration, sense bool) (o outcome) {
	const batch = 100 * time.Microsecond
	r := rand.New(rand.NewPCG(1, 2))
	var s Sensor
	var g Governor
	var (
		start, done time.Duration // of the batch
		wake        time.Duration // when asleep; 0: not
		waited      time.Duration // of the thread, runnable
		stands      time.Duration // of the neighbour, runnable
		turn        time.Duration // that is left of one while the neighbour waits
	)
	for now := time.Duration(0); now < all; now += tick {
		other := n.runnable(now, r)
		here := wake == 0 || now >= wake
		mine := here && !other
		if here && other {
			switch {
			case turn > 0:
				mine, turn = true, turn-tick
			case waited >= c.turn || wake > 0 && waited == 0 && c.first > 0 && (g.Yields() || r.Float64() < c.first):
				mine, turn = true, slice
			case waited == 0 && wake == 0 && stands < c.wakeUp:
				mine = true // it ran and is not preempted yet
			}
		} else {
			turn = 0
		}
		if !mine {
			if here {
				waited += tick
			}
			stands = 0
			if other {
				o.ran += tick
				n.left -= tick
			} else {
				o.idle += tick
			}
			continue
		}
		waited = 0
		if other {
			stands += tick
		}
		if wake > 0 {
			after := now - wake
			wake, start, done = 0, now, 0
			if park := g.Woke(after); park > 0 {
				wake = now + park
				o.parks++
				continue
			}
		}
		done += tick
		o.hashed += tick
		o.lastHash = now
		if done < batch {
			continue
		}
		wall := now + tick - start
		park := time.Duration(0)
		if s.Odd(wall, 1000) {
			off, slow := s.Split(wall, wall-done, 1000)
			park = g.Batch(wall-off, off, slow)
		} else {
			park = g.Batch(wall, 0, false)
		}
		start, done = now+tick, 0
		if park > 0 && sense {
			wake = now + tick + park
			o.parks++
		}
	}
	return o
}

func TestSimulatedNeighbours(t *testing.T) {
	const all = 10 * time.Second
	for _, c := range []struct {
		name      string
		cpu       cpu
		neighbour neighbour
		harvest   float64       // at least
		ran       time.Duration // of the neighbour at least; 0: any
	}{
		{"nobody", idleClass, neighbour{}, 0.9999, 0},
		{"20 % by short requests", idleClass, neighbour{load: 0.2, service: 200 * time.Microsecond}, 0.95, 0},
		{"50 % by short requests", idleClass, neighbour{load: 0.5, service: 200 * time.Microsecond}, 0.95, 0},
		{"80 % by short requests", idleClass, neighbour{load: 0.8, service: 200 * time.Microsecond}, 0.95, 0},
		{"20 % by requests of 1 ms", idleClass, neighbour{load: 0.2, service: time.Millisecond}, 0.95, 0},
		{"50 % by requests of 1 ms", idleClass, neighbour{load: 0.5, service: time.Millisecond}, 0.95, 0},
		{"80 % by requests of 1 ms", idleClass, neighbour{load: 0.8, service: time.Millisecond}, 0.95, 0},
		{"50 % by requests of 20 ms", idleClass, neighbour{load: 0.5, service: 20 * time.Millisecond}, 0.95, 0},
		{"somebody who computes", idleClass, neighbour{load: 1}, 0, all * 999 / 1000},
		{"somebody who computes in a group of the same weight", fullWeight, neighbour{load: 1}, 0, all * 95 / 100},
		{"requests of a group of the same weight", fullWeight, neighbour{load: 0.5, service: time.Millisecond}, 0.9, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := simulate(c.cpu, c.neighbour, all, true)
			without := simulate(c.cpu, c.neighbour, all, false)
			t.Logf("harvest %.2f %% (without parks %.2f %%), the neighbour ran %v (%v), %d parks",
				100*o.harvest(all), 100*without.harvest(all), o.ran, without.ran, o.parks)
			if o.harvest(all) < c.harvest {
				t.Errorf("harvest %.4f, want %.4f", o.harvest(all), c.harvest)
			}
			if o.ran < c.ran {
				t.Errorf("the neighbour ran for %v, want %v", o.ran, c.ran)
			}
		})
	}
}

func TestThreadComesBack(t *testing.T) {
	const until = 3 * time.Second
	for name, c := range map[string]cpu{"idle": idleClass, "full weight": fullWeight} {
		o := simulate(c, neighbour{load: 1, until: until}, 2*until, true)
		// The longest park, and what it takes to begin.
		if lost := until - o.hashed; lost > 2*mostPark {
			t.Errorf("%s: hashed %v of the %v after the neighbour's end", name, o.hashed, until)
		}
	}
}
