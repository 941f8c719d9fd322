package blocks

import (
	"context"
	"errors"
	"log/slog"
	"sort"
	"time"

	"lode/pool/node"
)

// cares reports whether any block is not settled.
func (k *Keeper) cares() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if !b.settled {
			return true
		}
	}
	return false
}

// waiting reports whether the node's word on some block is still open.
func (k *Keeper) waiting(i int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled && !op.inMain && !op.invalid && op.buried < k.o.OrphanDepth {
			return true
		}
	}
	return false
}

// unchecked lists blocks, lowest first, that the node is to be asked for.
func (k *Keeper) unchecked(i int) []*tracked {
	now := time.Now()
	return k.list(func(b *tracked) bool {
		switch op := &b.nodes[i]; {
		case b.settled:
			return false
		case !op.submitted:
			return op.tried && now.Sub(op.checked) > laterInterval
		default:
			return !now.Before(op.next) && !op.invalid && (!op.inMain || now.Sub(op.checked) > sweepInterval)
		}
	})
}

// list is what want says yes to, lowest first.
func (k *Keeper) list(want func(b *tracked) bool) []*tracked {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []*tracked
	for _, hash := range k.order {
		if b := k.blocks[hash]; want(b) {
			list = append(list, b)
		}
	}
	sort.SliceStable(list, func(a, b int) bool { return list[a].Height < list[b].Height })
	return list
}

// offer hands the node a block.
func (k *Keeper) offer(ctx context.Context, i int, b *tracked) (node.Verdict, error) {
	n := k.o.Nodes[i]
	k.mu.Lock()
	raw, dropped, workID := b.Raw, b.dropped, ""
	if b.Node == n.URL() && b.nodes[i].said == "" { // it may have forgotten the work by now
		workID = b.WorkID
	}
	k.mu.Unlock()
	if dropped { // meanwhile
		return node.Known, nil
	}
	verdict, reason, err := n.Submit(ctx, raw, workID)
	if again := k.hear(i, b, verdict, reason, err); err == nil {
		level := slog.LevelInfo
		if again {
			level = slog.LevelDebug // a node that is catching up says so again and again
		}
		k.o.Logger.Log(ctx, level, "submitted a block", "node", n.URL(), "hash", b.Hash, "height", b.Height, "verdict", verdict.String(), "reason", reason)
	}
	return verdict, err
}

// hear enters what came of an offer. again: the node has said the same before.
func (k *Keeper) hear(i int, b *tracked, verdict node.Verdict, reason string, err error) (again bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	op := &b.nodes[i]
	op.tried = true
	if err != nil {
		op.failures++
		return false
	}
	said := verdict.String() + " " + reason
	again = said == op.said
	op.said, op.failures = said, 0
	if reason != "" {
		b.Detail = k.o.Nodes[i].URL() + ": " + reason
	}
	switch verdict {
	case node.Later:
		op.wait()
	case node.Invalid:
		// A block that was in the main chain is not broken: somebody had the node leave
		// it (invalidateblock of Bitcoin Core), and may have it return. Its header tells.
		op.submitted, op.invalid = true, !op.inMain
		op.inMain, op.confirmations = false, 0
	default:
		op.submitted, op.invalid = true, false
	}
	op.taken = op.taken || op.submitted
	if verdict == node.Taken || verdict == node.Known {
		b.held = true
		b.secure()
	}
	return again
}

