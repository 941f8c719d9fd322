package miner

import (
	"math"
	"os"
	"runtime"
	"slices"
)

// place is where a thread is to run.
type place struct {
	cpus []int // empty: anywhere
	kind int   // of its core
	// alone: the core has another thread, which the engine leaves free.
	alone  bool
	shared *sharedCore // with the engine's thread on the same core, if there is one
}

// cores lists the cpus that this process may use, by core, those of the fastest kind
// first.
type cores [][]int

// smt says whether a core has more than one cpu.
func (c cores) smt() bool {
	return slices.ContainsFunc(c, func(cpus []int) bool { return len(cpus) > 1 })
}

// availableThreads is the number of threads when none is given.
func (o *Options) availableThreads() int {
	n := AvailableCPUs()
	if o.OneACore {
		n = min(n, max(1, len(usableCores())))
	}
	return n
}

// places gives each thread its place, until leave is called. Threads that are pinned
// keep away from cpus that threads of other processes of Lode are pinned to, if there
// are enough. Where cores are of several kinds, each thread keeps to one kind, whose
// kernel it has.
func (e *Engine) places() (places []place, leave func()) {
	o := e.options
	places = make([]place, len(e.workers))
	anywhere := !o.Pin && !o.OneACore
	if anywhere && len(e.kinds) < 2 {
		return places, func() {}
	}
	o.Pin = o.Pin || anywhere
	claims := new(claims)
	o.placeOn(e.system.cores(), claims.take, os.Getpid(), places)
	for i := range places {
		for kind, k := range e.kinds {
			switch {
			case len(places[i].cpus) == 0 || !slices.Contains(k.cpus, places[i].cpus[0]):
			case anywhere:
				places[i] = place{cpus: k.cpus, kind: kind}
			default:
				places[i].kind = kind
			}
		}
	}
	return places, claims.leave
}

// A kind is a sort of core: where a machine has cores of several kinds, another kernel may
// be the fastest on each.
type kind struct {
	name string // "": the only one
	cpus []int  // that the process may use; empty: all
}

// placeOn fills in places, one thread a core first. free says whether no other process
// has a cpu, and keeps it for this one. Where there are not enough, threads double up
// from the spread-th cpu on, for else all processes would do so on the first ones.
func (o *Options) placeOn(all cores, free func(cpu int) bool, spread int, places []place) {
	if len(all) == 0 {
		return
	}
	order := o.inOrder(all)
	chosen := make([]slot, 0, len(places))
	var taken []slot
	for _, s := range order {
		if len(chosen) == len(places) {
			break
		}
		if free(s.cpus[0]) {
			chosen = append(chosen, s)
		} else {
			taken = append(taken, s)
		}
	}
	if len(taken) == 0 { // there are more threads than cpus
		taken = order
	}
	for i := spread; len(chosen) < len(places); i++ {
		chosen = append(chosen, taken[i%len(taken)])
	}
	threads := make(map[int]int) // by core
	for _, s := range chosen {
		threads[s.core]++
	}
	shared := make(map[int]*sharedCore)
	for i, s := range chosen {
		p := place{cpus: s.cpus}
		switch {
		case len(all[s.core]) < 2:
		case threads[s.core] == 1:
			p.alone = true
		default:
			if shared[s.core] == nil {
				shared[s.core] = new(sharedCore)
			}
			p.shared = shared[s.core]
		}
		places[i] = p
	}
}

// slot is room for one thread.
type slot struct {
	core int
	cpus []int
}

// inOrder lists the slots, the first cpu of each core before the second ones.
func (o *Options) inOrder(all cores) (slots []slot) {
	for nth := range math.MaxInt {
		before := len(slots)
		for core, cpus := range all {
			switch {
			case nth >= len(cpus):
			case o.Pin:
				slots = append(slots, slot{core, cpus[nth : nth+1]})
			case nth == 0:
				slots = append(slots, slot{core, cpus})
			}
		}
		if len(slots) == before || o.OneACore {
			return slots
		}
	}
	return slots
}

// dutyOf is the share of time that so many threads hash on a quota of cpus (0: there is
// none): one and a half cpus are two threads for three quarters of the time each, and not
// two that the kernel stops in each period.
func dutyOf(threads int, quota float64) float64 {
	if quota <= 0 || threads < 1 {
		return 1
	}
	return min(1, quota/float64(threads))
}

// AvailableCPUs is the number of hashing threads that fill what this process may
// use: the cpus of its affinity mask, or the cpu quota of its control groups
// (rounded up) if that is less.
func AvailableCPUs() int {
	n := runtime.NumCPU()
	if quota := cgroupQuota("/"); quota > 0 && quota < float64(n) {
		n = int(math.Ceil(quota))
	}
	return max(n, 1)
}
