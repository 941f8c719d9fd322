package miner

import (
	"context"
	"math"
	"time"

	"lode/miner/internal/yield"
)

// room is what the system leaves of what an engine was asked for.
type room struct {
	cpus  float64 // share of the cpus that there were at the start
	share float64 // of the time that the control group pays for, and that others can spare
}

var wholeRoom = room{1, 1}

// watchEvery is how often the room is looked at.
const watchEvery = time.Second

// fit tells the threads how many of them hash, and how much of the time; mu is held.
func (e *Engine) fit() {
	threads := len(e.workers)
	if threads == 0 {
		threads = e.options.Threads // while the engine is made
	}
	active := max(1, int(math.Ceil(float64(threads)*e.room.cpus-1e-9)))
	active, share := yield.Spread(active, e.room.share)
	e.duty.Store(math.Float64bits(max(leastDuty, e.wanted*share)))
	if e.active.Swap(int32(active)) != int32(active) {
		e.wakeAll()
	}
}

// watch fits the threads to the room there is until ctx ends: cpus may be unplugged or
// taken out of the process' set, a control group may stop threads that use more than its
// quota, and others may wait for cpus that the threads have.
func (e *Engine) watch(ctx context.Context) {
	if !e.options.Sense {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	first := len(e.system.allowed())
	threads := len(e.workers)
	var quota yield.Quota
	var pressure yield.Pressure
	looks := 0
	told := "" // why fewer hash
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		next, why := wholeRoom, ""
		// Who asked for more threads than cpus knows why.
		if now := len(e.system.allowed()); now > 0 && first > 0 && threads <= first {
			next.cpus = min(1, float64(now)/float64(threads))
		}
		if periods, throttled, ok := e.system.throttling(); ok {
			if next.share = quota.Sample(periods, throttled); next.share < 1 {
				why = "the control group is stopped for its quota (cpu.stat)"
			}
		}
		if machine, own, ok := e.system.pressure(); ok {
			waiting := yield.Waiting{At: e.clock(), Machine: machine, Own: own, Met: e.met()}
			if share := pressure.Sample(waiting); share < next.share {
				next.share, why = share, "others wait for cpus (/proc/pressure/cpu)"
			}
		}
		if why != told {
			e.tellRoom(why)
			told = why
		}
		e.setRoom(next)
		if looks++; looks%beliefEvery == 0 {
			e.doubt()
		}
	}
}

// tellRoom says why fewer threads hash than were asked for; "": all do again.
func (e *Engine) tellRoom(why string) {
	switch log := e.options.Log; {
	case log == nil:
	case why == "":
		log.Info("all threads hash again")
	default:
		log.Info("fewer threads hash", "why", why)
	}
}

// met counts how often threads gave their cpus to others.
func (e *Engine) met() (n uint64) {
	for _, w := range e.workers {
		n += w.giving.count.Load()
	}
	return n
}

func (e *Engine) setRoom(r room) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.room != r {
		e.room = r
		e.fit()
	}
}
