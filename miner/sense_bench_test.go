package miner

import (
	"testing"
)

// BenchmarkStep is what a batch costs besides its hashes, with an engine that senses
// others and with one that does not; a batch takes 50 to 300 µs.
func BenchmarkStep(b *testing.B) {
	all := withLiars()
	pair := kernelPair{plain: &all[0], roll: &all[1]}
	for name, sense := range map[string]bool{"none": false, "sense": true} {
		b.Run(name, func(b *testing.B) {
			e := newEngine(Options{Threads: 1, Sense: sense}, pair, allNonces)
			w := easyWork(32)
			worker := e.workers[0]
			worker.begin(e.assignment(w))
			for b.Loop() {
				worker.step()
			}
		})
	}
}
