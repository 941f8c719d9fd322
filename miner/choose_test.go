package miner

import (
	"math/rand/v2"
	"testing"

	"lode/miner/internal/scan"
)

// noise is what a busy machine does to samples of kernels.
type noise struct {
	rand   *rand.Rand
	single float64 // share of samples that something held up
	burst  float64 // share of samples that begin a time in which all are held up
	slow   float64 // how much, at the most
	wrong  float64 // share of samples whose clock was measured wrong
	left   int     // samples of the burst
	factor float64
}

func (n *noise) disturb(cost float64) float64 {
	cost *= 1 + 0.004*n.rand.Float64()
	if n.left--; n.left < 0 && n.rand.Float64() < n.burst {
		n.left = 1 + n.rand.IntN(40)
		n.factor = 1 + n.slow*n.rand.Float64()
	}
	if n.left >= 0 {
		cost *= n.factor * (1 + 0.2*n.rand.Float64())
	}
	if n.rand.Float64() < n.single {
		cost *= 1 + n.slow*n.rand.ExpFloat64()
	}
	if n.rand.Float64() < n.wrong {
		cost *= 0.93 + 0.06*n.rand.Float64()
	}
	return cost
}

// Of 1000 choices on a busy machine at most one is wrong: slower than the best by more
// than what counts as equal, and stored.
func TestChoiceUnderNoise(t *testing.T) {
	for name, c := range map[string]struct {
		costs []float64
		noise noise
	}{
		"7 % apart":              {[]float64{86, 80, 190}, noise{single: 0.3, burst: 0.01, slow: 1}},
		"7 %, the preferred one": {[]float64{80, 86, 190}, noise{single: 0.3, burst: 0.01, slow: 1}},
		"27 % apart":             {[]float64{101, 80, 216}, noise{single: 0.4, burst: 0.02, slow: 3}},
		"4 % apart":              {[]float64{83.2, 80, 120}, noise{single: 0.3, burst: 0.01, slow: 1}},
		"clocks measured wrong":  {[]float64{86, 80, 190}, noise{single: 0.2, burst: 0.01, slow: 1, wrong: 0.05}},
		"mostly held up":         {[]float64{86, 80, 190}, noise{single: 0.6, burst: 0.03, slow: 2}},
		"small things":           {[]float64{86, 80, 84}, noise{single: 0.5, burst: 0.03, slow: 0.1}},
		"a quiet machine":        {[]float64{86, 80, 190}, noise{}},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, unsure, samples := 0, 0, 0
			for seed := range uint64(1000) {
				n := c.noise
				n.rand = rand.New(rand.NewPCG(seed, 7))
				rounds := 0
				got := choose(len(c.costs),
					func(i int) float64 { samples++; return n.disturb(c.costs[i]) },
					func() bool { rounds++; return rounds < 100 })
				if !got.sure {
					unsure++
				}
				if c.costs[got.best] > 1.0201*c.costs[least(c.costs)] {
					wrong++
				}
			}
			t.Logf("%d wrong, %d not sure, %.0f samples each", wrong, unsure, float64(samples)/1000)
			if wrong > 1 {
				t.Errorf("%d wrong choices of 1000", wrong)
			}
		})
	}
}

func TestPreferredOfEqual(t *testing.T) {
	n := noise{rand: rand.New(rand.NewPCG(1, 1)), single: 0.2, slow: 0.5}
	for range 200 {
		rounds := 0
		got := choose(3, func(i int) float64 { return n.disturb([]float64{80.9, 80, 81}[i]) },
			func() bool { rounds++; return rounds < 200 })
		if got.best != 0 && got.sure {
			t.Fatalf("%+v", got)
		}
	}
}

func TestChoiceOfOne(t *testing.T) {
	if got := choose(1, func(int) float64 { return 5 }, func() bool { return true }); got.best != 0 || !got.sure || got.costs[0] != 5 {
		t.Errorf("%+v", got)
	}
}

// A machine on which there was time for a few samples only tells nothing: the kernel that is
// likely to be the best stays, and nothing is remembered.
func TestTooFewSamples(t *testing.T) {
	group := []*trial{{kernel: &scan.Kernel{Name: "likely"}}, {kernel: &scan.Kernel{Name: "other"}}}
	for rounds, want := range map[int]string{1: "likely", 2: "likely", choiceLeast - 1: "likely", choiceLeast: "other"} {
		left := rounds
		made := choose(2, func(i int) float64 { return []float64{90, 80}[i] }, func() bool { left--; return left > 0 })
		c := calibration{CyclesPerHash: make(map[string]float64), guesses: make(map[string]float64), Runs: 1}
		if got := c.conclude(group, made); got.Name != want {
			t.Errorf("%d rounds: %s", rounds, got.Name)
		}
		if known := want == "other"; (len(c.CyclesPerHash) == 2) != known || len(c.guesses) > 0 || (c.Runs == 1) != known {
			t.Errorf("%d rounds: %+v", rounds, c)
		}
	}
}
