package scheduler

import (
	cryptorand "crypto/rand"
	"errors"
	"fmt"

	"lode/scheduler/core"
	"lode/scheduler/store"
	"lode/zookeeper"
)

// openStore opens the state folder and reads the state.
func (s *Scheduler) openStore() (*core.State, error) {
	where, err := s.openPlace()
	if err != nil {
		return nil, err
	}
	values, err := s.store.Load()
	if err != nil {
		return nil, err
	}
	if values == nil {
		key := make([]byte, 32)
		if _, err := cryptorand.Read(key); err != nil {
			return nil, fmt.Errorf("make worker key: %w", err)
		}
		fresh := core.NewState(key)
		fresh.Begun = s.config.NewFramework
		return fresh, nil
	}
	state, err := core.RestoreState(values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it, or move it away to begin anew "+
			"(tasks of the old framework then run until its failover timeout)", where, err)
	}
	return s.beginAnew(state, values)
}

// beginAnew forgets the stored framework, if that is asked for.
func (s *Scheduler) beginAnew(state *core.State, values map[string][]byte) (*core.State, error) {
	wanted := s.config.NewFramework
	switch {
	case s.config.NewMesos && state.FrameworkID != "":
		return s.forget(state, values, "")
	case !wanted && !state.Begun:
		return state, nil
	case !wanted: // the next --new-framework is another request
		state.Begun = false
	case state.FrameworkID == "":
		state.Begun = true
	case state.Begun && !state.Removed:
		s.log.Warn("--new-framework was honoured by an earlier start, and does nothing now; to begin another one, start once without it",
			"framework", state.FrameworkID)
		return state, nil
	default:
		former := ""
		if !state.Removed {
			former = state.FrameworkID
			s.log.Warn("beginning a new framework. Tasks of the old one keep their resources until it is ended: lode teardown --master … ID",
				"old", state.FrameworkID, "tasks", len(state.Tasks))
		}
		state.Begun = true
		return s.forget(state, values, former)
	}
	changes, err := valuesOf(state)
	if err != nil {
		return nil, err
	}
	return state, s.store.Apply(changes)
}

// openPlace opens the folder, or what is in ZooKeeper, and says what it is called.
func (s *Scheduler) openPlace() (string, error) {
	if s.config.term == nil {
		folder, err := store.Open(s.config.StateDir, upgradeState)
		if err != nil {
			return "", err
		}
		s.store = folder
		if n := folder.Cut(); n > 0 {
			s.log.Warn("the last change of the state was cut off by a crash; nothing that was sent depends on it", "bytes", n)
		}
		return folder.Path(), nil
	}
	journal, err := zookeeper.OpenLog(s.config.term)
	if err != nil {
		return "", fault(err)
	}
	remote, err := store.OpenRemote(journal)
	if err != nil {
		_ = journal.Close() // it only ends a session
		return "", fault(err)
	}
	s.store = remote
	return "the state in ZooKeeper", nil
}

// fault marks what waiting may mend.
func fault(err error) error {
	if errors.Is(err, zookeeper.ErrDamaged) || errors.Is(err, store.ErrDamaged) || errors.Is(err, zookeeper.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", errNoState, err)
}

// upgradeState turns a state.json of an older program into values.
func upgradeState(b []byte) (map[string][]byte, error) {
	state, err := core.DecodeState(b)
	if err != nil {
		return nil, err
	}
	return valuesOf(state)
}

func valuesOf(state *core.State) (map[string][]byte, error) {
	entries, err := state.Entries()
	if err != nil {
		return nil, err
	}
	values := make(map[string][]byte, len(entries))
	for _, e := range entries {
		values[e.Key] = e.Value
	}
	return values, nil
}

// forget stores and returns the state for a new framework in place of one of which
// values are stored. former is the id of one that Mesos has still; "": it has none.
func (s *Scheduler) forget(state *core.State, values map[string][]byte, former string) (*core.State, error) {
	state = state.Forget()
	state.Former = former
	changes, err := valuesOf(state)
	if err != nil {
		return nil, err
	}
	for key := range values {
		if _, stays := changes[key]; !stays {
			changes[key] = nil
		}
	}
	return state, s.store.Apply(changes)
}
