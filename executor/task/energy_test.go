package task

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lode/message"
	"lode/miner"
)

// A machine of 50 W that hashes 0.1 GH/s with 12 W more.
func TestEnergyProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var paused atomic.Bool
		var pausedFor atomic.Int64 // nanoseconds
		var since, last time.Time
		p := &energyProbe{
			rand:   func() float64 { return 0.5 },
			hashes: func() uint64 { return uint64((time.Since(began) - time.Duration(pausedFor.Load())).Seconds() * 1e8) },
			hold: func(now bool) {
				if paused.Store(now); now {
					since = time.Now()
				} else {
					pausedFor.Add(int64(time.Since(since)))
				}
			},
		}
		p.measure = func(now time.Time) miner.Load {
			load := miner.Load{Watts: 50}
			if !paused.Load() {
				load.Watts += 12
			}
			if now.Sub(last) > time.Minute {
				load.Watts = 10 // of another time
			}
			last = now
			return load
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		time.Sleep(5 * time.Minute)
		if p.cost() != 0 {
			t.Error("a cost before there was a pause")
		}
		time.Sleep(55 * time.Minute)
		synctest.Wait()
		if got := p.cost(); math.Abs(got-120) > 1 {
			t.Errorf("%v J/GH, want 120", got)
		}
		if all := time.Duration(pausedFor.Load()); all > time.Minute/3 || paused.Load() {
			t.Errorf("paused for %v of an hour; now: %v", all, paused.Load())
		}
		// It ends in a pause, and leaves none behind.
		for !paused.Load() {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		cancel()
		<-done
		if paused.Load() {
			t.Error("it leaves a pause behind")
		}
	})
}

// Where nothing can be read nothing pauses.
func TestNoEnergyNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &energyProbe{
			rand:    func() float64 { return 0.5 },
			hashes:  func() uint64 { return uint64(time.Now().UnixMicro()) },
			measure: func(time.Time) miner.Load { return miner.Load{} },
			hold:    func(bool) { t.Error("paused") },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		time.Sleep(24 * time.Hour)
		cancel()
		<-done
	})
}

// pausable is an engine that tells whether it was paused.
type pausable struct {
	still
	paused *bool
}

func (p pausable) SetPaused(now bool) { *p.paused = now }

// Two reasons to pause do not undo each other.
func TestPausesOfTwoReasons(t *testing.T) {
	paused := false
	env := testEnv(nil)
	env.Hide = func(string) {}
	env.NewEngine = func(miner.Options) (miner.Searcher, error) { return pausable{paused: &paused}, nil }
	m, err := NewMiner(&message.MinerTask{}, env)
	if err != nil {
		t.Fatal(err)
	}
	list := func(epoch uint64, paused bool) { m.setProxies(&message.Proxies{Epoch: epoch, Paused: paused}) }
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() { m.hold(true) }, true},
		{func() { list(1, true) }, true},
		{func() { m.hold(false) }, true},
		{func() { m.hold(true) }, true},
		{func() { list(2, false) }, true},
		{func() { m.hold(false) }, false},
	} {
		if step.do(); paused != step.want {
			t.Errorf("step %d: paused %v", i, paused)
		}
	}
}
