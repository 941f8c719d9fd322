package miner

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkMemory is the memory that an engine adds to a process, in kB for each of 64
// threads.
func BenchmarkMemory(b *testing.B) {
	const threads = 64
	resident := func() (kB float64) {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
				_, _ = fmt.Sscan(rest, &kB)
			}
		}
		return kB
	}
	before, most := resident(), 0.0
	for b.Loop() {
		e, err := New(Options{Threads: threads, Idle: true, Sense: true})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		e.SetWork(easyWork(32))
		go func() { done <- e.Run(ctx) }()
		hashes := func() (all bool) {
			all = true
			for _, w := range e.workers {
				all = all && w.hashes.Load() > 0
			}
			return all
		}
		for deadline := time.Now().Add(time.Minute); !hashes() && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		most = max(most, resident())
		cancel()
		<-done
	}
	b.ReportMetric((most-before)/threads, "kB/thread")
}
