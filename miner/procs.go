package miner

import (
	"runtime"
	"sync"
)

// procs counts the hashing threads of all engines in GOMAXPROCS. Each of them holds
// one of the runtime's processors without a pause; if these were not added, other
// goroutines, such as the one that reads new jobs from the network, would wait for
// one until the runtime takes it away by force, 10 ms later.
var procs struct {
	mu sync.Mutex

	reserved int
	before   int
}

// reserveProcs raises GOMAXPROCS by n until release is called.
func reserveProcs(n int) (release func()) {
	add := func(n int) {
		procs.mu.Lock()
		defer procs.mu.Unlock()
		if procs.reserved == 0 {
			procs.before = runtime.GOMAXPROCS(0)
		}
		procs.reserved += n
		runtime.GOMAXPROCS(procs.before + procs.reserved)
	}
	add(n)
	return sync.OnceFunc(func() { add(-n) })
}
