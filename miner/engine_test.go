package miner

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"lode/miner/internal/scan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// eventually waits for a condition that the engine's threads bring about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
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
