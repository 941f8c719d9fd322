package miner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lode/miner/internal/scan"
)

var _ Searcher = (*Engine)(nil)

// Engine searches with a number of threads. Its methods may be called from any
// goroutine, before, during and after Run.
//
// A thread looks for new work between two batches of hashes, which last a fraction
// of a millisecond, with one atomic load. Threads share nothing else.
type Engine struct {
	options Options
	system  system
	kinds   []kind // of cores; less than two: threads need not know theirs
	nonces  uint64 // number of nonces, less than 2^32 in tests
	workers []*worker
	hits    chan Hit
	beliefs []*belief // by kind of core; none: the kernels were given
	started atomic.Bool
	group   Host // its control group, where that matters
	cookie  cookie

	// current is what threads hash; nil when idle or paused.
	current atomic.Pointer[assignment]
	stopped atomic.Bool
	duty    atomic.Uint64 // bits of a float64
	active  atomic.Int32  // threads that hash; those from here on wait
	epoch   time.Time     // of clock

	mu      sync.Mutex
	kernels kernelSet   // for the next work
	last    *assignment // the work that was set last, even if taken back since
	idle    bool        // no work
	paused  bool
	since   time.Time
	wanted  float64 // the duty that was set
	room    room    // what the system leaves of it
}

// assignment is a work that was given to an engine. Threads tell by its address
// whether they have begun it.
type assignment struct {
	work    *Work
	mask    uint32
	kernels kernelSet
}

// New returns an engine that waits for Run and SetWork. It fails when a kernel is
// named that this machine cannot run. If none is named, the first work has the kernels that
// are likely to be the fastest. While it is hashed all are timed, if that was not done
// before, for the works that follow and, in the user's cache folder, for later engines.
func New(o Options) (*Engine, error) {
	if o.Threads < 0 || o.Threads > MostThreads || o.Nice < 0 || o.Nice > 19 || o.Duty < 0 || o.Duty > 1 || math.IsNaN(o.Duty) || o.HitBuffer < 0 {
		return nil, fmt.Errorf("miner: options out of range: threads %d (0 to %d), nice %d (0 to 19), duty %v (above 0, up to 1), hit buffer %d",
			o.Threads, MostThreads, o.Nice, o.Duty, o.HitBuffer)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	all := scan.Kernels()
	if o.Kernel != "" {
		pair, err := kernelNamed(o.Kernel, all)
		if err != nil {
			return nil, fmt.Errorf("miner: %w", err)
		}
		return newEngine(o, pair, allNonces), nil
	}
	kinds := usableKinds()
	beliefs, kernels, err := believe(all, kinds, ground{crowded: o.crowded(), nice: o.Nice}, func(on ground) calibrationStore { return userCalibrations(all, on) }, log)
	if err != nil {
		return nil, fmt.Errorf("miner: %w", err)
	}
	e := newEngine(o, kernels[0], allNonces)
	e.kinds, e.kernels, e.beliefs = kinds, kernels, beliefs
	return e, nil
}

func newEngine(o Options, pair kernelPair, nonces uint64) *Engine {
	if o.Threads == 0 {
		o.Threads = o.availableThreads()
		if o.Duty == 0 {
			o.Duty = dutyOf(o.Threads, cgroupQuota("/"))
		}
	}
	if o.Duty == 0 {
		o.Duty = 1
	}
	if o.HitBuffer == 0 {
		o.HitBuffer = 1024
	}
	e := &Engine{
		options: o, system: thisSystem(), kernels: kernelSet{pair}, nonces: nonces, hits: make(chan Hit, o.HitBuffer), idle: true,
		epoch: time.Now(), room: wholeRoom,
	}
	e.SetDuty(o.Duty)
	for i := range o.Threads {
		e.workers = append(e.workers, newWorker(e, i))
	}
	return e
}

// Run hashes until ctx ends. It can be called once; it returns nil after all
// threads have stopped.
func (e *Engine) Run(ctx context.Context) error {
	if e.started.Swap(true) {
		return errors.New("miner: Run was called twice on an Engine")
	}
	release := reserveProcs(len(e.workers))
	defer release()
	places, leave := e.places()
	defer leave()
	if e.options.CoreSched {
		e.group = describeGroup("/")
	}
	return e.run(ctx, places)
}

func (e *Engine) run(ctx context.Context, places []place) error {
	var threads sync.WaitGroup
	for i, w := range e.workers {
		threads.Go(func() { w.run(places[i]) })
	}
	threads.Go(e.settle)
	e.watch(ctx)
	e.stopped.Store(true)
	e.wakeAll()
	threads.Wait()
	return nil
}

// SetWork makes all threads turn to w, or idle when w is nil. Setting the work
// that was set last goes on with it where it was.
func (e *Engine) SetWork(w *Work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle = w == nil
	if w != nil && (e.last == nil || e.last.work != w) {
		e.last = e.assignment(w)
	}
	e.publish()
}

// assignment is a work with the kernels that are the best now; mu is held.
func (e *Engine) assignment(w *Work) *assignment {
	return &assignment{w, targetMask(&w.Target), e.kernels}
}

// SetPaused stops the hashing, and starts it again where it stopped.
func (e *Engine) SetPaused(paused bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.paused = paused
	e.publish()
}

// SetDuty sets the share of time that the threads hash; values outside 0 < duty ≤ 1
// are brought inside.
func (e *Engine) SetDuty(duty float64) {
	if !(duty >= leastDuty) {
		duty = leastDuty
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wanted = min(duty, 1)
	e.fit()
}

const leastDuty = 0.001

// clock is the time since the engine was made; never 0.
func (e *Engine) clock() time.Duration { return time.Since(e.epoch) + 1 }

// publish tells the threads what to hash; mu is held.
func (e *Engine) publish() {
	next := e.last
	if e.idle || e.paused {
		next = nil
	}
	was := e.current.Swap(next)
	if next == nil {
		e.since = time.Time{}
	} else if was == nil {
		e.since = time.Now()
	}
	e.wakeAll()
}

func (e *Engine) wakeAll() {
	for _, w := range e.workers {
		select {
		case w.wake <- struct{}{}:
		default: // it has been woken and has not looked yet
		}
	}
}

// Hits delivers what is found. It is never closed.
func (e *Engine) Hits() <-chan Hit { return e.hits }

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	s := Stats{Threads: len(e.workers), WorkSince: e.since}
	kernels, work := e.kernels, (*Work)(nil)
	if e.last != nil {
		kernels, work = e.last.kernels, e.last.work
	}
	e.mu.Unlock()
	var names []string
	for _, w := range e.workers {
		names = append(names, kernels.at(int(w.kind.Load())).of(work).Name)
	}
	s.Kernel = strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), "+")
	s.Idle = true
	s.Yielded.Count = e.met()
	for _, w := range e.workers {
		s.Hashes += w.hashes.Load()
		s.Hits += w.hitCount.Load()
		s.Dropped += w.dropped.Load()
		s.Yielded.Away += time.Duration(w.giving.away.Load())
		s.Yielded.Parked += time.Duration(w.giving.parked.Load())
		s.Yielded.CPU += w.cpuTime()
		s.Idle = s.Idle && w.idle.Load()
	}
	s.Yielded.P50, s.Yielded.P99 = quantile(e.workers, 0.5), quantile(e.workers, 0.99)
	return s
}

// cpuTime is what the thread used so far.
func (w *worker) cpuTime() time.Duration {
	if tid := w.tid.Load(); tid != 0 {
		if t := timeOfThread(tid); t > 0 {
			return t
		}
	}
	return time.Duration(w.cpu.Load())
}
