package stratum

import "sync"

// waiting is memory that is kept for connections while they wait: for the end of a line or
// their turn, or for their miner to read. Its lock is a leaf.
type waiting struct {
	part func(c *Conn) *waits // what c has of it

	mu    sync.Mutex // guards the rest, and what connections have of it
	bytes int64
	// Who waits, those who have done so for longest first: without a share, and others.
	strangers, miners queue
}

// queue is linked in the connections themselves: a share that comes in several packets is
// waited for without an allocation.
type queue struct{ first, last *Conn }

// waits is what a connection has of a waiting; in is nil where that is nothing.
type waits struct {
	bytes      int64
	in         *queue
	prev, next *Conn
}

// set says how many bytes are kept for a connection now; proven: it had a share.
func (w *waiting) set(c *Conn, bytes int64, proven bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.part(c)
	w.bytes += bytes - p.bytes
	p.bytes = bytes
	switch {
	case bytes == 0:
		w.remove(p)
	case p.in != nil:
	case proven:
		w.add(&w.miners, c, p)
	default:
		w.add(&w.strangers, c, p)
	}
}

// victim is a connection to be closed, which does not count any more, if there is more than
// limit; nil: there is not. Who has waited for longest goes: a line is a packet or two, and
// whoever means to read does. So those who end no line, or read nothing, have no others closed.
func (w *waiting) victim(limit int) *Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if limit <= 0 || w.bytes <= int64(limit) {
		return nil
	}
	victim := w.strangers.first
	if victim == nil {
		victim = w.miners.first
	}
	p := w.part(victim)
	w.bytes -= p.bytes
	p.bytes = 0
	w.remove(p)
	return victim
}

func (w *waiting) add(q *queue, c *Conn, p *waits) {
	p.in, p.prev = q, q.last
	if q.last != nil {
		w.part(q.last).next = c
	} else {
		q.first = c
	}
	q.last = c
}

func (w *waiting) remove(p *waits) {
	if p.in == nil {
		return
	}
	if p.prev != nil {
		w.part(p.prev).next = p.next
	} else {
		p.in.first = p.next
	}
	if p.next != nil {
		w.part(p.next).prev = p.prev
	} else {
		p.in.last = p.prev
	}
	p.in, p.prev, p.next = nil, nil, nil
}

// Load is the memory of all.
func (w *waiting) Load() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}
