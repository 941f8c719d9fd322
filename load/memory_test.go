package load

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"lode/stratum"
)

func TestParseResident(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   int64
	}{
		"a process":      {"Name:\tlode\nVmPeak:\t  900 kB\nVmRSS:\t   37 kB\nThreads:\t9\n", 37 << 10},
		"a zombie":       {"Name:\tlode\nState:\tZ (zombie)\n", 0},
		"another unit":   {"VmRSS:\t 37 MB\n", 0},
		"no number":      {"VmRSS:\t x kB\n", 0},
		"nothing at all": {"", 0},
	} {
		got, err := parseResident(c.status)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestParseCPU(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"12 (lode) S 1 1 1 0 -1 0 5 6 7 8 150 50 0 0 20":    2 * time.Second,
		"12 (a) b) c) S 1 1 1 0 -1 0 5 6 7 8 150 50 0 0 20": 2 * time.Second,
		"12 (lode) S 1 1": 0,
		"12 (lode) S 1 1 1 0 -1 0 5 6 7 8 x 50 0 0 20": 0,
		"": 0,
	} {
		if got := parseCPU(stat); got != want {
			t.Errorf("%q: %v, want %v", stat, got, want)
		}
	}
	if cpuTime(0) != 0 || cpuTime(1<<30) != 0 {
		t.Error("time of no process")
	}
}

func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is known on Linux only")
	}
	p := startPool(t, tiny, stratum.ServerOptions{})
	report := mustRun(t, Options{Pool: p.url, Connections: 2, Duration: 2200 * time.Millisecond, Shares: 10, Watch: os.Getpid()})
	m := report.Memory
	if m == nil || len(m.Curve) < 1 || m.Start < 1<<20 || m.Greatest < m.Start || m.Greatest < m.End || report.Series[0].Resident == 0 {
		t.Fatalf("memory %+v", m)
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil || !strings.Contains(table.String(), "memory of the process") || !strings.Contains(table.String(), "###") {
		t.Errorf("table %s, %v", &table, err)
	}
	if _, err := Run(t.Context(), Options{Pool: p.url, User: "me", Watch: 1 << 30}); err == nil || !strings.Contains(err.Error(), "process 1073741824") {
		t.Errorf("a process that there is not: %v", err)
	}
}

func TestCurve(t *testing.T) {
	m := Memory{Greatest: 100e6}
	for i := range 1000 {
		m.Curve = append(m.Curve, MemoryPoint{time.Duration(i) * time.Second, int64(i%100) * 1e6})
	}
	var b bytes.Buffer
	if err := m.writeCurve(&b); err != nil || strings.Count(b.String(), "\n") != curveLines+2 || strings.Count(b.String(), "99.0") < 9 {
		t.Errorf("%s, %v", &b, err)
	}
}
