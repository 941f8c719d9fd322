package miner

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkStart is the time from New to the first hashes, on a machine that no miner was on
// before and on one that is known.
func BenchmarkStart(b *testing.B) {
	for _, known := range []bool{false, true} {
		name := "first"
		if known {
			name = "known"
		}
		b.Run(name, func(b *testing.B) {
			b.Setenv("XDG_CACHE_HOME", b.TempDir())
			var took []float64
			for b.Loop() {
				if !known {
					b.Setenv("XDG_CACHE_HOME", b.TempDir())
				}
				begin := time.Now()
				e, err := New(Options{Threads: 1})
				if err != nil {
					b.Fatal(err)
				}
				w := easyWork(32)
				worker := e.workers[0]
				worker.begin(e.assignment(w))
				worker.batch()
				took = append(took, time.Since(begin).Seconds()*1000)
				if known {
					e.settle()
				}
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "p50-ms")
			b.ReportMetric(took[len(took)*9/10], "p90-ms")
		})
	}
}
