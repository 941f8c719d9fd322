package miner

import (
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	begin := time.Now()
	read := func(stat string, files map[string]string, seconds int) counters {
		all := map[string]string{"proc/stat": stat}
		for name, text := range files {
			all["sys/class/powercap/"+name] = text
		}
		c := readCounters(rootWith(t, all))
		c.at, c.ours = begin.Add(time.Duration(seconds)*time.Second), time.Duration(seconds)*time.Second
		return c
	}
	rapl := func(uj string) map[string]string {
		return map[string]string{
			"intel-rapl:0/name": "package-0\n", "intel-rapl:0/energy_uj": uj, "intel-rapl:0/max_energy_range_uj": "1000000000\n",
			"intel-rapl:0:0/name": "core\n", "intel-rapl:0:0/energy_uj": "77", "intel-rapl:0:0/max_energy_range_uj": "99",
			"intel-rapl:1/name": "psys\n", "intel-rapl:1/energy_uj": uj, "intel-rapl:1/max_energy_range_uj": "1000000000\n",
		}
	}
	big := func(uj string) map[string]string { // of a server's processor
		files := rapl(uj)
		files["intel-rapl:0/max_energy_range_uj"] = "262143328850\n"
		return files
	}
	const before = "cpu  100 0 0 9000 50 0 0 0 0 0\ncpu0 1\n"
	for name, c := range map[string]struct {
		a, b   counters
		others float64
		watts  float64
	}{
		"only this process":         {read(before, nil, 0), read("cpu  500 0 0 9000 50 0 0 0 0 0\n", nil, 4), 0, 0},
		"others, and the host":      {read(before, nil, 0), read("cpu  600 700 200 9000 50 50 50 100 0 0\n", nil, 4), 1.25, 0},
		"power":                     {read(before, rapl("5000000"), 0), read(before, rapl("85000000"), 4), 0, 20},
		"a wrap":                    {read(before, rapl("999000000"), 0), read(before, rapl("39000000"), 4), 0, 10},
		"a counter that began anew": {read(before, big("5000000000"), 0), read(before, big("80000000"), 4), 0, 0},
		"a big wrap":                {read(before, big("262143328850"), 0), read(before, big("1200000000"), 4), 0, 300},
		"a zone that is new":        {read(before, nil, 0), read(before, rapl("39000000"), 4), 0, 0},
		"nothing is told":           {read("", nil, 0), read("rubbish", nil, 4), 0, 0},
		"no time":                   {read(before, nil, 4), read(before, nil, 4), 0, 0},
	} {
		got := between(c.a, c.b)
		if d := got.Others - c.others; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: others use %v cpus, want %v", name, got.Others, c.others)
		}
		if d := got.Watts - c.watts; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: %v W, want %v", name, got.Watts, c.watts)
		}
	}
	var m LoadMeter
	if m.Measure(begin, 0) != (Load{}) || m.Measure(begin.Add(time.Millisecond), 0) != (Load{}) {
		t.Error("a load before there was any time")
	}
}
