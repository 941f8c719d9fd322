package blocks

import (
	"context"
	"time"
)

// settleMost is how many blocks are settled before new ones are looked for again.
const settleMost = 16

// writeLoop brings the journal to what is known of blocks. It alone writes to it, and
// nobody waits for it.
func (k *Keeper) writeLoop(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if !k.writeDown() {
			retry = time.After(journalRetry)
		}
		select {
		case <-ctx.Done():
			k.writeDown() // what was found a moment ago
			return
		case <-k.write:
		case <-retry:
		}
	}
}

// writeDown makes one attempt. false: it is to be repeated.
func (k *Keeper) writeDown() bool {
	fresh := k.list(func(b *tracked) bool { return !b.settled && !b.given })
	failed := k.list(func(b *tracked) bool { return !b.settled && b.given && !b.saved })
	over := k.list(func(b *tracked) bool { return b.settled && !b.dropped })
	more := len(over) > settleMost
	if more { // a block that is found meanwhile is not to wait for all of them
		over = over[:settleMost]
	}
	ok := true
	for _, b := range fresh {
		_, err := k.o.Journal.Add(b.Entry)
		if err != nil {
			k.o.Logger.Error("found block is not on disk, submitting it all the same", "hash", b.Hash, "height", b.Height, "error", err)
			ok = false
		}
		k.mu.Lock()
		k.disk = err
		b.given, b.saved = true, err == nil
		b.secure()
		k.mu.Unlock()
	}
	if len(failed) > 0 {
		err := k.o.Journal.Retry()
		if err != nil {
			k.o.Logger.Error("found blocks are still not on disk", "error", err)
			ok = false
		}
		k.mu.Lock()
		k.disk = err
		for _, b := range failed {
			b.saved = err == nil
			b.secure()
		}
		k.mu.Unlock()
	}
	for _, b := range over {
		if err := k.o.Journal.Settle(b.Hash); err != nil {
			k.o.Logger.Error("cannot write to the block journal", "error", err)
			ok = false
			continue
		}
		k.mu.Lock()
		b.dropped, b.Raw, b.Header, b.Coinbase = true, nil, nil, nil
		k.prune()
		k.mu.Unlock()
	}
	if more && ok {
		wake(k.write)
	}
	return ok
}
