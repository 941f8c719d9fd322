package scan

import "testing"

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

func benchmark(b *testing.B, s Scanner, states, count int) {
	s.Reset(&Job{States: make([]State, states), Mask: 0xffffffff})
	nonce := uint32(0)
	b.ResetTimer()
	for b.Loop() {
		s.Scan(nonce, count)
		nonce += uint32(count)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count*states), "ns/hash")
}
