package stratum

import (
	"container/list"
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
	most     int
	patience time.Duration
	count    *atomic.Int64 // of those held

	mu     sync.Mutex // guards the rest
	held   list.List  // of heldConn, oldest first
	timer  *time.Timer
	closed bool
}

type heldConn struct {
	conn  net.Conn
	until time.Time
}

// hold takes conn over, and closes it later: in the place of the oldest, if there is no
// other.
func (t *tarpit) hold(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(1) // the least there is: the kernel, too, is to keep nothing
		_ = tcp.SetLinger(0)     // a reset takes less than an orderly end
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.most <= 0 || t.patience <= 0 {
		_ = conn.Close()
		return
	}
	if t.held.Len() >= t.most {
		t.dropOldest()
	}
	t.held.PushBack(heldConn{conn, time.Now().Add(t.patience)})
	t.count.Add(1)
	if t.timer == nil {
		t.timer = time.AfterFunc(t.patience, t.expire)
	}
}

// expire closes those whose time is over, and comes again for the others.
func (t *tarpit) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	for now := time.Now(); t.held.Len() > 0; t.dropOldest() {
		if left := t.held.Front().Value.(heldConn).until.Sub(now); left > 0 {
			// Those of a while go together.
			t.timer = time.AfterFunc(max(left, t.patience/16), t.expire)
			return
		}
	}
}

func (t *tarpit) dropOldest() {
	_ = t.held.Remove(t.held.Front()).(heldConn).conn.Close()
	t.count.Add(-1)
}

// drop closes all; others may be held again, if it is not for ever.
func (t *tarpit) drop(forEver bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = t.closed || forEver
	for t.held.Len() > 0 {
		t.dropOldest()
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}
