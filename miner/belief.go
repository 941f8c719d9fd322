package miner

import (
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lode/miner/internal/scan"
)

// beliefEvery is how often the calibration is compared with what the threads reach, in
// looks at the room.
const beliefEvery = 10

// belief is what an engine that chose its kernels believes of them, for one kind of core.
type belief struct {
	calibration calibration
	// measure measures, beside what is known already, and stores what it finds, unless ended
	// says that nobody waits for it any more.
	measure func(known calibration, ended func() bool) (kernelPair, calibration, error)
	all     []scan.Kernel
	log     *slog.Logger
	against int // looks in a row that contradicted
	// settled says that the calibration is one, and not under way.
	settled atomic.Bool
}

// believe gives the kernels for each kind of core with which an engine begins, measured on such
// ground. What was not
// measured often enough by earlier ones is so while it hashes already: see settle.
func believe(all []scan.Kernel, kinds []kind, on ground, store func(ground) calibrationStore, log *slog.Logger) (beliefs []*belief, kernels kernelSet, err error) {
	for _, kind := range kinds {
		on := on
		on.kind = kind
		b := &belief{all: all, log: log, measure: func(known calibration, ended func() bool) (kernelPair, calibration, error) {
			on := on
			on.ended = ended
			return measureKernels(all, known, store(on), on, log)
		}}
		var ok bool
		if b.calibration, ok = store(on).load(); !ok {
			b.calibration = calibration{}
		}
		b.settled.Store(b.calibration.Runs >= settled)
		pair, err := likelyKernels(all, b.calibration)
		if err != nil {
			return nil, nil, err
		}
		beliefs, kernels = append(beliefs, b), append(kernels, pair)
	}
	return beliefs, kernels, nil
}

// settle measures what has not settled, all kinds of cores at once. The next work has the
// kernels that it finds.
func (e *Engine) settle() {
	var group sync.WaitGroup
	for kind, b := range e.beliefs {
		if b.settled.Load() {
			continue
		}
		group.Go(func() {
			pair, found, err := b.measure(b.calibration, e.stopped.Load)
			if err == nil {
				b.calibration = found
				e.prefer(kind, pair)
			}
			b.settled.Store(true)
		})
	}
	group.Wait()
}

// prefer gives the next work other kernels on a kind of core.
func (e *Engine) prefer(kind int, pair kernelPair) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kernels = slices.Clone(e.kernels)
	e.kernels[kind] = pair
}

// look compares what a kernel reaches, in cycles a hash, with its calibration. After
// some contradictions it measures again, and so it does after as many looks if it was never sure
// of what it measured; changed: it did, and is sure of what it found.
func (b *belief) look(kernel *scan.Kernel, cycles float64, ended func() bool) (pair kernelPair, changed bool) {
	contradicted := cycles > 0 && b.calibration.contradicted(kernel, cycles, b.all)
	if b.calibration.Runs > 0 && !contradicted {
		b.against = 0
		return pair, false
	}
	if b.against++; b.against < contradictions {
		return pair, false
	}
	b.against = 0
	known, why := b.calibration, "they could not be told apart before"
	if contradicted {
		known, why = calibration{}, "one is not as fast as it was"
	}
	pair, found, err := b.measure(known, ended)
	if err != nil {
		return pair, false // later
	}
	b.log.Info("kernels measured again", "why", why, "kernel", kernel.Name, "cycles_per_hash", cycles,
		"was", b.calibration.CyclesPerHash[kernel.Name], "best", found.Roll)
	b.calibration = found
	return pair, found.Runs > 0
}

// doubt compares the calibrations with what the threads reach. A work that was begun goes
// on with its kernel, the next one has those that are believed to be the best then.
func (e *Engine) doubt() {
	for kind, b := range e.beliefs {
		kernel, cycles := e.fastest(kind)
		if kernel == nil || !b.settled.Load() {
			continue
		}
		if pair, changed := b.look(kernel, cycles, e.stopped.Load); changed {
			e.prefer(kind, pair)
		}
	}
}

// fastest is the kernel in use on a kind of core, nil: none, and the cycles a hash of the
// thread that is fastest on a free one; 0: not known.
func (e *Engine) fastest(kind int) (kernel *scan.Kernel, cycles float64) {
	a := e.current.Load()
	if a == nil {
		return nil, 0
	}
	least := 0.0
	for _, w := range e.workers {
		if floor := math.Float64frombits(w.floor.Load()); int(w.kind.Load()) == kind && floor > 0 && (least == 0 || floor < least) {
			least = floor
		}
	}
	if cycle := e.cycleOn(kind); cycle > 0 {
		cycles = least * 1e-9 / cycle
	}
	return a.kernels.at(kind).of(a.work), cycles
}

// cycleOn is the time of a cycle on cores of a kind, for each has its own clock.
func (e *Engine) cycleOn(kind int) (seconds float64) {
	if len(e.kinds) < 2 {
		return e.system.cycle()
	}
	done := make(chan float64)
	go func() {
		runtime.LockOSThread() // for good: the thread ends
		new(Options).placeThread(place{cpus: e.kinds[kind].cpus})
		done <- e.system.cycle()
	}()
	return <-done
}
