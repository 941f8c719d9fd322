package scheduler

import "sync/atomic"

// sickStore refuses everything while it is sick.
type sickStore struct {
	stateStore
	sick *atomic.Pointer[error]
}

func (s sickStore) Apply(changes map[string][]byte) error {
	if err := s.sick.Load(); err != nil {
		return *err
	}
	return s.stateStore.Apply(changes)
}

// Sicken makes the store fail, before Run, while sick holds an error.
func (s *Scheduler) Sicken(sick *atomic.Pointer[error]) {
	s.ledger.store = sickStore{s.ledger.store, sick}
}

// Patterns are those of all handlers, as http.ServeMux reads them.
func (s *Scheduler) Patterns() (patterns []string) {
	for _, h := range s.handlers() {
		patterns = append(patterns, h.pattern)
	}
	return patterns
}
