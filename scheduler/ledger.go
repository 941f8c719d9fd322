package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"lode/scheduler/core"
)

// stateStore keeps the state: values by key, and blocks. Package store has one in a
// folder.
type stateStore interface {
	// Load returns the state; nil: nothing was ever stored.
	Load() (map[string][]byte, error)
	// Apply changes values, all or none; nil deletes a key. When it returns nil they are
	// stored for good. After an error it may be tried again.
	Apply(changes map[string][]byte) error
	// The methods about blocks may be called at any time.
	SaveBlock(hash string, b []byte) error
	LoadBlock(hash string) ([]byte, error)
	DropBlock(hash string) error
	Close() error
}

// ledger stores what the core asks for, beside the loop: while one batch is on its way
// to the disk the next one comes together, and a disk that is slow, full or sick holds
// up nothing but what must be stored before it is sent (see driver.Send). It tries
// until it can.
type ledger struct {
	store stateStore
	log   *slog.Logger
	// stored is told the number of the newest entry that is on disk.
	stored func(number uint64)
	// tell gives an event to the core.
	tell func(core.Event)
	// took is told how long a write took.
	took func(time.Duration)

	wake chan struct{} // has room for one: there is something to store

	mu       sync.Mutex
	changes  map[string][]byte
	blocks   []core.StoreBlock
	unneeded []string      // blocks to delete once changes are stored
	number   uint64        // of the newest entry
	onDisk   uint64        // number of the newest entry that is on disk
	problem  error         // why nothing can be stored; nil: it can
	moved    chan struct{} // closed when onDisk or problem has changed
	since    time.Time
}

// Pauses between attempts to store.
const (
	storeAgainFirst = 100 * time.Millisecond
	storeAgainMost  = 5 * time.Second
)

func newLedger(store stateStore, log *slog.Logger) *ledger {
	return &ledger{
		store: store, log: log, wake: make(chan struct{}, 1), changes: make(map[string][]byte), moved: make(chan struct{}),
	}
}

// enter queues what is to be stored and returns its number. With nothing it returns
// the number of the newest entry.
func (l *ledger) enter(changes []core.Change, blocks []core.StoreBlock, unneeded []string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(changes)+len(blocks)+len(unneeded) == 0 {
		return l.number
	}
	for _, c := range changes {
		l.changes[c.Key] = c.Value
	}
	l.blocks = append(l.blocks, blocks...)
	l.unneeded = append(l.unneeded, unneeded...)
	l.number++
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return l.number
}

// run stores until ctx ends, and then what is left, if that can be done at once.
func (l *ledger) run(ctx context.Context) {
	pause := storeAgainFirst
	for {
		var again <-chan time.Time
		if !l.flush() {
			again = time.After(pause)
			pause = min(2*pause, storeAgainMost)
		} else {
			pause = storeAgainFirst
		}
		wake := l.wake
		if again != nil {
			wake = nil // not with each event while the disk is sick
		}
		select {
		case <-ctx.Done():
			if !l.flush() {
				l.log.Error("the scheduler ends with changes that are not stored; it finds out about them when it starts again")
			}
			return
		case <-wake:
		case <-again:
		}
	}
}

// flush stores what is queued and says whether that went well.
func (l *ledger) flush() bool {
	l.mu.Lock()
	changes, blocks, unneeded, number := l.changes, l.blocks, l.unneeded, l.number
	l.changes, l.blocks, l.unneeded = make(map[string][]byte), nil, nil
	l.mu.Unlock()
	for _, b := range blocks {
		result := core.Stored{Hash: b.Hash}
		if err := l.store.SaveBlock(b.Hash, b.Data); err != nil {
			result.Err = err.Error() // the proxy keeps the block and sends it again
		}
		l.tell(result)
	}
	if len(changes) > 0 {
		start := time.Now()
		if err := l.store.Apply(changes); err != nil {
			l.failed(err, changes, unneeded)
			return false
		}
		l.took(time.Since(start))
		l.recovered()
	}
	for _, hash := range unneeded {
		if err := l.store.DropBlock(hash); err != nil {
			l.log.Warn("cannot delete a block that is not needed any more", "error", err)
		}
	}
	l.mu.Lock()
	l.onDisk = number
	l.move()
	l.mu.Unlock()
	l.stored(number)
	return true
}

// move wakes up those who wait; mu is held.
func (l *ledger) move() {
	close(l.moved)
	l.moved = make(chan struct{})
}

// await returns when everything up to a number is on disk, or else why it is not: the
// disk does not take it, or ctx has ended.
func (l *ledger) await(ctx context.Context, number uint64) error {
	for {
		l.mu.Lock()
		done, problem, moved := l.onDisk >= number, l.problem, l.moved
		l.mu.Unlock()
		switch {
		case done:
			return nil
		case problem != nil:
			return problem
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// failed puts back what could not be stored. What came meanwhile is newer.
func (l *ledger) failed(err error, changes map[string][]byte, unneeded []string) {
	l.mu.Lock()
	for key, value := range changes {
		if _, newer := l.changes[key]; !newer {
			l.changes[key] = value
		}
	}
	l.unneeded = append(unneeded, l.unneeded...)
	if l.problem == nil {
		l.since = time.Now()
	}
	l.problem = err
	l.move()
	l.mu.Unlock()
	l.log.Error("the state cannot be stored; nothing is launched or acknowledged until it can, the rest goes on", "error", err)
}

func (l *ledger) recovered() {
	l.mu.Lock()
	was, since := l.problem, l.since
	l.problem = nil
	l.mu.Unlock()
	if was != nil {
		l.log.Warn("the state can be stored again", "after", time.Since(since).Round(time.Second))
	}
}

// trouble is why the state cannot be stored; nil: it can.
func (l *ledger) trouble() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.problem
}
