package limits

import (
	"math"
	"testing"
)

// Cores as they were measured: the rates, and what rounds take beside others.
var (
	zen3 = Limits{
		SHARounds: 1, Vector256: 4, Shifts256: 2, shaWords: 0.98,
		besideVector: [2]beside{{4, 0.8}, {8, 0.44}},
		besideShifts: [3]beside{{2, 0.83}, {4, 0.5}, {6, 0.33}},
	}
	zen4 = Limits{
		SHARounds: 1, Vector256: 3.9, Shifts256: 1.97, Vector512: 1.97, Rotates512: 1, shaWords: 0.98,
		besideVector: [2]beside{{4, 1 / 1.28}, {8, 1 / 2.28}},
		besideShifts: [3]beside{{2, 1 / 1.53}, {4, 1 / 2.52}, {6, 1 / 3.52}},
	}
	zen5 = Limits{
		SHARounds: 0.501, Vector256: 4.02, Shifts256: 2.02, Vector512: 4.01, Rotates512: 2, shaWords: 0.501,
		besideVector: [2]beside{{4, 0.5}, {8, 0.445}},
		besideShifts: [3]beside{{2, 0.5}, {4, 0.45}, {6, 0.312}},
	}
	emeraldRapids = Limits{
		SHARounds: 0.335, Vector256: 2.99, Shifts256: 2, Vector512: 2, Rotates512: 1, shaWords: 0.3,
		besideVector: [2]beside{{4, 0.335}, {8, 0.333}},
		besideShifts: [3]beside{{2, 0.335}, {4, 0.335}, {6, 0.33}},
	}
)

func TestBound(t *testing.T) {
	for _, c := range []struct {
		name   string
		core   Limits
		kernel string
		want   float64
	}{
		{"Zen 3: the rounds bind", zen3, "hybrid-avx2-roll", 61},
		{"Zen 3 has no ternary logic", zen3, "hybrid-roll", 0},
		{"Zen 3 has no vectors of 512 bits", zen3, "avx512-roll", 0},
		{"Zen 4: rounds share the units of shifts", zen4, "hybrid-roll", 51.1},
		{"Zen 4, fixed version", zen4, "hybrid", 66.7},
		{"Zen 4: 512 bits in two halves", zen4, "avx512-roll", 76},
		{"Zen 5", zen5, "avx512-roll", 37.3},
		{"Zen 5: the rounds bind", zen5, "hybrid-avx2", 121.8},
		{"Emerald Rapids: two units of 512 bits", emeraldRapids, "avx512-roll", 74.7},
		{"Emerald Rapids: rounds share nothing that is seen", emeraldRapids, "hybrid-roll", 113.4},
		{"no such instructions", Limits{Vector256: 4, Shifts256: 2}, "shani-roll", 0},
		{"not measured", Limits{}, "avx2", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, ok := DesignOf(c.kernel)
			if got := c.core.Bound(d); !ok || math.Abs(got-c.want) > 0.5 {
				t.Errorf("%s: at least %.1f cycles a hash, want %.1f", c.kernel, got, c.want)
			}
		})
	}
	if _, ok := DesignOf("portable"); ok {
		t.Error("the portable kernel has a design")
	}
}

// TestLeast: a mixture of designs is never worse than the best of them.
func TestLeast(t *testing.T) {
	for name, core := range map[string]Limits{"Zen 3": zen3, "Zen 4": zen4, "Zen 5": zen5, "Emerald Rapids": emeraldRapids} {
		best := math.Inf(1)
		for kernel, d := range designs {
			if b := core.Bound(d); b > 0 && kernel[len(kernel)-4:] == "roll" {
				best = min(best, b)
			}
		}
		if got := core.Least(true); got > best || got < best/2 {
			t.Errorf("%s: %.1f, the best design alone %.1f", name, got, best)
		}
	}
	none := Limits{}
	if got := none.Least(true); got != 0 {
		t.Errorf("a core that was not measured: %.1f", got)
	}
}

// Vectors of 256 and of 512 bits are the work of the same units, so a mixture of both is no
// way to do more.
func TestBothWidthsShareUnits(t *testing.T) {
	a, b := designs["avx512-roll"], designs["avx2-roll"]
	for name, core := range map[string]Limits{"Zen 4": zen4, "Zen 5": zen5, "Emerald Rapids": emeraldRapids} {
		want := core.Bound(a)/2 + core.Bound(b)/2
		if got := core.Bound(a.mix(b, 0.5)); math.Abs(got-want) > 0.01 {
			t.Errorf("%s: half of each %.1f, want %.1f", name, got, want)
		}
	}
	if got := zen5.Least(true); got < 36 {
		t.Errorf("Zen 5: %.1f", got)
	}
}
