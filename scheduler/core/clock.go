package core

import (
	"slices"
	"time"
)

// The core has clocks of its own, which it winds up from the times that it is given:
// up is how long it has watched, clock how much of that with a subscription whose
// calls get through. Every watchdog counts on clock, so that nothing is given up for
// silence while nobody could have spoken, or been asked; and a wall clock that jumps, or a machine that slept, moves
// neither by more than usualStep.
const (
	usualStep   = time.Second // between two ticks
	longestStep = 5 * time.Second
)

// never is a time on the clock that does not come.
const never = time.Duration(1<<63 - 1)

func (c *Core) wind(now time.Time) {
	if !c.last.IsZero() {
		d := max(0, now.Sub(c.last))
		if d > longestStep {
			d = usualStep
		}
		c.up += d
		if c.connected && !c.stalled {
			c.clock += d
		}
	}
	c.now, c.last = now, now
}

// wall is when the clock will show at, if the subscription lasts.
func (c *Core) wall(at time.Duration) time.Time { return c.now.Add(at - c.clock) }

// alarm is something to be done when the clock shows at. What it is about may have
// changed by then; ring has to look.
type alarm struct {
	at   time.Duration
	seq  uint64
	ring func()
}

// alarms is a heap, earliest first, in the order of their setting among equals.
type alarms struct {
	heap []alarm
	seq  uint64
}

func (a *alarms) less(i, j int) bool {
	if a.heap[i].at != a.heap[j].at {
		return a.heap[i].at < a.heap[j].at
	}
	return a.heap[i].seq < a.heap[j].seq
}

func (a *alarms) set(at time.Duration, ring func()) {
	a.seq++
	a.heap = append(a.heap, alarm{at, a.seq, ring})
	for i := len(a.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !a.less(i, parent) {
			break
		}
		a.heap[i], a.heap[parent] = a.heap[parent], a.heap[i]
		i = parent
	}
}

func (a *alarms) pop() alarm {
	top, last := a.heap[0], len(a.heap)-1
	a.heap[0] = a.heap[last]
	a.heap[last] = alarm{}
	a.heap = a.heap[:last]
	if cap(a.heap) > mostKept && last < cap(a.heap)/4 {
		a.heap = slices.Clone(a.heap)
	}
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if a.less(child, least) {
				least = child
			}
		}
		if least == i {
			return top
		}
		a.heap[i], a.heap[least] = a.heap[least], a.heap[i]
		i = least
	}
}

// after sets an alarm.
func (c *Core) after(d time.Duration, ring func()) { c.alarms.set(c.clock+d, ring) }

// ringAlarms does what is due.
func (c *Core) ringAlarms() {
	for len(c.alarms.heap) > 0 && c.alarms.heap[0].at <= c.clock {
		c.alarms.pop().ring()
	}
}

// bucket bounds a rate: it fills up on the clock.
type bucket struct {
	rate, size float64 // a second, at most
	tokens     float64
	at         time.Duration
}

func newBucket(rate, size float64) bucket { return bucket{rate: rate, size: size, tokens: size} }

func (b *bucket) take(clock time.Duration) bool {
	b.tokens = min(b.size, b.tokens+(clock-b.at).Seconds()*b.rate)
	b.at = clock
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
