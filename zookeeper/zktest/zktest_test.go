package zktest

import (
	"runtime"
	"testing"
	"time"
)

// Threads end with goroutines that never let go of them, such as those that fork
// containers; servers that one of them has started go on.
func TestServersOutliveTheThreadThatStartsThem(t *testing.T) {
	started := make(chan *Ensemble, 1)
	go func() {
		defer close(started)
		runtime.LockOSThread() // for good: the thread ends
		started <- Start(t, 1)
	}()
	e, ok := <-started
	if !ok {
		return // left out
	}
	time.Sleep(300 * time.Millisecond)
	select {
	case <-e.Servers[0].exited:
		t.Fatal("the server has ended")
	default:
		e.Await()
	}
}
