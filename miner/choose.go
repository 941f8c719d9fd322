package miner

import (
	"slices"
)

const (
	// alike is by how much two kernels may differ and count as equal: then the one that
	// is preferred is taken, on every machine of a kind.
	alike = 0.02
	// Samples agree if agreeLeast of them, and a sixth of all, are within agree.
	agree, agreeLeast = 0.01, 8
	// choiceLeast is the number of samples of a kernel before anything is said of it.
	choiceLeast = 16
	// hopeless is how much slower than the best a kernel is that is not looked at again.
	hopeless = 1.25
)

// choose finds the cheapest of n candidates, the preferred one first. sample measures
// the cost of one of them; what disturbs it makes it dearer, seldom cheaper. All are
// measured in turn, until the best is apart from each other one by more than both
// spread, or they are alike, or more says that there is no more time.
func choose(n int, sample func(i int) float64, more func() bool) (c choice) {
	samples := make([][]float64, n)
	costs := make([]float64, n)
	spreads := make([]float64, n)
	out := make([]bool, n)
	for {
		for i := range n {
			if out[i] {
				continue
			}
			s := sample(i)
			at, _ := slices.BinarySearch(samples[i], s)
			samples[i] = slices.Insert(samples[i], at, s)
			costs[i], spreads[i] = low(samples[i])
		}
		best, sure := least(costs), false
		if len(samples[best]) >= choiceLeast {
			if best, sure = decide(costs, spreads); sure {
				return choice{best, true, len(samples[best]), costs, spreads}
			}
			for i := range n {
				out[i] = out[i] || spreads[i] <= agree*costs[i] && costs[i] > hopeless*costs[best]
			}
		}
		if !more() {
			return choice{best, false, len(samples[best]), costs, spreads}
		}
	}
}

// choice is an outcome of choose.
type choice struct {
	best           int
	sure           bool // that it is, and not that there was no more time
	samples        int  // of it
	costs, spreads []float64
}

// agreed says whether the samples of a candidate agreed.
func (c *choice) agreed(i int) bool { return c.spreads[i] <= agree*c.costs[i] }

// low is the least cost that several samples agree on, and how far they are apart. A
// kernel that nothing disturbs always costs the same; what is disturbed is disturbed by
// this much or that, and the very least samples are often of a clock that was measured
// too slow.
func low(sorted []float64) (cost, spread float64) {
	n := len(sorted)
	k := max(agreeLeast, n/6)
	for i := range n - k + 1 {
		if width := sorted[i+k-1] - sorted[i]; width <= agree*sorted[i] {
			return sorted[i+k/2], width
		}
	}
	return sorted[min(2, n-1)], sorted[n-1] // they do not agree
}

func least(costs []float64) (best int) {
	for i, c := range costs {
		if c < costs[best] {
			best = i
		}
	}
	return best
}

// decide says which one is the best, and whether that is sure.
func decide(costs, spreads []float64) (best int, sure bool) {
	best = least(costs)
	for i, cost := range costs {
		// Without samples that agree, it may be better than it looks.
		if spreads[i] > agree*cost {
			return best, false
		}
		if cost > (1+alike)*costs[best] && !apart(costs, spreads, best, i) {
			return best, false
		}
	}
	return preferred(costs), true
}

// preferred is the first one of those that are as cheap as the cheapest.
func preferred(costs []float64) int {
	best := least(costs)
	for i, cost := range costs[:best] {
		if cost <= (1+alike)*costs[best] {
			return i
		}
	}
	return best
}

func apart(costs, spreads []float64, best, other int) bool {
	return costs[other]-costs[best] > spreads[best]+spreads[other]
}
