package blocks

import (
	"context"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// submitLoop hands the node what it has not got.
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

// submitDue makes one attempt with each block whose time has come, lowest first.
func (k *Keeper) submitDue(ctx context.Context, i int) error {
	now := time.Now()
	for _, b := range k.list(func(b *tracked) bool {
		return !b.settled && !b.nodes[i].submitted && !now.Before(b.nodes[i].next)
	}) {
		if _, err := k.offer(ctx, i, b); err != nil {
			return err
		}
		wake(k.watch[i])
	}
	return nil
}

// nextDue is when there is something to submit; ok: there is.
func (k *Keeper) nextDue(i int) (due time.Time, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled && !op.submitted && (!ok || op.next.Before(due)) {
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
	if w.down || height < w.top || before != w.tip {
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
