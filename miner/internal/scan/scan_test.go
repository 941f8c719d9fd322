package scan

import "testing"

func TestKernelsFindWhatCryptoSHA256Finds(t *testing.T) {
	for _, k := range Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			if k.Missing != "" {
				t.Skip(k.Missing)
			}
			if err := k.Verify(); err != nil {
				t.Fatal(err)
			}
		})
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
