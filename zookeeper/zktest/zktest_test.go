package zktest

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Threads end with goroutines that never let go of them, such as those that fork
// containers; servers that one of them has started go on.
func TestServersOutliveTheThreadThatStartsThem(t *testing.T) {
	const threads = 2 // the process' first thread never ends
	ensembles := make(chan *Ensemble, threads)
	var together, ended sync.WaitGroup
	together.Add(threads)
	for range threads {
		ended.Go(func() {
			runtime.LockOSThread() // for good
			together.Done()
			together.Wait()
			ensembles <- Start(t, 1)
		})
	}
	ended.Wait()
	time.Sleep(300 * time.Millisecond)
	for len(ensembles) > 0 { // none where they are left out
		e := <-ensembles
		select {
		case <-e.Servers[0].exited:
			t.Fatal("the server has ended")
		default:
			e.Await()
		}
	}
}
