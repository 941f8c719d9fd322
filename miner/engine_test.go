package miner

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lode/miner/internal/scan"
)

func TestMain(m *testing.M) {
	if cpu := os.Getenv(busyEnv); cpu != "" {
		busy(cpu)
	}
	if os.Getenv(confinedEnv) != "" {
		confined()
	}
	goleak.VerifyTestMain(m)
}

// start runs an engine until the test ends.
func start(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// eventually waits for a condition that the engine's threads bring about, however busy
// the machine is.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// eachPair runs a test with every pair of kernels that this machine can run.
func eachPair(t *testing.T, test func(t *testing.T, pair kernelPair)) {
	all := scan.Kernels()
	for _, k := range all {
		t.Run(k.Name, func(t *testing.T) {
			if k.Missing != "" {
				t.Skip(k.Missing)
			}
			pair, err := kernelNamed(k.Name, all)
			if err != nil {
				t.Fatal(err)
			}
			test(t, pair)
		})
	}
}

// easyWork has a target that about one hash in 2^zeros reaches.
func easyWork(zeros int) *Work {
	w := &Work{
		Version: 0x20000000, VersionMask: 0x1fffe000, PrevBlock: [32]byte{1, 2, 3},
		MerkleRoot: func(extranonce2 uint64) (root [32]byte) {
			binary.LittleEndian.PutUint64(root[:], extranonce2)
			return root
		},
		Extranonce2Size: 8, Bits: 0x1d00ffff, Time: 1700000000,
	}
	binary.BigEndian.PutUint32(w.Target[:], math.MaxUint32>>zeros)
	for i := 4; i < 32; i++ {
		w.Target[i] = 0xff
	}
	return w
}

func TestEngineFindsHits(t *testing.T) {
	eachPair(t, func(t *testing.T, pair kernelPair) {
		e := newEngine(Options{Threads: 2}, pair, allNonces)
		start(t, e)
		for _, mask := range []uint32{0x1fffe000, 0x6000, 0} {
			w := easyWork(12)
			w.VersionMask = mask
			w.ID = fmt.Sprintf("%08x", mask)
			e.SetWork(w)
			for found := 0; found < 5; {
				hit := <-e.Hits()
				if hit.Work != w {
					continue // of the work before
				}
				found++
				if hit.Version&^mask != w.Version {
					t.Errorf("version %08x: bits outside of the mask %08x", hit.Version, mask)
				}
				if hit.Hash != w.hash(&hit) {
					t.Errorf("hit %+v is not what its header hashes to", hit)
				}
			}
		}
		s := e.Stats()
		if s.Hits < 15 || s.Hashes < 15<<10 || s.Threads != 2 || s.WorkSince.IsZero() {
			t.Errorf("stats %+v after 15 hits", s)
		}
	})
}

// hash is the double hash of a hit's header, made here from the work.
func (w *Work) hash(h *Hit) [32]byte {
	var header [80]byte
	binary.LittleEndian.PutUint32(header[0:], h.Version)
	copy(header[4:], w.PrevBlock[:])
	root := w.MerkleRoot(h.Extranonce2)
	copy(header[36:], root[:])
	binary.LittleEndian.PutUint32(header[68:], h.Time)
	binary.LittleEndian.PutUint32(header[72:], w.Bits)
	binary.LittleEndian.PutUint32(header[76:], h.Nonce)
	once := sha256.Sum256(header[:])
	return sha256.Sum256(once[:])
}

func TestDroppedHits(t *testing.T) {
	e := newEngine(Options{Threads: 1, HitBuffer: 3}, portablePair(t), 64)
	w := easyWork(0)
	w.VersionMask, w.Extranonce2Size = 0, 0
	e.SetWork(w)
	start(t, e)
	eventually(t, "64 hits", func() bool { return e.Stats().Hits == 64 })
	if s := e.Stats(); s.Dropped != 61 || len(e.Hits()) != 3 {
		t.Errorf("stats %+v, %d hits are waiting", s, len(e.Hits()))
	}
}

func TestIdleAndPause(t *testing.T) {
	e := newEngine(Options{Threads: 2}, portablePair(t), allNonces)
	start(t, e)
	w := easyWork(32)
	stands := func(what string) {
		t.Helper()
		// A batch may be under way still: wait until the counter stands.
		last := ^uint64(0)
		eventually(t, what, func() bool {
			now := e.Stats().Hashes
			stands := now == last
			last = now
			time.Sleep(20 * time.Millisecond)
			return stands
		})
		if s := e.Stats(); !s.WorkSince.IsZero() {
			t.Errorf("%s: work since %v", what, s.WorkSince)
		}
	}
	moves := func(what string) {
		t.Helper()
		from := e.Stats().Hashes
		eventually(t, what, func() bool { return e.Stats().Hashes > from })
		if e.Stats().WorkSince.IsZero() {
			t.Errorf("%s: no time", what)
		}
	}
	stands("without work")
	e.SetWork(w)
	moves("with work")
	e.SetPaused(true)
	stands("paused")
	e.SetWork(easyWork(32))
	stands("paused with new work")
	e.SetPaused(false)
	moves("resumed")
	e.SetWork(nil)
	stands("work taken back")
}

func TestRunTwice(t *testing.T) {
	e := newEngine(Options{Threads: 1}, portablePair(t), allNonces)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := e.Run(ctx); err == nil {
		t.Error("a second Run was accepted")
	}
}

func TestRunGivesProcsBack(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	e := newEngine(Options{Threads: 3}, portablePair(t), allNonces)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	eventually(t, "a processor more for each thread", func() bool { return runtime.GOMAXPROCS(0) == before+3 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("GOMAXPROCS is %d, was %d", got, before)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	eachPair(t, func(t *testing.T, pair kernelPair) {
		e := newEngine(Options{Threads: 1, HitBuffer: 1}, pair, allNonces)
		w := easyWork(10)
		worker := e.workers[0]
		worker.begin(e.assignment(w))
		worker.batch()
		if n := testing.AllocsPerRun(50, func() { worker.batch() }); n != 0 {
			t.Errorf("a batch allocates %v times", n)
		}
		// Nor does the way to the next time, versions and extranonce2.
		w2 := easyWork(10)
		w2.VersionMask = 0x6000
		e.nonces = 64
		worker.begin(e.assignment(w2))
		worker.batch()
		if n := testing.AllocsPerRun(50, func() { worker.batch() }); n != 0 {
			t.Errorf("a batch that ends a range allocates %v times", n)
		}
	})
}

// BenchmarkJobChange is the time from SetWork to the first hash of the new work.
func BenchmarkJobChange(b *testing.B) {
	all := scan.Kernels()
	for _, k := range all {
		b.Run(k.Name, func(b *testing.B) {
			if k.Missing != "" {
				b.Skip(k.Missing)
			}
			pair, err := kernelNamed(k.Name, all)
			if err != nil {
				b.Fatal(err)
			}
			e := newEngine(Options{Threads: 1}, pair, allNonces)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			began := make(chan struct{}, 1)
			for b.Loop() {
				w := easyWork(32)
				root := w.MerkleRoot
				w.MerkleRoot = func(extranonce2 uint64) [32]byte {
					began <- struct{}{} // just before the first midstates
					return root(extranonce2)
				}
				e.SetWork(w)
				<-began
			}
			cancel()
			<-done
		})
	}
}
