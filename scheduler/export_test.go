package scheduler

import (
	"context"
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

// Patterns are those of all handlers, as http.ServeMux reads them.
func (s *Scheduler) Patterns() (patterns []string) {
	for _, h := range s.handlers() {
		patterns = append(patterns, h.pattern)
	}
	return patterns
}
