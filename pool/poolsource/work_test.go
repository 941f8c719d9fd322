package poolsource

import (
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/stratum"
)

// TestPoolDifficulty: a miner's difficulty is not above the pool's, but no pool makes a
// miner send more than so many times the shares that it is to send.
func TestPoolDifficulty(t *testing.T) {
	for _, c := range []struct{ pool, miner, want float64 }{
		{1000, 500, 500},
		{500, 1000, 500},
		{1000, 1000, 1000},
		{1, 16384, 1024},
		{1e-300, 16384, 1024},
		{1e30, 16384, 16384},
		{1024, 16384, 1024},
		{1e-6, 1e-6, 1e-6},
	} {
		w := &work{difficulty: c.pool}
		if got := w.CapDifficulty(c.miner); got != c.want {
			t.Errorf("pool %g, miner %g: %g, want %g", c.pool, c.miner, got, c.want)
		}
	}
}

// TestPoolTime: shares for a pool stay within what strict pools take, for a job that is
// sent again too.
func TestPoolTime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	source, err := New(Options{URL: "stratum+tcp://127.0.0.1:1", User: "w", Mask: stratum.WideVersionMask, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	base := uint32(now.Unix())
	w, err := source.make(&stratum.Assignment{
		Job: &stratum.Job{Bits: 0x1d00ffff, Time: base}, Extranonce1: []byte{1}, Extranonce2Size: 8, Difficulty: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for ahead, ok := range map[uint32]bool{0: true, 599: true, 600: true, 601: false, 7000: false} {
			if err := w.TimeError(base + ahead); (err == nil) != ok {
				t.Errorf("job of %d s later: a share %d s after the first job: %v", w.Time-base, ahead, err)
			}
		}
		now = now.Add(45 * time.Second)
		next := w.Again(now)
		if next == nil {
			break
		}
		if next.Time < w.Time+jobs.Editions {
			t.Errorf("sent again %d s later, after one %d s later: the same work", next.Time-base, w.Time-base)
		}
		w = next
	}
	if last := w.Time + jobs.Editions - 1; last != base+600 {
		t.Errorf("the last edition of the last job is %d s after the first, want 600", last-base)
	}
}
