package boundlog

import (
	"io"
	"sync"
	"time"
)

// maxQueued bounds what waits to be written, in bytes.
const maxQueued = 1 << 20

// Queue is a writer that holds up nobody: what reads a log may be stuck – a terminal that was
// told to stop, a pipe, a file on a disk that hangs –, and the work that is logged is to go
// on. What does not fit into it is lost.
type Queue struct {
	w    io.Writer
	lost func(lines int)

	mu      sync.Mutex // guards the rest
	waiting []byte
	dropped int           // lines
	idle    chan struct{} // closed when all is written; nil: nothing is to be
}

// NewQueue makes a Queue before w. lost is told how many lines were lost once there is room
// again, and may write to w.
func NewQueue(w io.Writer, lost func(lines int)) *Queue { return &Queue{w: w, lost: lost} }

// Write implements io.Writer. It takes p, a line, as a whole or not at all.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(p) > maxQueued {
		q.dropped++
		return len(p), nil
	}
	q.waiting = append(q.waiting, p...)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.drain()
	}
	return len(p), nil
}

// drain writes until nothing is left.
func (q *Queue) drain() {
	for {
		q.mu.Lock()
		lines, dropped := q.waiting, q.dropped
		q.waiting, q.dropped = nil, 0
		if len(lines) == 0 && dropped == 0 {
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		_, _ = q.w.Write(lines) // there is nobody else to tell
		if dropped > 0 {
			q.lost(dropped)
		}
	}
}

// Flush waits until all is written, or for a while.
func (q *Queue) Flush(most time.Duration) {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
