package share_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/share"
)

// liveHeap is what garbage collection leaves, bytes.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkHeapOfShares is the live heap of 10,000 miners' duplicates, each with a share
// every 4 s, 30 minutes after a block. One operation is one share.
func BenchmarkHeapOfShares(b *testing.B) {
	const miners = 10_000
	now := time.Unix(1_700_000_000, 0)
	before := liveHeap()
	seen := make([]*share.Seen, miners)
	for i := range seen {
		seen[i] = share.NewSeen(0)
	}
	var hash chainhash.Hash
	shares := 0
	b.ReportAllocs()
	for b.Loop() {
		binary.LittleEndian.PutUint64(hash[:], rand.Uint64())
		if !seen[shares%miners].Add(now, 1, &hash) {
			b.Fatal("a duplicate by chance")
		}
		if shares++; shares%miners == 0 {
			now = now.Add(4 * time.Second)
		}
	}
	remembered := 0
	for _, s := range seen {
		remembered += s.Len()
	}
	heap := liveHeap() - before
	b.ReportMetric(heap/(1<<20), "live-MiB")
	b.ReportMetric(heap/float64(remembered), "B/remembered")
	runtime.KeepAlive(seen)
}
