package pool

import (
	"testing"
	"testing/synctest"
	"time"
)

// However often it is called for, it is done once an interval, and once after the last.
func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := 0
		p := &pacer{interval: noticeInterval, do: func() { done++ }}
		start := time.Now()
		time.Sleep(time.Second)
		p.call()
		synctest.Wait()
		if done != 1 {
			t.Fatal("the first call waits")
		}
		for time.Since(start) < 3*time.Second {
			p.call()
			time.Sleep(time.Millisecond)
		}
		if done < 10 || done > 11 {
			t.Errorf("done %d times in 2 s", done)
		}
		p.call()
		time.Sleep(noticeInterval)
		synctest.Wait() // its timer ends at the same moment as ours
		before := done
		if time.Sleep(time.Second); done != before {
			t.Error("done without a call")
		}
		p.call()
		p.call()
		p.stop()
		p.call()
		if time.Sleep(time.Second); done > before+1 {
			t.Error("done after the end")
		}
	})
}
