package limits

import (
	"math"
	"testing"

	"github.com/klauspost/cpuid/v2"
)

func TestMeasure(t *testing.T) {
	l := Measure()
	t.Logf("%+v", l)
	if l.Clock == 0 {
		t.Skip("no way to measure the clock on this platform")
	}
	for kernel := range designs {
		t.Logf("%s: at least %.1f cycles a hash", kernel, l.Bound(designs[kernel]))
	}
	t.Logf("any: %.1f rolling, %.1f not", l.Least(true), l.Least(false))
	// How much there is depends on the machine and on what it is busy with; that it was measured
	// does not.
	measured := func(rate float64) bool { return rate > 0 && !math.IsInf(rate, 0) }
	if !measured(l.Clock) {
		t.Errorf("a clock of %v Hz", l.Clock)
	}
	cpu := &cpuid.CPU
	for _, c := range []struct {
		name string
		rate float64
		has  bool
	}{
		{"SHARounds", l.SHARounds, cpu.Supports(cpuid.SHA, cpuid.AVX)},
		{"Vector256", l.Vector256, cpu.Supports(cpuid.AVX2)},
		{"Shifts256", l.Shifts256, cpu.Supports(cpuid.AVX2)},
		{"Vector512", l.Vector512, cpu.Supports(cpuid.AVX512F)},
		{"Rotates512", l.Rotates512, cpu.Supports(cpuid.AVX512F)},
	} {
		if measured(c.rate) != c.has || !c.has && c.rate != 0 {
			t.Errorf("%s: %v a cycle; the core has them: %v", c.name, c.rate, c.has)
		}
	}
}
