package miner

import (
	"fmt"
	"math"
	"math/bits"
	"testing"
)

// point is one header of a search space.
type point struct {
	version, time, nonce uint32
	extranonce2          uint64
}

// exhaust runs an engine over a space of nonces 0 … nonces-1, in which every header
// is a hit, until it has nothing left to do, and returns how often each point was
// found.
func exhaust(t *testing.T, pair kernelPair, w *Work, threads int, nonces uint64, disturb func(*Engine)) map[point]int {
	t.Helper()
	times := uint64(1)
	if w.MaxTime > w.Time {
		times += uint64(w.MaxTime - w.Time)
	}
	size := nonces * times << bits.OnesCount32(w.VersionMask) << (8 * w.Extranonce2Size)
	e := newEngine(Options{Threads: threads, HitBuffer: int(size) + 1000}, pair, nonces)
	e.SetWork(w)
	start(t, e)
	if disturb != nil {
		disturb(e)
	}
	eventually(t, "the space is searched", func() bool { return e.Stats().Hashes >= size })
	if s := e.Stats(); s.Hashes != size || s.Hits != size || s.Dropped != 0 {
		t.Errorf("%d hashes, %d hits, %d dropped; the space has %d points", s.Hashes, s.Hits, s.Dropped, size)
	}
	found := make(map[point]int)
	for range size {
		h := <-e.Hits()
		found[point{h.Version, h.Time, h.Nonce, h.Extranonce2}]++
	}
	select {
	case h := <-e.Hits():
		t.Errorf("one more hit: %+v", h)
	default:
	}
	return found
}

func TestEveryPointIsSearchedOnce(t *testing.T) {
	type space struct {
		mask    uint32
		size    int // of extranonce2
		times   uint32
		nonces  uint64
		threads int
	}
	eachPair(t, func(t *testing.T, pair kernelPair) {
		for _, s := range []space{
			{mask: 0, size: 0, times: 1, nonces: 256, threads: 1},
			{mask: 0, size: 0, times: 3, nonces: 256, threads: 3},
			{mask: 0x6000, size: 0, times: 2, nonces: 160, threads: 2},
			{mask: 0x6000, size: 0, times: 1, nonces: 64, threads: 7}, // some have nothing to do
			{mask: 0x2000, size: 1, times: 2, nonces: 32, threads: 3},
			{mask: 0xe0010000, size: 1, times: 1, nonces: 32, threads: 2},
			{mask: 0x1ff00, size: 0, times: 2, nonces: 64, threads: 2}, // more than one group
		} {
			t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
				w := easyWork(0)
				w.VersionMask, w.Extranonce2Size = s.mask, s.size
				w.MaxTime = w.Time + s.times - 1
				w.Target = [32]byte{}
				for i := range w.Target {
					w.Target[i] = 0xff
				}
				found := exhaust(t, pair, w, s.threads, s.nonces, nil)
				for p, n := range found {
					if n != 1 {
						t.Errorf("%+v was searched %d times", p, n)
					}
					if p.version&^s.mask != w.Version&^s.mask || p.time < w.Time || p.time > w.MaxTime ||
						uint64(p.nonce) >= s.nonces || p.extranonce2>>(8*s.size) != 0 {
						t.Errorf("%+v is outside of the space", p)
					}
				}
			})
		}
	})
}

func TestPausesLoseAndRepeatNothing(t *testing.T) {
	eachPair(t, func(t *testing.T, pair kernelPair) {
		w := easyWork(0)
		w.VersionMask, w.Extranonce2Size = 0x6000, 1
		found := exhaust(t, pair, w, 2, 64, func(e *Engine) {
			e.SetDuty(0.5)
			for range 20 {
				e.SetPaused(true)
				e.SetPaused(false)
				e.SetWork(nil)
				e.SetWork(w)
			}
			e.SetDuty(1)
		})
		for p, n := range found {
			if n != 1 {
				t.Errorf("%+v was searched %d times", p, n)
			}
		}
	})
}

func TestShare(t *testing.T) {
	for _, size := range []int{0, 1, 2, 7, 8} {
		for _, threads := range []int{1, 2, 3, 64, 300} {
			w := &Work{Extranonce2Size: size}
			var nonces uint64
			for i := range threads {
				s := share(w, i, threads, allNonces, 16)
				if size == 8 && (s.extraLast != math.MaxUint64 || s.extraFirst != uint64(i) || s.extraStep != uint64(threads)) {
					t.Errorf("%d bytes, thread %d of %d: %+v", size, i, threads, s)
				}
				if s.nonceFirst%16 != 0 || s.nonceEnd%16 != 0 || s.nonceEnd > allNonces {
					t.Errorf("%d bytes, thread %d of %d: %+v", size, i, threads, s)
				}
				nonces += s.nonceEnd - s.nonceFirst
			}
			if want := uint64(allNonces); size == 0 && nonces != want {
				t.Errorf("%d threads share %d nonces", threads, nonces)
			}
		}
	}
}

func TestVersionsFillTheMask(t *testing.T) {
	for _, mask := range []uint32{0, 1, 0x1fffe000, 0x80000001, 0x00ff0100} {
		w := &Work{Version: 0x20000000, VersionMask: mask}
		seen := map[uint32]bool{}
		for i := range min(uint64(1)<<bits.OnesCount32(mask), 1<<12) {
			v := w.version(i)
			if seen[v] || v&^mask != w.Version&^mask {
				t.Errorf("mask %08x: version %d is %08x", mask, i, v)
			}
			seen[v] = true
		}
		if w.version(0) != w.Version&^mask {
			t.Errorf("mask %08x: the first version is %08x", mask, w.version(0))
		}
	}
}

// TestCursorAtTheEndOfEightBytes ends where adding to extranonce2 would overflow.
func TestCursorAtTheEndOfEightBytes(t *testing.T) {
	w := easyWork(0)
	w.VersionMask = 0
	var c cursor
	c.midstates = newWorker(newEngine(Options{Threads: 1}, portablePair(t), allNonces), 0).cursor.midstates
	c.begin(w, space{nonceEnd: 1, extraFirst: math.MaxUint64 - 2, extraLast: math.MaxUint64, extraStep: 2}, 1, 0)
	if !c.advance(1) || c.extranonce2 != math.MaxUint64 {
		t.Fatalf("at %d, done %v", c.extranonce2, c.done)
	}
	if c.advance(1) || !c.done {
		t.Fatalf("at %d, done %v", c.extranonce2, c.done)
	}
}
