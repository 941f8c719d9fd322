package miner

import (
	"math"
	"testing"
	"time"
)

func TestMarginal(t *testing.T) {
	stretch := func(watts, others float64, hashes uint64) Stretch {
		return Stretch{Load{Others: others, Watts: watts}, hashes, 2 * time.Second}
	}
	const giga = 1_000_000_000
	for name, c := range map[string]struct {
		before, pause, after Stretch
		want                 float64
		ok                   bool
	}{
		// 10 W more for 0.1 GH/s.
		"10 W":                        {stretch(60, 0, giga/5), stretch(50, 0, 0), stretch(60, 0, giga/5), 100, true},
		"a load by others":            {stretch(80, 1.5, giga/5), stretch(70, 1.45, 0), stretch(80, 1.52, giga/5), 100, true},
		"a power that drifts":         {stretch(60, 0, giga/5), stretch(52, 0, 0), stretch(64, 0, giga/5), 100, true},
		"cheaper than nothing":        {stretch(49, 0, giga/5), stretch(50, 0, 0), stretch(49, 0, giga/5), -10, true},
		"others began":                {stretch(60, 0, giga/5), stretch(50, 0.5, 0), stretch(60, 0.5, giga/5), 0, false},
		"others ended":                {stretch(60, 0.5, giga/5), stretch(50, 0.5, 0), stretch(60, 0, giga/5), 0, false},
		"no hashes":                   {stretch(60, 0, 0), stretch(50, 0, 0), stretch(60, 0, 0), 0, false},
		"no power in one of them":     {stretch(60, 0, giga/5), stretch(0, 0, 0), stretch(60, 0, giga/5), 0, false},
		"nothing is known":            {},
		"stretches of another length": {Stretch{Load{Watts: 60}, giga / 10, time.Second}, stretch(50, 0, 0), Stretch{Load{Watts: 60}, 3 * giga / 10, 3 * time.Second}, 100, true},
	} {
		if got, ok := Marginal(c.before, c.pause, c.after); ok != c.ok || math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: %v %v, want %v %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestCosts(t *testing.T) {
	var c Costs
	if c.Median() != 0 {
		t.Error("a cost of nothing")
	}
	for _, x := range []float64{100, 5000, 104, -30, 102} {
		c.Add(x)
	}
	if c.Median() != 102 {
		t.Errorf("%v", c.Median())
	}
	for range costsKept {
		c.Add(7)
	}
	if c.Median() != 7 || len(c.list) != costsKept {
		t.Errorf("%v of %d", c.Median(), len(c.list))
	}
}
