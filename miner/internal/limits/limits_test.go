package limits

import "testing"

func TestMeasure(t *testing.T) {
	l := Measure()
	t.Logf("%+v", l)
	if l.Clock == 0 {
		t.Skip("no way to measure the clock on this platform")
	}
	if l.Clock < 1e8 || l.Clock > 1e10 {
		t.Errorf("a clock of %.0f Hz", l.Clock)
	}
	for kernel := range designs {
		t.Logf("%s: at least %.1f cycles a hash", kernel, l.Bound(designs[kernel]))
	}
	t.Logf("any: %.1f rolling, %.1f not", l.Least(true), l.Least(false))
	for name, rate := range map[string]float64{"SHARounds": l.SHARounds, "Vector256": l.Vector256, "Vector512": l.Vector512} {
		if rate < 0 || rate > 16 {
			t.Errorf("%s: %.2f a cycle", name, rate)
		}
	}
}
