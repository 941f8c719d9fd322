package miner

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/cpuid/v2"

	"lode/internal/sleep"
	"lode/miner/internal/limits"
	"lode/miner/internal/scan"
)

// BenchOptions say what Bench measures. The zero value measures all kernels but the
// portable ones, with one thread and with all cpus, for two seconds each.
type BenchOptions struct {
	Kernels []string
	Threads []int
	// Time of each measurement, which is cut into ten samples.
	Time time.Duration
	// Engine has further options for the engines: Pin, Nice, Idle.
	Engine Options
	// Progress is told about each measurement when it begins.
	Progress func(BenchStep)
}

// BenchStep is one measurement that Bench is about to do.
type BenchStep struct {
	// Index counts to Count; 0: the limits of the core are measured.
	Index, Count   int
	Kernel         string
	Threads        int
	VersionRolling bool
}

// BenchReport is what Bench measured.
type BenchReport struct {
	CPU     string        `json:"cpu"`
	Core    BenchCore     `json:"core"`
	Results []BenchResult `json:"results"`
	Skipped []Kernel      `json:"skipped,omitempty"` // kernels that this machine cannot run
}

// BenchCore says what one core can do, measured by loops of independent
// instructions. Rates are instructions a cycle; 0 and absent: no such instructions,
// or no way to measure them.
type BenchCore struct {
	ClockHz    float64 `json:"clock_hz,omitempty"`
	SHARounds  float64 `json:"sha256rnds2_per_cycle,omitempty"`
	Vector256  float64 `json:"vector256_per_cycle,omitempty"`
	Shifts256  float64 `json:"shifts256_per_cycle,omitempty"`
	Vector512  float64 `json:"vector512_per_cycle,omitempty"`
	Rotates512 float64 `json:"rotates512_per_cycle,omitempty"`
}

// BenchResult is the speed of one kernel with some threads.
type BenchResult struct {
	Kernel         string `json:"kernel"`
	Threads        int    `json:"threads"`
	VersionRolling bool   `json:"version_rolling"`
	// HashesPerSecond is the median of the samples, of all threads together.
	HashesPerSecond float64 `json:"hashes_per_second"`
	Least           float64 `json:"least_hashes_per_second"`
	Greatest        float64 `json:"greatest_hashes_per_second"`
	// CyclesPerHash is that of the faster batches of hashes (a fraction of a
	// millisecond each, with all that the engine does around it): of their fastest
	// fiftieth the slowest, by the clock that the thread measured just before and
	// after it, and of several threads the mean. Other programs on the machine, or
	// beside it on the host, hardly touch it. 0: the clock is not known.
	CyclesPerHash float64 `json:"cycles_per_hash,omitempty"`
	// ClockHz is the clock while so many threads hashed: the median over batches, and of
	// several threads the mean. 0: not known.
	ClockHz float64 `json:"clock_hz,omitempty"`
	// BoundCycles is what the kernel's instructions need at least on this core, and
	// MachineBoundCycles what those of the best design, or mixture of designs, for such
	// work need. 0: not known.
	BoundCycles        float64 `json:"bound_cycles_per_hash,omitempty"`
	MachineBoundCycles float64 `json:"machine_bound_cycles_per_hash,omitempty"`
}

// ShareOfBound is how near the faster batches came to the bound of the kernel's design, 1
// being there, or 0 if it is not known.
func (r *BenchResult) ShareOfBound() float64 {
	if r.CyclesPerHash == 0 {
		return 0
	}
	return r.BoundCycles / r.CyclesPerHash
}

const benchSamples = 10

// Bench measures engines as they are used, one after the other. When ctx ends it
// returns what it has so far, with ctx's error.
func Bench(ctx context.Context, o BenchOptions) (*BenchReport, error) {
	if o.Time == 0 {
		o.Time = 2 * time.Second
	}
	if len(o.Threads) == 0 {
		o.Threads = slices.Compact([]int{1, AvailableCPUs()})
	}
	for _, n := range o.Threads {
		if n < 1 || n > MostThreads {
			return nil, fmt.Errorf("miner: cannot measure with %d threads: want 1 to %d", n, MostThreads)
		}
	}
	report := &BenchReport{CPU: cpuName(), Results: []BenchResult{}}
	kernels, err := report.choose(o.Kernels)
	if err != nil {
		return nil, err
	}
	step := BenchStep{Count: len(kernels) * len(o.Threads)}
	if o.Progress != nil {
		o.Progress(step)
	}
	core := limits.Measure()
	defer func() {
		// Once more, for a busy machine may have hidden what the core can do.
		core = core.Best(limits.Measure())
		report.Core = BenchCore{core.Clock, core.SHARounds, core.Vector256, core.Shifts256, core.Vector512, core.Rotates512}
		for i := range report.Results {
			r := &report.Results[i]
			r.BoundCycles, r.MachineBoundCycles = bound(r.Kernel, &core), core.Least(r.VersionRolling)
		}
	}()

	for _, threads := range o.Threads {
		for _, k := range kernels {
			step.Index++
			step.Kernel, step.Threads, step.VersionRolling = k.Name, threads, k.Rolling
			if o.Progress != nil {
				o.Progress(step)
			}
			result, err := measure(ctx, k, threads, o)
			if err != nil {
				return report, err
			}
			report.Results = append(report.Results, result)
		}
	}
	return report, nil
}

