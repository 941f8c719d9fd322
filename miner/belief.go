package miner

import (
	"log/slog"
	"math"

	"lode/miner/internal/limits"
	"lode/miner/internal/scan"
)

// beliefEvery is how often the calibration is compared with what the threads reach, in
// looks at the room.
const beliefEvery = 10

// belief is what an engine that chose its kernels believes of them.
type belief struct {
	all         []scan.Kernel
	calibration calibration
	store       calibrationStore
	crowded     bool
	log         *slog.Logger
	against     int // looks in a row that contradicted
}

// look compares what a kernel reaches, in cycles a hash, with its calibration. After
// some contradictions it measures again; what it finds is for the next engine, since a
// work that was begun goes on with its kernel.
func (b *belief) look(kernel *scan.Kernel, cycles float64) {
	if cycles == 0 || !b.calibration.contradicted(kernel, cycles, b.all) {
		b.against = 0
		return
	}
	if b.against++; b.against < contradictions {
		return
	}
	b.against = 0
	_, found, err := measureKernels(b.all, calibration{}, b.store, b.crowded, b.log)
	if err != nil {
		return // later
	}
	b.log.Info("kernels measured again, since one is not as fast as it was", "kernel", kernel.Name, "cycles_per_hash", cycles,
		"was", b.calibration.CyclesPerHash[kernel.Name], "best_at_the_next_start", found.Roll)
	b.calibration = found
}

// fastest is the kernel in use and the cycles a hash of the thread that is fastest on a
// free core; 0: not known.
func (e *Engine) fastest() (kernel *scan.Kernel, cycles float64) {
	e.mu.Lock()
	kernel = e.kernels.plain
	if e.last != nil && e.usesRolling(e.last.work) {
		kernel = e.kernels.roll
	}
	e.mu.Unlock()
	least := 0.0
	for _, w := range e.workers {
		if floor := math.Float64frombits(w.floor.Load()); floor > 0 && (least == 0 || floor < least) {
			least = floor
		}
	}
	if cycle := limits.Cycle(); cycle > 0 {
		return kernel, least * 1e-9 / cycle
	}
	return kernel, 0
}
