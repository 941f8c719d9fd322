package boundlog_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lode/executor/boundlog"
)

// stuck is a reader that takes nothing before it is let go.
type stuck struct {
	free chan struct{}

	mu   sync.Mutex
	text strings.Builder
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.free
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// TestQueue: whoever logs goes on though nobody reads; what fits is read later, in order, and
// what does not is counted.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const line = 100
		s := &stuck{free: make(chan struct{})}
		lost := 0
		q := boundlog.NewQueue(s, func(n int) { lost += n })
		before := time.Now()
		write := func(from, to int) {
			for i := from; i < to; i++ {
				if n, err := fmt.Fprintf(q, "%0*d\n", line-1, i); n != line || err != nil {
					t.Fatal(n, err)
				}
			}
		}
		write(0, 1)
		synctest.Wait() // it is being written
		write(1, 20_000)
		if took := time.Since(before); took > 0 {
			t.Errorf("it took %v", took)
		}
		q.Flush(time.Second)
		if took := time.Since(before); took != time.Second {
			t.Errorf("the end came after %v", took)
		}
		close(s.free)
		q.Flush(time.Hour)
		got := strings.Count(s.text.String(), "\n")
		if got+lost != 20_000 || got < 10_000 || got > 10_600 {
			t.Errorf("%d lines were written, %d lost", got, lost)
		}
		write(got, got+1)
		q.Flush(time.Hour)
		for i, text := range strings.Split(strings.TrimSpace(s.text.String()), "\n") {
			if want := fmt.Sprintf("%0*d", line-1, i); text != want {
				t.Fatalf("line %d is %q", i, text)
			}
		}
		if took := time.Since(before); took != time.Second {
			t.Errorf("with a reader it took %v", took)
		}
	})
}
