package yield

import "time"

// slowFactor is how much more time than on a free core a batch takes, on the cpu,
// that shares it. Two threads of a core have a half to two thirds of it each.
const slowFactor = 1.15

// window is over how many batches the least cost is kept at least; it is forgotten
// after twice as many, since a clock may fall for good.
const window = 1 << 16

// Sensor knows what a hash costs on a free core. The zero value learns it.
type Sensor struct {
	// Slow says that slow batches are odd, too: the thread has a core of two to itself.
	Slow bool

	least, last float64 // nanoseconds a hash, in this window and in the one before
	floor       float64 // the lesser of both
	batches     int
}

// Odd takes the time of a batch by the wall clock, and says whether it is worth a
// closer look. This is what is done after each batch, so it is all that is done.
func (s *Sensor) Odd(wall time.Duration, hashes int) bool {
	cost := float64(wall) / float64(hashes)
	if cost < s.least || s.least == 0 {
		s.least = cost
		if cost < s.floor || s.floor == 0 {
			s.floor = cost
		}
	}
	if s.batches++; s.batches >= window {
		s.batches, s.last, s.least = 0, s.least, 0
		s.floor = s.last
	}
	over := float64(wall) - s.floor*float64(hashes)
	return over >= float64(LossLeast) || s.Slow && cost > slowFactor*s.floor
}

// Split parts the time of a batch, given how long the thread was off the cpu since it
// was last asked: off is what the batch can have been off at most, and slow says
// whether the rest is more than a free core takes.
func (s *Sensor) Split(wall, away time.Duration, hashes int) (off time.Duration, slow bool) {
	free := time.Duration(s.floor * float64(hashes))
	off = max(0, min(away, wall-free))
	return off, float64(wall-off) > slowFactor*float64(free)
}

// Floor is what a hash costs on a free core, in nanoseconds; 0: not known yet.
func (s *Sensor) Floor() float64 { return s.floor }

// Forget starts anew: another kernel, or a clock that is known to have changed.
func (s *Sensor) Forget() { *s = Sensor{Slow: s.Slow} }
