package scan

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"lode/miner/internal/limits"
)

func TestKernelsVerify(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel, _ bool) {
		if err := k.Verify(); err != nil {
			t.Fatal(err)
		}
	})
}

// blind finds nothing; eager finds too much.
type (
	blind struct{}
	eager struct{ Scanner }
)

func (blind) Reset(*Job)                   {}
func (blind) Scan(uint32, int) []Candidate { return nil }

func (e eager) Scan(nonce uint32, count int) []Candidate {
	return append(e.Scanner.Scan(nonce, count), Candidate{Nonce: nonce})
}

func TestVerifyRefusesWrongKernels(t *testing.T) {
	k := Kernel{Name: "blind", Nonces: 1, States: 4, Batch: 512, New: func() Scanner { return blind{} }}
	if err := k.Verify(); err == nil {
		t.Error("a kernel that finds nothing passed")
	}
	k.New = func() Scanner { return eager{newPortable()} }
	if err := k.Verify(); err == nil {
		t.Error("a kernel that finds too much passed")
	}
	k.Missing = "no such instruction"
	if err := k.Verify(); err == nil {
		t.Error("a kernel that is missing passed")
	}
}

func BenchmarkKernels(b *testing.B) {
	for _, k := range Kernels() {
		b.Run(k.Name, func(b *testing.B) {
			if k.Missing != "" {
				b.Skip(k.Missing)
			}
			benchmark(b, k.New(), k.States, k.Batch/k.States)
		})
	}
}

// benchmark reports the cycles of the faster batches, of which other programs on the
// machine take nothing; see miner.Bench.
func benchmark(b *testing.B, s Scanner, states, count int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.Reset(&Job{States: make([]State, states), Mask: 0xffffffff})
	nonce := uint32(0)
	var cycles []float64
	b.ResetTimer()
	for b.Loop() {
		cycles = append(cycles, limits.Cycles(func() float64 {
			begin := time.Now()
			s.Scan(nonce, count)
			return time.Since(begin).Seconds()
		}))
		nonce += uint32(count)
	}
	slices.Sort(cycles)
	b.ReportMetric(cycles[len(cycles)/50]/float64(count*states), "cycles/hash")
}