// choose returns the kernels with these names, or all that are worth measuring, and
// notes those that cannot run.
func (r *BenchReport) choose(names []string) ([]*scan.Kernel, error) {
	all := scan.Kernels()
	var chosen []*scan.Kernel
	for i := range all {
		k := &all[i]
		switch {
		case k.Missing != "":
			r.Skipped = append(r.Skipped, Kernel{Name: k.Name, Rolling: k.Rolling, Missing: k.Missing})
		case len(names) == 0 && !(k.Fallback && len(chosen) > 0):
			if err := k.Verify(); err != nil {
				r.Skipped = append(r.Skipped, Kernel{Name: k.Name, Rolling: k.Rolling, Missing: err.Error()})
				continue
			}
			chosen = append(chosen, k)
		}
	}
	for _, name := range names {
		k, err := usableKernel(name, all)
		if err != nil {
			return nil, fmt.Errorf("miner: %w", err)
		}
		chosen = append(chosen, k)
	}
	return chosen, nil
}

// measure runs an engine with work that has no hits.
func measure(ctx context.Context, k *scan.Kernel, threads int, o BenchOptions) (BenchResult, error) {
	result := BenchResult{Kernel: k.Name, Threads: threads, VersionRolling: k.Rolling}
	options := o.Engine
	options.Threads = threads
	pair := kernelPair{plain: k}
	work := &Work{
		Version:         0x20000000,
		MerkleRoot:      func(extranonce2 uint64) [32]byte { return [32]byte{byte(extranonce2), byte(extranonce2 >> 8)} },
		Extranonce2Size: 8,
	}
	if k.Rolling {
		pair.roll = k
		work.VersionMask = 0x1fffe000
	}
	e := newEngine(options, pair, allNonces)
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	e.SetWork(work)
	go func() { done <- e.Run(running) }()

	const warmUp = 50 * time.Millisecond
	err := sleep.For(ctx, warmUp)
	var rates []float64
	for range benchSamples {
		if err != nil {
			break
		}
		begin, before := time.Now(), e.Stats().Hashes
		err = sleep.For(ctx, o.Time/benchSamples)
		// A sample in which no batch ended would say that the kernel does nothing.
		for err == nil && len(done) == 0 && e.Stats().Hashes == before {
			err = sleep.For(ctx, time.Millisecond)
		}
		rates = append(rates, float64(e.Stats().Hashes-before)/time.Since(begin).Seconds())
	}
	cancel()
	if err = errors.Join(err, <-done); err != nil {
		return result, err
	}
	slices.Sort(rates)
	result.Least, result.HashesPerSecond, result.Greatest = rates[0], rates[len(rates)/2], rates[len(rates)-1]
	// Apart from the samples, for looking at the clock takes time too.
	for _, batches := range e.timedBatches(ctx, max(o.Time/5, 100*time.Millisecond)) {
		cycles, clock := fast(batches.cycles), middle(batches.clocks)
		if cycles == 0 { // a busy machine never let this thread run
			result.CyclesPerHash, result.ClockHz = 0, 0
			break
		}
		result.CyclesPerHash += cycles / float64(threads)
		result.ClockHz += clock / float64(threads)
	}
	return result, nil
}

// timedBatches lets the threads of an engine that has ended go on for d, and returns
// what each batch took, by thread.
func (e *Engine) timedBatches(ctx context.Context, d time.Duration) []batches {
	release := reserveProcs(len(e.workers))
	defer release()
	places, leave := e.places()
	defer leave()
	all := make([]batches, len(e.workers))
	var threads sync.WaitGroup
	begin := time.Now()
	for i, w := range e.workers {
		threads.Go(func() {
			runtime.LockOSThread() // for good, as in worker.run
			e.options.placeThread(places[i])
			w.begin(e.last)
			for time.Since(begin) < d && ctx.Err() == nil {
				w.timedBatch(&all[i])
			}
		})
	}
	threads.Wait()
	return all
}

// batches are what a thread's batches took.
type batches struct {
	cycles []float64 // a hash
	clocks []float64 // Hz
}

// timedBatch does a batch and notes what it took.
func (w *worker) timedBatch(b *batches) {
	var hashes int
	var seconds float64
	cycles := limits.Cycles(func() float64 {
		begin := time.Now()
		hashes = w.batch()
		seconds = time.Since(begin).Seconds()
		return seconds
	})
	if hashes == 0 { // there is no way to tell cycles
		hashes = max(1, w.batch())
	}
	b.cycles = append(b.cycles, cycles/float64(hashes))
	if seconds > 0 {
		b.clocks = append(b.clocks, cycles/seconds)
	}
}

// middle is the median, or 0.
func middle(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// fast is a figure that few batches stay below: the very least one is often of a batch
// whose clock was measured too slow. It is 0 without batches.
func fast(cycles []float64) float64 {
	if len(cycles) == 0 {
		return 0
	}
	slices.Sort(cycles)
	return cycles[len(cycles)/50]
}

// bound is the number of cycles that a core needs at least for a hash with a kernel.
func bound(kernel string, l *limits.Limits) float64 {
	design, ok := limits.DesignOf(kernel)
	if !ok {
		return 0
	}
	return l.Bound(design)
}

func cpuName() string {
	if name := cpuid.CPU.BrandName; name != "" {
		return name
	}
	return "unknown"
}
