package miner

import (
	"time"

	"lode/miner/internal/limits"
)

// system is what an engine sees of its machine while it runs; tests have others.
type system struct {
	cores   func() cores
	allowed func() []int // cpus that the process may use now
	// throttling is how often the control group was due to be stopped, and was; ok: it has
	// a quota.
	throttling func() (periods, throttled uint64, ok bool)
	// pressure is for how long somebody on the machine waited for a cpu, and somebody in the
	// control group; ok: both are known.
	pressure func() (machine, own time.Duration, ok bool)

	// Of the calling thread, the engine's i-th:
	cpuTime func(i int) time.Duration
	sleep   func(i int, d time.Duration)
	yield   func(i int)    // to whoever else waits for its cpu
	cycle   func() float64 // seconds that one takes at the moment; 0: not known
	// A cookie of core scheduling of its own, and the one that another thread has.
	makeCookie func() error
	copyCookie func(tid int32) error
}

func thisSystem() system {
	return system{
		cores:      usableCores,
		allowed:    allowedCPUs,
		throttling: func() (periods, throttled uint64, ok bool) { return cgroupThrottling("/") },
		pressure:   func() (machine, own time.Duration, ok bool) { return cpuPressure("/") },
		cpuTime:    func(int) time.Duration { return threadTime() },
		sleep:      func(_ int, d time.Duration) { sleepThread(d) },
		yield:      func(int) { yieldThread() },
		cycle:      limits.Cycle,
		makeCookie: makeCookie,
		copyCookie: copyCookie,
	}
}
