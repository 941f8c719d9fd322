// Package limits measures how fast the core that it runs on could be at best: its
// clock, and how many of the instructions that hashing consists of it can start in
// a cycle. Call Measure.
//
// What a kernel needs at least is then its number of instructions over their rate, where
// some share their units with others; see Limits.Bound.
package limits

import "time"

// Limits are the rates of one core.
type Limits struct {
	Clock float64 // cycles a second, while Measure ran
	// Instructions that start in a cycle; 0: the core lacks them.
	SHARounds  float64 // SHA256RNDS2, or SHA256H on ARM
	Vector256  float64 // additions and logical operations on 256 bits
	Shifts256  float64
	Vector512  float64
	Rotates512 float64

	// SHA256RNDS2 in mixtures with instructions that may need the same units.
	shaWords     float64 // with those for message words, see Bound
	besideVector [2]beside
	besideShifts [3]beside
}

// perTurn is the number of instructions in one turn of a loop of one kind.
const perTurn = 64

// probe is a loop of instructions.
type probe struct {
	run   func(turns int)
	count float64 // instructions of a turn, of those whose rate is wanted
	rate  *float64
}

// Other programs, on the machine or beside it on the host, only ever make a sample
// longer, so the shortest of many is taken. They may do so for a while, hence several
// rounds. And the clock changes, by the second and with the instructions that run, so
// it is measured right before and after each sample that is turned into cycles.
const (
	rounds  = 20
	samples = 4
	sample  = 50 * time.Microsecond
	ticks   = 800 // turns of the chain: 51,200 cycles, some 15 µs
)

// Measure takes some tens of milliseconds.
func Measure() Limits {
	var l Limits
	clock, probes := l.probes()
	if clock == nil {
		return l
	}
	turns := make([]int, len(probes))
	for i, p := range probes {
		turns[i] = turnsFor(p.run)
	}
	best := make([]float64, len(probes))
	for range rounds {
		for i, p := range probes {
			for range samples {
				cycles := Cycles(func() float64 {
					begin := time.Now()
					p.run(turns[i])
					return time.Since(begin).Seconds()
				})
				best[i] = max(best[i], float64(turns[i])*p.count/cycles)
			}
		}
		l.Clock = max(l.Clock, 1/Cycle())
	}
	for i, p := range probes {
		*p.rate = best[i]
	}
	return l
}

// turnsFor is how many turns of a loop fill a sample.
func turnsFor(run func(turns int)) int {
	const few = 200
	begin := time.Now()
	run(few)
	return max(few, int(sample*few/max(time.Since(begin), 1)))
}

// Best is the greater of each of the rates.
func (l Limits) Best(m Limits) Limits {
	best := Limits{
		Clock:        max(l.Clock, m.Clock),
		SHARounds:    max(l.SHARounds, m.SHARounds),
		Vector256:    max(l.Vector256, m.Vector256),
		Shifts256:    max(l.Shifts256, m.Shifts256),
		Vector512:    max(l.Vector512, m.Vector512),
		Rotates512:   max(l.Rotates512, m.Rotates512),
		shaWords:     max(l.shaWords, m.shaWords),
		besideVector: m.besideVector,
		besideShifts: m.besideShifts,
	}
	for i := range best.besideVector {
		best.besideVector[i].rounds = max(l.besideVector[i].rounds, m.besideVector[i].rounds)
	}
	for i := range best.besideShifts {
		best.besideShifts[i].rounds = max(l.besideShifts[i].rounds, m.besideShifts[i].rounds)
	}
	return best
}

// Cycle measures how long a cycle of this core takes at the moment, in seconds; 0
// where there is no way. It takes about 50 µs.
func Cycle() float64 {
	var l Limits
	clock, _ := l.probes()
	if clock == nil {
		return 0
	}
	best := time.Duration(1<<63 - 1)
	for range 3 {
		begin := time.Now()
		clock(ticks)
		best = min(best, time.Since(begin))
	}
	return best.Seconds() / (ticks * perTurn)
}

// Cycles calls run, which answers how many seconds something took, and returns how
// many cycles that was; 0 where there is no way to tell. It goes by the faster clock
// of those right before and after run, so that a disturbance makes it more, not less.
// The calling goroutine should be locked to its thread.
func Cycles(run func() float64) float64 {
	before := Cycle()
	if before == 0 {
		return 0
	}
	seconds := run()
	return seconds / min(before, Cycle())
}
