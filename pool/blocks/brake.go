package blocks

import (
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// perTip bounds the blocks that are journalled on one previous block: on a test network
// every share may be one, and all but the first are side chains. Where none of them has
// become the next block there is one more each tipPatience.
const (
	perTip      = 8
	tipPatience = 10 * time.Minute
)

// Brake bounds the blocks that are found: on test networks a node takes a thousand a
// second.
type Brake struct {
	// Interval is the least time between two blocks.
	Interval time.Duration

	mu    sync.Mutex // guards the rest
	last  time.Time
	tip   chainhash.Hash
	count int // on tip
}

// Allow reports whether a block on prev is to be one, and counts it.
func (b *Brake) Allow(now time.Time, prev chainhash.Hash) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() && now.Sub(b.last) < b.Interval {
		return false
	}
	if b.tip != prev {
		b.tip, b.count = prev, 0
	}
	if b.count >= perTip && now.Sub(b.last) < tipPatience {
		return false
	}
	b.count++
	b.last = now
	return true
}
