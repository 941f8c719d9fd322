package stratum

import (
	"container/list"
	"sync"
)

// partials is the memory of buffers that are kept while their connections wait: for the end of
// a line, or for their turn. Its lock is a leaf.
type partials struct {
	mu    sync.Mutex // guards the rest
	bytes int64
	// Who waits, those who have done so for longest first: without a share, and with one.
	strangers, miners list.List // *Conn
}

// hold counts a connection's buffer. victim is the connection to be closed if that is more than
// limit; nil: it is not. A line is a packet or two: who has waited for longest goes, for it
// hardly means to end its line, and not the miner whose line was parted a moment ago.
func (p *partials) hold(c *Conn, bytes int64, limit int) (victim *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += bytes
	c.held = bytes
	who := &p.strangers
	if c.workedAt != 0 {
		who = &p.miners
	}
	c.waits.move(who, c)
	if limit <= 0 || p.bytes <= int64(limit) {
		return nil
	}
	if victim = oldest(&p.strangers); victim == nil {
		victim = oldest(&p.miners)
	}
	p.forget(victim)
	return victim
}

// unhold is the reverse.
func (p *partials) unhold(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(c)
}

func (p *partials) forget(c *Conn) {
	p.bytes -= c.held
	c.held = 0
	c.waits.move(nil, c)
}

// Load is the memory of all.
func (p *partials) Load() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}
