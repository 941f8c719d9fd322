package stratum

import (
	"container/heap"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tarpit keeps connections that are to end open for a time, and does nothing for them:
// no goroutine, no buffer. Whoever sends garbage over and over mostly waits for the end
// of a connection before it makes the next, and closing costs the server less than the
// accept, the login and the lines that come after it.
//
// Its lock is a leaf.
type tarpit struct {
	most  int
	count *atomic.Int64 // of those held

	mu     sync.Mutex // guards the rest
	held   heldConns
	timer  *time.Timer
	closed bool
}

type heldConn struct {
	conn  net.Conn
	until time.Time
}

// heldConns is a heap: the first is the one that ends next.
type heldConns []heldConn

func (h heldConns) Len() int           { return len(h) }
func (h heldConns) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h heldConns) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heldConns) Push(x any)        { *h = append(*h, x.(heldConn)) }
func (h *heldConns) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = heldConn{}
	*h = (*h)[:last]
	return x
}

// hold takes conn over, and closes it later: in the place of the one that would end next,
// if there is no other.
func (t *tarpit) hold(conn net.Conn, patience time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(1) // the least there is: the kernel, too, is to keep nothing
		_ = tcp.SetLinger(0)     // a reset takes less than an orderly end
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.most <= 0 || patience <= 0 {
		_ = conn.Close()
		return
	}
	if len(t.held) >= t.most {
		t.dropNext()
	}
	heap.Push(&t.held, heldConn{conn, time.Now().Add(patience)})
	t.count.Add(1)
	if t.timer == nil {
		t.timer = time.AfterFunc(tarpitTick, t.expire)
	}
}

// tarpitTick is how often it is looked whose time is over: those of a while go together.
const tarpitTick = 250 * time.Millisecond

// expire closes those whose time is over, and comes again for the others.
func (t *tarpit) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	for now := time.Now(); len(t.held) > 0; t.dropNext() {
		if left := t.held[0].until.Sub(now); left > 0 {
			t.timer = time.AfterFunc(max(left, tarpitTick), t.expire)
			return
		}
	}
}

func (t *tarpit) dropNext() {
	_ = heap.Pop(&t.held).(heldConn).conn.Close()
	t.count.Add(-1)
}

// drop closes all; others may be held again, if it is not for ever.
func (t *tarpit) drop(forEver bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = t.closed || forEver
	for len(t.held) > 0 {
		t.dropNext()
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}
