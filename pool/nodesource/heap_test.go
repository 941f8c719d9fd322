package nodesource

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/pool/template"
)

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
	s, table, now := bench(b), jobs.NewTable(0, 0), time.Unix(1_700_000_000, 0)
	var store template.Store
	before := liveHeap()
	for b.Loop() {
		for range len(list) / 10 {
			list[r.IntN(len(list))] = fresh()
		}
		// The commitment is not what is measured, and must be right or absent.
		reply := append(append(bytes.Clone(frame), `"transactions":[`...), bytes.Join(list, []byte(","))...)
		reply = append(reply, bytes.Replace(tail, []byte("default_witness_commitment"), []byte("unknown"), 1)...)
		now = now.Add(30 * time.Second)
		notify(b, s, table, now, reply, false)
		if err := table.Latest().Origin.(*work).compact(&store); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((liveHeap()-before)/(1<<20), "live-MiB")
	runtime.KeepAlive(table)
	runtime.KeepAlive(&store)
	runtime.KeepAlive(list)
}
