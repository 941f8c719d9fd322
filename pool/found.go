package pool

import (
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/journal"
	"lode/pool/judge"
)

// candidatesPerTip bounds the blocks that are journalled on one previous block: on a
// test network every share may be one, and all but the first are side chains.
const candidatesPerTip = 8

// safeTime is for how long the answer to a block's finder waits at most until the block
// is on disk or with a node.
const safeTime = 2 * time.Second

// brake bounds the blocks that are found: on test networks a node takes a thousand a
// second.
type brake struct {
	mu    sync.Mutex // guards the rest
	last  time.Time
	tip   chainhash.Hash
	count int // on tip
}

// mayFind applies the least interval between two blocks, and the bound on blocks for one
// previous block.
func (b *brake) mayFind(now time.Time, interval time.Duration, prev chainhash.Hash) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.IsZero() && now.Sub(b.last) < interval {
		return false
	}
	if b.tip != prev {
		b.tip, b.count = prev, 0
	}
	if b.count >= candidatesPerTip {
		return false
	}
	b.count++
	b.last = now
	return true
}

// found takes a block to the journal, and to the nodes or its pool. w is the finder's
// account; nil: it is not known.
func (p *Proxy) found(a *judge.Attempt, w *accounts.Worker) {
	isNew := false
	may := p.brake.mayFind(p.now(), p.config.MinBlockInterval, a.Job.Prev)
	entry := journal.Entry{Hash: a.Hash.String(), Height: a.Job.Height, Finder: a.In.Worker, FoundAt: p.now().UTC()}
	extranonce := slices.Concat(a.Extranonce1, a.In.Extranonce2)
	if from, ok := a.Job.Origin.(*poolWork); ok {
		// The pool alone has the transactions. What is known of the block is journalled,
		// and the share goes to the pool in any case.
		f := from.flight(a.In, a.Version, a.Extranonce1)
		entry.Pool, entry.Header = from.from.shown, slices.Clone(a.Header[:])
		entry.Coinbase = slices.Concat(a.Variant.Job.Coinbase1, extranonce, a.Variant.Job.Coinbase2)
		if isNew = may && p.keeper.Found(entry); isNew {
			f.block = entry.Hash
		}
		from.from.submit(f)
	} else if may {
		entry.Raw = a.Variant.Template.Block(a.Header, extranonce)
		isNew = p.keeper.Found(entry)
	}
	if !isNew {
		return
	}
	if w == nil {
		w = p.accounts.Worker(a.In.Worker)
	}
	w.Block()
	// The miner hears that its share counts when the block outlives this process. The
	// block itself waits for nothing.
	timer := time.NewTimer(safeTime)
	defer timer.Stop()
	select {
	case <-p.keeper.Safe(entry.Hash):
	case <-timer.C:
	}
}
