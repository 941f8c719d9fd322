package miner

import (
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"lode/miner/internal/yield"
)

// YieldModes are the names that Options.YieldBy takes, each with what it does.
var YieldModes = []string{"none", "nice", "idle", "sense"}

// leastPriority is the niceness of threads that yield at all.
const leastPriority = 19

// YieldBy sets Nice, Idle and Sense: how the threads give their cpus to others.
// none: as any program; nice: with niceness 19; idle: with SCHED_IDLE, where the
// kernel lets whoever wakes up have the cpu at once; sense: with SCHED_IDLE, and a
// thread that notices others on its core sleeps.
func (o *Options) YieldBy(mode string) error {
	o.Nice, o.Idle, o.Sense = leastPriority, false, false
	switch mode {
	case "none":
		o.Nice = 0
	case "nice":
	case "idle":
		o.Idle = true
	case "sense":
		o.Idle, o.Sense = true, true
	default:
		return fmt.Errorf("miner: no way to yield is called %q: there are none, nice, idle and sense", mode)
	}
	return nil
}

// Yielded counts what threads gave to others since the start of an Engine. Only
// engines that sense know, but for CPU.
type Yielded struct {
	Count uint64 // times that a core was given to somebody
	// Away is how long threads were off the cpu though they had work; Parked how long
	// they slept besides. Of all threads together, as CPU: the cpu time they had.
	Away, Parked, CPU time.Duration
	// P50 and P99 bound from above how long a thread went on after somebody wanted its
	// cpu: powers of two of a microsecond. 0: nobody did.
	P50, P99 time.Duration
}

// giving is what a worker notes for Yielded; others read it.
type giving struct {
	count, away, parked atomic.Uint64
	times               timeCounts
}

// timeCounts counts times by the power of two of microseconds above them.
type timeCounts [20]atomic.Uint64

func (c *timeCounts) add(d time.Duration) {
	c[min(bits.Len64(uint64(max(d, 0)/time.Microsecond)), len(c)-1)].Add(1)
}

// quantile is a bound of the share q of the times, of several counts together.
func quantile(workers []*worker, q float64) time.Duration {
	var sum [len(timeCounts{})]uint64
	var total uint64
	for _, w := range workers {
		for i := range sum {
			n := w.giving.times[i].Load()
			sum[i] += n
			total += n
		}
	}
	if total == 0 {
		return 0
	}
	var below uint64
	for i, n := range sum {
		below += n
		if float64(below) >= q*float64(total) {
			return time.Microsecond << i
		}
	}
	return time.Microsecond << (len(sum) - 1)
}

// sense is what a worker needs to notice others.
type sense struct {
	sensor   yield.Sensor
	governor yield.Governor
	kernel   any // whose cost the sensor has learned
	versions int

	// When the thread's own clock was read last, and what it showed.
	wallAt, cpuAt time.Duration
	batches       int // since then

	// cycle is the seconds that one took when the sensor learned the floor, in nanoseconds a
	// hash; 0: not known.
	cycle, floor float64
	// core is shared with the engine's thread on the same core; nil: there is none.
	core *sharedCore
}

// sharedCore says until when the threads of a core are to leave it to others, as
// nanoseconds of the engine's clock.
type sharedCore struct{ until atomic.Int64 }

const (
	// clockEvery is how often, in batches, a thread reads its own clock though nothing
	// happened: what it loses by drops is not to count as the loss of one batch.
	clockEvery = 64
	// steady is by how much a cycle may grow while the clock counts as the same, and sameFloor
	// by how much a floor may move until the clock is looked at again.
	steady, sameFloor = 1.05, 1.01
	// patience is after how long a parked thread does a batch all the same: a machine that
	// is busy for ever is to have a miner that lives, for 0.03 % of a cpu.
	patience = time.Second
	// givesSibling is from which park on the core's other thread parks as well.
	givesSibling = time.Millisecond
)

// heed looks at a batch that has just ended, and parks the thread if others want its
// core. It returns how long the batch was on the cpu.
func (w *worker) heed(wall time.Duration, hashes int) (ran time.Duration) {
	s := w.sense
	if w.kernel != s.kernel || len(w.cursor.job.States) != s.versions { // a hash has another cost
		s.kernel, s.versions = w.kernel, len(w.cursor.job.States)
		s.forget(0)
	}
	if s.core != nil {
		if rest := time.Duration(s.core.until.Load()) - w.mark; rest > 0 {
			w.giving.parked.Add(uint64(rest))
			w.engine.system.sleep(w.index, rest)
			w.resume()
			return wall
		}
	}
	if !s.sensor.Odd(wall, hashes) {
		if s.batches++; s.batches >= clockEvery {
			w.readClock()
			w.learnClock()
		}
		s.governor.Batch(wall, 0, false)
		return wall
	}
	off, slow := s.sensor.Split(wall, w.readClock(), hashes)
	ran = wall - off
	park := s.governor.Batch(ran, off, slow && s.sensor.Slow && w.steadyClock())
	if off >= yield.LossLeast || park > 0 {
		w.giving.count.Add(1)
		w.giving.away.Add(uint64(off))
		w.giving.times.add(ran)
	}
	if park > 0 {
		w.park(park)
	}
	return ran
}

// readClock returns for how long the thread was off the cpu since it was last called.
func (w *worker) readClock() (away time.Duration) {
	s := w.sense
	cpu := w.engine.system.cpuTime(w.index)
	away = (w.mark - s.wallAt) - (cpu - s.cpuAt)
	s.wallAt, s.cpuAt, s.batches = w.mark, cpu, 0
	w.floor.Store(math.Float64bits(s.sensor.Floor()))
	return max(away, 0)
}

// resume begins to measure anew, after a time that was not spent on hashes.
func (w *worker) resume() {
	w.mark = w.engine.clock()
	if w.sense != nil {
		w.readClock()
	}
}

// forget lets the sensor learn anew, at a clock that has this cycle.
func (s *sense) forget(cycle float64) {
	s.cycle, s.floor = cycle, 0
	s.sensor.Forget()
}

// learnClock notes the clock at which the sensor learned what a hash costs.
func (w *worker) learnClock() {
	s := w.sense
	now := s.sensor.Floor()
	if s.sensor.Slow && (s.cycle == 0 || now*sameFloor < s.floor || now > sameFloor*s.floor) {
		s.cycle, s.floor = w.engine.system.cycle(), now
		w.mark = w.engine.clock() // that took longer than a batch
	}
}

// steadyClock says whether a slow batch can have its reason in somebody else on the
// core: not if it is the clock that fell, or if that is not known.
func (w *worker) steadyClock() bool {
	s := w.sense
	if s.cycle == 0 {
		return false
	}
	now := w.engine.system.cycle()
	if now > steady*s.cycle {
		s.forget(now)
		return false
	}
	return now > 0
}

// park sleeps as long as the governor says, unless there is other work to do.
func (w *worker) park(d time.Duration) {
	s, e := w.sense, w.engine
	first := w.mark
	for d > 0 && !e.stopped.Load() && e.current.Load() == w.assignment && e.clock()-first < patience {
		begin := e.clock()
		if s.core != nil && d >= givesSibling {
			s.core.until.Store(int64(begin + d))
		}
		e.system.sleep(w.index, d)
		after := max(e.clock()-begin-d, 0)
		w.giving.parked.Add(uint64(d))
		w.giving.away.Add(uint64(after))
		d = s.governor.Woke(after)
	}
	w.resume()
}
