// Package limits measures how fast the core that it runs on could be at best: its
// clock, and how many of the instructions that hashing consists of it can start in
// a cycle. Call Measure.
//
// What a kernel needs at least is then its number of instructions over their rate;
// see Limits.Cycles.
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
}

// perTurn is the number of instructions in one turn of a loop.
const perTurn = 64

// probe is a loop of instructions.
type probe struct {
	run  func(turns int)
	rate *float64
}

// The shortest of many short samples is taken, for other programs only ever make a
// sample longer, and in several rounds, for they may do so for a while.
const (
	rounds  = 20
	samples = 8
	sample  = 50 * time.Microsecond
)

// Measure takes some tens of milliseconds.
func Measure() Limits {
	var l Limits
	clock, probes := l.probes()
	if clock == nil {
		return l
	}
	cycle := fastest(clock)
	best := make([]float64, len(probes))
	for range rounds {
		cycle = min(cycle, fastest(clock))
		for i, p := range probes {
			if ns := fastest(p.run); best[i] == 0 || ns < best[i] {
				best[i] = ns
			}
		}
	}
	l.Clock = 1e9 / cycle
	for i, p := range probes {
		*p.rate = cycle / best[i]
	}
	return l
}

// Best is the greater of each of the rates.
func (l Limits) Best(m Limits) Limits {
	return Limits{
		Clock:      max(l.Clock, m.Clock),
		SHARounds:  max(l.SHARounds, m.SHARounds),
		Vector256:  max(l.Vector256, m.Vector256),
		Shifts256:  max(l.Shifts256, m.Shifts256),
		Vector512:  max(l.Vector512, m.Vector512),
		Rotates512: max(l.Rotates512, m.Rotates512),
	}
}

// Clock measures the clock alone: cycles a second, or 0 where there is no way.
func Clock() float64 {
	var l Limits
	clock, _ := l.probes()
	if clock == nil {
		return 0
	}
	best := fastest(clock)
	for range rounds - 1 {
		best = min(best, fastest(clock))
	}
	return 1e9 / best
}

// fastest returns nanoseconds an instruction.
func fastest(run func(turns int)) float64 {
	const few = 200
	begin := time.Now()
	run(few)
	turns := int(sample * few / max(time.Since(begin), 1))
	turns = max(turns, few)
	best := time.Duration(1<<63 - 1)
	for range samples {
		begin := time.Now()
		run(turns)
		best = min(best, time.Since(begin))
	}
	return float64(best) / float64(turns*perTurn)
}
