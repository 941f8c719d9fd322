package stratum

import "sync"

// partials is the memory of buffers that are kept while their connections wait: for the end of
// a line, or for their turn. Its lock is a leaf.
type partials struct {
	mu    sync.Mutex // guards the rest, and the waiting of each Conn
	bytes int64
	// Who waits, those who have done so for longest first: without a share, and with one.
	strangers, miners queue
}

// queue is linked in the connections themselves: a share that comes in several packets is
// waited for without an allocation.
type queue struct{ first, last *Conn }

// waiting is a connection's place in a queue; in is nil where it is in none.
type waiting struct {
	bytes      int64 // of its buffer
	in         *queue
	prev, next *Conn
}

// hold counts a connection's buffer.
func (p *partials) hold(c *Conn, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &p.strangers
	if c.workedAt != 0 {
		q = &p.miners
	}
	p.bytes += bytes
	c.waiting = waiting{bytes: bytes, in: q, prev: q.last}
	if q.last != nil {
		q.last.waiting.next = c
	} else {
		q.first = c
	}
	q.last = c
}

// victim is a connection to be closed, which does not count any more, if there is more than
// limit; nil: there is not. A line is a packet or two: who has waited for longest goes, for it
// hardly means to end its line, and not the miner whose line was parted a moment ago.
func (p *partials) victim(limit int) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit <= 0 || p.bytes <= int64(limit) {
		return nil
	}
	victim := p.strangers.first
	if victim == nil {
		victim = p.miners.first
	}
	p.forget(victim)
	return victim
}

// unhold is the reverse of hold.
func (p *partials) unhold(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(c)
}

func (p *partials) forget(c *Conn) {
	w := &c.waiting
	if w.in == nil {
		return
	}
	if w.prev != nil {
		w.prev.waiting.next = w.next
	} else {
		w.in.first = w.next
	}
	if w.next != nil {
		w.next.waiting.prev = w.prev
	} else {
		w.in.last = w.prev
	}
	p.bytes -= w.bytes
	*w = waiting{}
}

// Load is the memory of all.
func (p *partials) Load() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}
