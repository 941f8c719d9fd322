package miner

import (
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"

	"lode/miner/internal/scan"
)

// beliefEvery is how often the calibration is compared with what the threads reach, in
// looks at the room.
const beliefEvery = 10

// belief is what an engine that chose its kernels believes of them, for one kind of core.
type belief struct {
	calibration calibration
	// measure measures again, and stores what it finds.
	measure func() (kernelPair, calibration, error)
	all     []scan.Kernel
	log     *slog.Logger
	against int // looks in a row that contradicted
}

// believe chooses the kernels for each kind of core, on cores of that kind.
func believe(all []scan.Kernel, kinds []kind, crowded bool, store func(ground) calibrationStore, log *slog.Logger) ([]*belief, kernelSet, error) {
	kernels := make(kernelSet, len(kinds))
	beliefs := make([]*belief, len(kinds))
	errs := make([]error, len(kinds))
	var group sync.WaitGroup
	for i, kind := range kinds {
		group.Go(func() {
			on := ground{crowded, kind}
			b := &belief{all: all, log: log, measure: func() (kernelPair, calibration, error) {
				return measureKernels(all, calibration{}, store(on), on, log)
			}}
			beliefs[i] = b
			kernels[i], b.calibration, errs[i] = fastestKernels(all, store(on), on, log)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, nil, err
		}
	}
	return beliefs, kernels, nil
}

// look compares what a kernel reaches, in cycles a hash, with its calibration. After
// some contradictions it measures again; changed: it did, and is sure of what it found.
func (b *belief) look(kernel *scan.Kernel, cycles float64) (pair kernelPair, changed bool) {
	if cycles == 0 || !b.calibration.contradicted(kernel, cycles, b.all) {
		b.against = 0
		return pair, false
	}
	if b.against++; b.against < contradictions {
		return pair, false
	}
	b.against = 0
	pair, found, err := b.measure()
	if err != nil {
		return pair, false // later
	}
	b.log.Info("kernels measured again, since one is not as fast as it was", "kernel", kernel.Name, "cycles_per_hash", cycles,
		"was", b.calibration.CyclesPerHash[kernel.Name], "best", found.Roll)
	b.calibration = found
	return pair, found.Runs > 0
}

// doubt compares the calibrations with what the threads reach. A work that was begun goes
// on with its kernel, the next one has those that are believed to be the best then.
func (e *Engine) doubt() {
	for kind, b := range e.beliefs {
		kernel, cycles := e.fastest(kind)
		if kernel == nil {
			continue
		}
		if pair, changed := b.look(kernel, cycles); changed {
			e.mu.Lock()
			e.kernels = slices.Clone(e.kernels)
			e.kernels[kind] = pair
			e.mu.Unlock()
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
