package stratum

import (
	"math"
	"time"
)

// ranking is the connections that have subscribed and authorized, by how fast they are
// known to hash: a job reaches the fastest first, so that the least hashing is done on
// the old one. How fast follows from the difficulty of accepted shares, for pools have
// all miners send about as many; a factor of two is one class.
type ranking struct {
	classes [maxClass + 1][]*Conn
	n       int
}

const (
	// unproven is the class of those that have not had a share accepted.
	unproven = 0
	// difficulties from 2^(1-exponentBias) on are classes of their own.
	exponentBias = 42
	maxClass     = 120
)

// classOf is the class of a difficulty.
func classOf(d Difficulty) int {
	_, exponent := math.Frexp(float64(d))
	return min(max(exponent+exponentBias, unproven+1), maxClass)
}

func (r *ranking) add(c *Conn) {
	class := &r.classes[c.class]
	c.readyAt = len(*class)
	*class = append(*class, c)
	r.n++
}

func (r *ranking) remove(c *Conn) {
	class := &r.classes[c.class]
	last := len(*class) - 1
	(*class)[c.readyAt] = (*class)[last]
	(*class)[c.readyAt].readyAt = c.readyAt
	(*class)[last] = nil
	*class = (*class)[:last]
	c.readyAt = -1
	r.n--
}

// fastestFirst is all of them.
func (r *ranking) fastestFirst() []*Conn {
	all := make([]*Conn, 0, r.n)
	for i := maxClass; i >= 0; i-- {
		all = append(all, r.classes[i]...)
	}
	return all
}

// proven notes that a share of the miner was accepted, worth a difficulty: what the miner
// was told since may be no more than its wish. Only the connection's goroutine calls it.
func (c *Conn) proven(worth Difficulty) {
	if now := c.server.now(); c.workedAt == 0 || now-c.workedAt >= instant(workPrecision) {
		c.workedAt = now
		c.server.gate.worked(c, time.Now())
	}
	class := classOf(worth)
	if class == c.proof {
		return
	}
	c.proof = class
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.readyAt < 0 {
		c.class = class
		return
	}
	s.ready.remove(c)
	c.class = class
	s.ready.add(c)
}
