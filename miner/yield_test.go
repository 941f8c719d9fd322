package miner

import (
	"testing"
	"time"
)

func TestYieldModes(t *testing.T) {
	for _, mode := range YieldModes {
		var o Options
		if err := o.YieldBy(mode); err != nil {
			t.Error(err)
		}
		if o.Sense != (mode == "sense") || o.Idle != (mode == "sense" || mode == "idle") || (o.Nice > 0) != (mode != "none") {
			t.Errorf("%s: %+v", mode, o)
		}
	}
	if err := new(Options).YieldBy("always"); err == nil {
		t.Error("a mode that there is not was accepted")
	}
}

func TestQuantiles(t *testing.T) {
	w := []*worker{new(worker), new(worker)}
	if quantile(w, 0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for range 99 {
		w[0].giving.times.add(3 * time.Microsecond)
	}
	w[1].giving.times.add(700 * time.Microsecond)
	w[1].giving.times.add(-time.Second)
	w[1].giving.times.add(time.Hour)
	if p50, p99 := quantile(w, 0.5), quantile(w, 0.99); p50 != 4*time.Microsecond || p99 != 1024*time.Microsecond {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
}

// An engine has as many threads at work as the system leaves room for, and none of the
// others' share is lost.
func TestRoom(t *testing.T) {
	e := newEngine(Options{Threads: 4}, portablePair(t), allNonces)
	duty := func() float64 { return e.workers[0].duty() }
	for _, c := range []struct {
		room   room
		active int32
		duty   float64
	}{
		{wholeRoom, 4, 0.8},
		{room{cpus: 0.5, share: 1}, 2, 0.8},
		{room{cpus: 1, share: 0.5}, 2, 0.8},
		{room{cpus: 1, share: 0.375}, 2, 0.6},
		{room{cpus: 0.01, share: 0.01}, 1, 0.008},
		{wholeRoom, 4, 0.8},
	} {
		e.SetDuty(0.8)
		e.setRoom(c.room)
		if e.active.Load() != c.active || duty() < c.duty-1e-9 || duty() > c.duty+1e-9 {
			t.Errorf("%+v: %d threads at %v", c.room, e.active.Load(), duty())
		}
	}
	e.SetDuty(1)
	e.setRoom(room{cpus: 0.25, share: 1})
	e.SetWork(easyWork(32))
	start(t, e)
	eventually(t, "the first thread hashes", func() bool { return e.workers[0].hashes.Load() > 0 })
	if n := e.workers[3].hashes.Load(); n != 0 {
		t.Errorf("a thread without a cpu did %d hashes", n)
	}
	e.setRoom(wholeRoom)
	eventually(t, "the last thread hashes", func() bool { return e.workers[3].hashes.Load() > 0 })
}

func TestSensingEngineSearchesAll(t *testing.T) {
	w := easyWork(0)
	w.VersionMask, w.Extranonce2Size = 0x6000, 1
	for i := range w.Target {
		w.Target[i] = 0xff
	}
	// Not of SCHED_IDLE, which has next to nothing of a machine that is busy with other tests.
	e := newEngine(Options{Threads: 2, Sense: true, HitBuffer: 1 << 17}, portablePair(t), 64)
	e.SetWork(w)
	start(t, e)
	const size = 64 * 4 * 256
	eventually(t, "the space is searched", func() bool { return e.Stats().Hashes == size })
	if s := e.Stats(); s.Hits != size || s.Yielded.CPU <= 0 {
		t.Errorf("%+v", s)
	}
}
