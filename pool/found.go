package pool

import (
	"slices"
	"time"

	"lode/pool/accounts"
	"lode/pool/blocks"
	"lode/pool/jobs"
	"lode/pool/journal"
	"lode/pool/judge"
)

// safeTime is for how long the answer to a block's finder waits at most until the block
// is on disk: a disk may hang, and shares of the next block wait behind it.
const safeTime = 5 * time.Second

// brakes are those of an upstream: blocks that its node will most probably refuse do not use up
// what there may be of others on the same tip.
type brakes struct{ sound, doubtful blocks.Brake }

func (b *brakes) of(a *judge.Attempt) *blocks.Brake {
	if a.Doubtful() {
		return &b.doubtful
	}
	return &b.sound
}

// found takes a block to the journal, and to the nodes or its pool. w is the finder's
// account; nil: it is not known.
func (p *Proxy) found(a *judge.Attempt, w *accounts.Worker) {
	now := p.now()
	may := p.brakes[a.Job.Source].of(a).Allow(now, a.Job.Prev)
	entry := journal.Entry{Hash: a.Hash.String(), Height: a.Job.Height, Finder: a.In.Worker, FoundAt: now.UTC()}
	extranonce := slices.Concat(a.Extranonce1, a.In.Extranonce2)
	isNew := false
	if pool := a.Job.Taker; pool != nil {
		// The pool alone has the transactions. What is known of the block is journalled,
		// and the share goes to the pool in any case.
		entry.Header = slices.Clone(a.Header[:])
		entry.Coinbase = slices.Concat(a.Variant.Job.Coinbase1, extranonce, a.Variant.Job.Coinbase2)
		pool.TakeBlock(a.In, a.Version, a.Extranonce1, entry.Hash, func(url string) bool {
			entry.Pool = url
			isNew = may && p.keeper.Found(entry)
			return isNew
		})
	} else if may {
		entry.Raw = a.Variant.Work.Solve(a.Header, extranonce)
		if named, ok := a.Job.Origin.(jobs.Named); ok {
			entry.WorkID, entry.Node = named.WorkID()
		}
		isNew = p.keeper.Found(entry)
	}
	if !isNew {
		return
	}
	if w == nil {
		w = p.folder.Accounts.Worker(a.In.Worker)
	}
	w.Block()
	// The miner hears that its share counts when the block outlives this process and the
	// nodes. The block itself waits for nothing.
	timer := time.NewTimer(safeTime)
	defer timer.Stop()
	select {
	case <-p.keeper.Safe(entry.Hash):
	case <-timer.C:
	}
}

func (p *Proxy) blockChanged(b blocks.Block) {
	if p.config.OnBlock != nil {
		p.config.OnBlock(exportBlock(b))
	}
}

func exportBlock(b blocks.Block) Block {
	return Block{
		Height: b.Height, Hash: b.Hash, State: BlockState(b.State), Finder: b.Finder,
		Confirmations: int(b.Confirmations), Detail: b.Detail, FoundAt: b.FoundAt, Raw: b.Raw, Pool: b.Pool,
	}
}
