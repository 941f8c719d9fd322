package miner

import (
	"math"
	"slices"
	"time"
)

// Stretch is what was seen while an engine hashed, or was paused.
type Stretch struct {
	Load
	Hashes uint64 // of the engine in it
	Time   time.Duration
}

// alikeOthers is by how many cpus the use by others may differ between stretches that are
// compared.
const alikeOthers = 0.1

// Marginal is what hashing costs, in joules for 10^9 hashes: the power of the processors
// while the engine hashed, before and after a pause, less their power in the pause. ok: the
// power is known, there were hashes, and others did the same all the while.
func Marginal(before, pause, after Stretch) (joulesPerGH float64, ok bool) {
	const giga = 1e9
	hashes := float64(before.Hashes + after.Hashes)
	seconds := (before.Time + after.Time).Seconds()
	if before.Watts == 0 || pause.Watts == 0 || after.Watts == 0 || hashes == 0 || seconds <= 0 {
		return 0, false
	}
	for _, s := range []Stretch{before, after} {
		if math.Abs(s.Others-pause.Others) > alikeOthers {
			return 0, false
		}
	}
	with := (before.Watts*before.Time.Seconds() + after.Watts*after.Time.Seconds()) / seconds
	return (with - pause.Watts) * seconds / (hashes / giga), true
}

// Costs keeps the last few costs and takes their median, for other miners on the machine
// may begin or end in the middle of one. The zero value is ready.
type Costs struct{ list []float64 }

const costsKept = 9

// Add takes a cost.
func (c *Costs) Add(joulesPerGH float64) {
	if len(c.list) == costsKept {
		c.list = slices.Delete(c.list, 0, 1)
	}
	c.list = append(c.list, joulesPerGH)
}

// Median is 0 when nothing is known.
func (c *Costs) Median() float64 {
	if len(c.list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(c.list))
	return sorted[len(sorted)/2]
}
