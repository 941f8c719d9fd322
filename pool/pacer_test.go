package pool

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However often it is called for, it is done once an interval, and once after the last.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var count atomic.Int64 // timers run in goroutines of their own
		p := &pacer{interval: notifyInterval, do: func() { count.Add(1) }}
		start := time.Now()
		time.Sleep(time.Second)
		p.call()
		synctest.Wait()
		if count.Load() != 1 {
			t.Fatal("the first call waits")
		}
		for time.Since(start) < 3*time.Second {
			p.call()
			time.Sleep(time.Millisecond)
		}
		if done := count.Load(); done < 10 || done > 11 {
			t.Errorf("done %d times in 2 s", done)
		}
		p.call()
		time.Sleep(notifyInterval)
		synctest.Wait() // its timer ends at the same moment as ours
		before := count.Load()
		if time.Sleep(time.Second); count.Load() != before {
			t.Error("done without a call")
		}
		p.call()
		p.call()
		p.stop()
		p.call()
		if time.Sleep(time.Second); count.Load() > before+1 {
			t.Error("done after the end")
		}
	})
}