// check asks the node where the block stands.
func (k *Keeper) check(ctx context.Context, i int, b *tracked, height int64) error {
	n := k.o.Nodes[i]
	h, err := n.Header(ctx, b.hash)
	unknown := err != nil
	if answer := (*node.RPCError)(nil); unknown && !errors.Is(err, node.ErrUnknownBlock) && !errors.As(err, &answer) {
		return err
	}
	var buried int64
	if h.Confirmations < 1 && b.Height > 0 && height >= b.Height {
		other, err := n.BlockAt(ctx, b.Height)
		if err != nil {
			return err
		}
		switch {
		case other != b.hash:
			buried = height - b.Height + 1
		case unknown: // it has words of its own for something, and has the block
			h.Confirmations, unknown = height-b.Height+1, false
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	op := &b.nodes[i]
	op.checked, op.buried = time.Now(), buried
	switch {
	case unknown && b.Pool != "":
		op.next = op.checked.Add(quietInterval)
	case unknown:
		op.inMain = false
		if op.submitted {
			// Forgotten, or (btcd) kept aside for want of its parent: hand it in again.
			op.submitted = false
			op.wait()
			wake(k.submit[i])
		}
		return nil
	}
	if op.inMain = h.Confirmations >= 1; op.inMain {
		op.patience, op.said = 0, ""
		op.submitted, op.taken, b.held = true, true, true // by whatever way it came there
		b.secure()
	}
	op.confirmations = max(h.Confirmations, 0)
	return nil
}

// Restore hands node i the blocks that belong at or above a height, lowest first,
// and tells how many it took. It is for a node whose next block is at that height:
// one that was killed has forgotten blocks of the last minutes, and must have them
// again before anybody builds on what it has left. A block that it does not take keeps
// none of the others from it.
func (k *Keeper) Restore(ctx context.Context, i int, height int64) (took int, err error) {
	for _, b := range k.list(func(b *tracked) bool {
		return !b.settled && b.Pool == "" && !b.nodes[i].invalid && b.Height >= height
	}) {
		verdict, failure := k.offer(ctx, i, b)
		switch {
		case failure == nil && verdict == node.Taken:
			took++
		case failure != nil && err == nil:
			err = failure
		}
		if ctx.Err() != nil {
			break
		}
	}
	return took, err
}

// doubt makes the node be asked about every block again, at once.
func (k *Keeper) doubt(i int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled {
			op.checked, op.next, op.patience = time.Time{}, time.Time{}, 0
		}
	}
	wake(k.submit[i])
}

// judge draws the conclusions from all nodes' opinions.
func (k *Keeper) judge(i int, height int64) {
	for _, b := range k.concluded(i, height) {
		k.o.Logger.Info("block changed its state", "hash", b.Hash, "height", b.Height, "state", string(b.State), "detail", b.Detail)
	}
}

// concluded is the blocks whose state has changed. Nobody logs with the lock held: a log
// may hang.
func (k *Keeper) concluded(i int, height int64) (changed []Block) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, hash := range k.order {
		b := k.blocks[hash]
		if b.settled {
			continue
		}
		if i != nobody && b.nodes[i].inMain && b.Height > 0 {
			b.nodes[i].confirmations = height - b.Height + 1
		}
		if k.conclude(b) {
			k.report(b)
			changed = append(changed, b.Block)
		}
		if k.done(b) {
			b.settled = true
			wake(k.write)
		}
	}
	return changed
}

// conclude sets state and confirmations; true if the state is another one.
func (k *Keeper) conclude(b *tracked) bool {
	was := b.State
	var best, rival int64 // how deep it is at most, and another one in its place
	lost, voices := true, 0
	for i := range b.nodes {
		op := &b.nodes[i]
		if op.inMain {
			best = max(best, op.confirmations)
		}
		if op.submitted || op.buried >= k.o.OrphanDepth {
			voices++
			lost = lost && (op.invalid || op.buried >= k.o.OrphanDepth)
		}
		rival = max(rival, op.buried)
	}
	if rival > best && rival >= k.o.OrphanDepth {
		// Who has it in the chain may be cut off from all others, or be gone since.
		best, lost = 0, lost || best > 0
	}
	b.Confirmations = best
	switch {
	case best > 0:
		b.State = Confirmed
	case voices > 0 && lost:
		b.State = Orphaned
	case b.State == Confirmed || voices > 0:
		b.State = Submitted
	}
	return b.State != was
}

// done reports whether the block needs no more care.
func (k *Keeper) done(b *tracked) bool {
	if time.Since(b.since) < k.o.KeepFor {
		return false
	}
	if b.Pool != "" && (b.Height == 0 || len(b.nodes) == 0 || time.Since(b.since) > poolPatience) {
		return true // nobody can say more of it
	}
	if b.Confirmations >= k.o.Confirmations {
		return true
	}
	if b.State != Orphaned {
		return false
	}
	for i := range b.nodes {
		if op := &b.nodes[i]; !op.invalid && op.buried < k.o.Confirmations {
			return false
		}
	}
	return true
}
