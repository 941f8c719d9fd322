package miner

import (
	"testing"
	"time"
)

// BenchmarkStart is the time from New to the first hashes, with a stored calibration.
func BenchmarkStart(b *testing.B) {
	b.Setenv("XDG_CACHE_HOME", b.TempDir())
	for b.Loop() {
		begin := time.Now()
		e, err := New(Options{Threads: 1})
		if err != nil {
			b.Fatal(err)
		}
		w := easyWork(32)
		worker := e.workers[0]
		worker.begin(e.assignment(w))
		worker.batch()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "last-ms")
	}
}
