package pool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/share"
	"lode/pool/template"
)

// TestFullOfMemory: without memory nobody comes in, and who is there goes on.
func TestFullOfMemory(t *testing.T) {
	p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
	dial := serveBench(t, p)
	(&report{p, 0}).work(quietWork(p, *now))
	m := dial()
	m.login()
	notify := m.until("mining.notify")
	p.memoryLimit = 1
	p.lookAtMemory()
	late := dial()
	_ = late.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := late.r.ReadString('\n'); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a new connection was taken (%q, %v)", line, err)
	}
	if reply := m.submitted(notify, 1); !strings.Contains(reply, "true") {
		t.Errorf("share of one that was there: %s", reply)
	}
	p.memoryLimit = 0
	p.lookAtMemory()
	dial().login()
}

// liveHeap is what garbage collection leaves, bytes.
func liveHeap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkHeapOfTemplates is the live heap of a proxy with full blocks: 4,000
// transactions, 4 MB in all, of which a tenth is replaced with each template, every 30 s
// for as long as jobs are remembered. One operation is one template.
func BenchmarkHeapOfTemplates(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([][]byte, 4000)
	fresh := func() []byte {
		raw := make([]byte, 990)
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		id := make([]byte, 32)
		binary.LittleEndian.PutUint64(id, r.Uint64())
		return fmt.Appendf(nil, `{"data":"020000000001%x","txid":"%x","fee":100}`, raw, id)
	}
	for i := range list {
		list[i] = fresh()
	}
	frame, tail, _ := bytes.Cut(templateReply(0), []byte(`"transactions":[`))
	p, now := bench(b, Config{})
	var store template.Store
	before := liveHeap()
	for b.Loop() {
		for range len(list) / 10 {
			list[r.IntN(len(list))] = fresh()
		}
		// The commitment is not what is measured, and must be right or absent.
		reply := append(append(bytes.Clone(frame), `"transactions":[`...), bytes.Join(list, []byte(","))...)
		reply = append(reply, bytes.Replace(tail, []byte("default_witness_commitment"), []byte("unknown"), 1)...)
		*now = now.Add(30 * time.Second)
		notifyOf(b, p, reply, false)
		p.jobs.Latest().Origin.(*nodeWork).compact(&store)
	}
	b.ReportMetric((liveHeap()-before)/(1<<20), "live-MiB")
	runtime.KeepAlive(p)
	runtime.KeepAlive(&store)
	runtime.KeepAlive(list)
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
