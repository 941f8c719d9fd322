package scheduler

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"lode/scheduler/core"
)

// sickStore refuses everything while it is sick, and is slow.
type sickStore struct {
	stateStore
	sick *atomic.Pointer[error]
	slow time.Duration
}

func (s sickStore) Apply(changes map[string][]byte) error {
	time.Sleep(s.slow)
	if err := s.sick.Load(); err != nil {
		return *err
	}
	return s.stateStore.Apply(changes)
}

// Sicken makes the store fail, before Run, while sick holds an error.
func (s *Scheduler) Sicken(sick *atomic.Pointer[error]) {
	s.ledger.store = sickStore{stateStore: s.ledger.store, sick: sick}
}

// Slow makes each write to the store take that long.
func (s *Scheduler) Slow(d time.Duration) {
	s.ledger.store = sickStore{stateStore: s.ledger.store, sick: new(atomic.Pointer[error]), slow: d}
}

// AskFor does what the core wants when it has not heard of a block for long.
func (s *Scheduler) AskFor(hash string, height int64) {
	s.askFor(context.Background(), core.AskBlock{Hash: hash, Height: height})
}

// Settle waits until all that the core has asked for up to now was done: its state can be
// seen a moment before.
func (s *Scheduler) Settle() {
	q := queued{event: core.Tick{}, done: make(chan struct{})}
	if !s.enqueue(q) {
		return
	}
	select {
	case <-q.done:
	case <-s.stopped:
	}
}

// Patterns are those of all handlers, as http.ServeMux reads them.
func (s *Scheduler) Patterns() (patterns []string) {
	for _, h := range s.handlers() {
		patterns = append(patterns, h.pattern)
	}
	return patterns
}

// PieceSize is how many tasks are copied at a time under the core's lock.
const PieceSize = pieceSize

// Routes are what is served.
func (s *Scheduler) Routes() http.Handler { return s.routes() }

// Watch calls held whenever the core's lock was held for that long by a clock. It is called
// before Run.
func (s *Scheduler) Watch(clock func() time.Duration, held func(time.Duration)) {
	s.mu = &watchedLock{Locker: s.mu, clock: clock, held: held}
}

type watchedLock struct {
	sync.Locker
	clock func() time.Duration
	since time.Duration
	held  func(time.Duration)
}

func (l *watchedLock) Lock() {
	l.Locker.Lock()
	l.since = l.clock()
}

func (l *watchedLock) Unlock() {
	l.held(l.clock() - l.since)
	l.Locker.Unlock()
}
