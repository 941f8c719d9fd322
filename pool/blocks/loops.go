package blocks

import (
	"context"
	"slices"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// submitLoop hands the node what it has not got, one block after another.
func (k *Keeper) submitLoop(ctx context.Context, i int) {
	var fail time.Duration
	for ctx.Err() == nil {
		var again <-chan time.Time
		if err := k.submitDue(ctx, i); err != nil {
			if fail == 0 {
				k.warn(ctx, i, "node does not take blocks", err)
			}
			fail = min(max(2*fail, 250*time.Millisecond), retryMax)
			again = time.After(fail)
		} else {
			fail = 0
			if due, ok := k.nextDue(i); ok {
				again = time.After(time.Until(due))
			}
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-k.submit[i]:
		}
	}
}

// firstLoop hands the node what was found just now. It has nothing else to do: while an
// earlier block is on its way, for as long as that takes, the next one does not wait.
func (k *Keeper) firstLoop(ctx context.Context, i int) {
	for ctx.Err() == nil {
		for _, b := range k.list(func(b *tracked) bool {
			op := &b.nodes[i]
			return b.fresh && !b.settled && !op.submitted && !op.tried && !op.busy
		}) {
			// An error is submitLoop's to tell of, which tries again.
			_ = k.submitOne(ctx, i, b)
			wake(k.submit[i])
		}
		select {
		case <-ctx.Done():
		case <-k.first[i]:
		}
	}
}

// submitDue makes one attempt with each block whose time has come, up to the first that
// fails.
func (k *Keeper) submitDue(ctx context.Context, i int) error {
	for _, b := range k.due(i) {
		if err := k.submitOne(ctx, i, b); err != nil {
			return err
		}
	}
	return nil
}

// due is what the node is to be handed, lowest first. But what has failed before comes
// last: that may be the block's fault – something on the way refuses it for its length, say
// – and is no reason not to try the next.
func (k *Keeper) due(i int) []*tracked {
	now := time.Now()
	list := k.list(func(b *tracked) bool {
		op := &b.nodes[i]
		return !b.settled && !op.submitted && !op.busy && !now.Before(op.next)
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	slices.SortStableFunc(list, func(a, b *tracked) int { return a.nodes[i].failures - b.nodes[i].failures })
	return list
}

// submitOne makes one attempt, if nobody else is making one. Restore is nobody: it hands in
// again what a node should have.
func (k *Keeper) submitOne(ctx context.Context, i int, b *tracked) error {
	op := &b.nodes[i]
	k.mu.Lock()
	idle := !b.settled && !op.submitted && !op.busy
	op.busy = op.busy || idle
	k.mu.Unlock()
	if !idle {
		return nil
	}
	_, err := k.offer(ctx, i, b)
	k.mu.Lock()
	op.busy = false
	k.mu.Unlock()
	if err == nil {
		wake(k.watch[i])
	}
	return err
}

// nextDue is when there is something to submit; ok: there is.
func (k *Keeper) nextDue(i int) (due time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled && !op.submitted && !op.busy && (!ok || op.next.Before(due)) {
			due, ok = op.next, true
		}
	}
	return due, ok
}

func (k *Keeper) warn(ctx context.Context, i int, what string, err error) {
	if ctx.Err() == nil {
		k.o.Logger.Warn(what, "node", k.o.Nodes[i].URL(), "error", err)
	}
}

// watcher asks one node about the blocks that it has.
type watcher struct {
	k    *Keeper
	i    int
	down bool           // it did not answer the last time, or was never asked
	top  int64          // height that it had
	tip  chainhash.Hash // its block there
}

// watchLoop asks the node about what it has.
func (k *Keeper) watchLoop(ctx context.Context, i int) {
	w := &watcher{k: k, i: i, down: true}
	var fail time.Duration
	for ctx.Err() == nil {
		wait := quietInterval
		if err := w.look(ctx); err != nil {
			if !w.down {
				k.warn(ctx, i, "node does not confirm blocks", err)
			}
			w.down = true
			fail = min(max(2*fail, 250*time.Millisecond), retryMax)
			wait = fail
		} else {
			fail = 0
			if k.waiting(i) {
				wait = busyInterval
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-k.watch[i]:
		}
		timer.Stop()
	}
}

// look asks about all blocks whose time has come.
func (w *watcher) look(ctx context.Context) error {
	k := w.k
	if !k.cares() {
		return nil
	}
	n := k.o.Nodes[w.i]
	height, err := n.Height(ctx)
	if err != nil {
		return err
	}
	newest, err := n.BlockAt(ctx, height)
	if err != nil {
		return err
	}
	before := newest
	if height > w.top {
		if before, err = n.BlockAt(ctx, w.top); err != nil {
			return err
		}
	}
	if w.down || before != w.tip {
		// It was away, or its chain fell or is another one: what it said of blocks may
		// not hold any more.
		k.doubt(w.i)
	}
	w.down, w.top, w.tip = false, height, newest
	for _, b := range k.unchecked(w.i) {
		if err := k.check(ctx, w.i, b, height); err != nil {
			return err
		}
	}
	k.judge(w.i, height)
	return nil
}
