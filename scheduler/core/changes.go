package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Change is a change of the durable state: a value under a key, or its deletion. A
// store keeps the newest value of each key; the state is made of them all, so that
// what is written grows with what happened and not with what there is.
type Change struct {
	Key   string
	Value []byte // JSON; nil: the key is deleted
}

// Keys of changes.
const (
	keyHead  = "head"
	keyTask  = "task/"
	keyBlock = "block/"
)

// touched are the parts of the state that differ from what Changes told last: each once.
type touched struct {
	tasks  []*Task // those that are over, too
	blocks []string
}

func (t *touched) task(task *Task) {
	if !task.run.touched {
		task.run.touched = true
		t.tasks = append(t.tasks, task)
	}
}

func (t *touched) clear() {
	for _, task := range t.tasks {
		task.run.touched = false
	}
	*t = touched{}
}

func (t *touched) block(hash string) {
	if !slices.Contains(t.blocks, hash) {
		t.blocks = append(t.blocks, hash)
	}
}

// Changes returns what became of the state since the last call, in no more than one
// change a key. A Persist action says that there is something; the caller may take
// the changes of several steps at once. They must reach the disk together or not at
// all.
func (c *Core) Changes() ([]Change, error) {
	head, err := c.state.head()
	if err != nil {
		return nil, err
	}
	changes := []Change{head}
	slices.SortFunc(c.touched.tasks, byID)
	for _, t := range c.touched.tasks {
		if c.state.Tasks[t.ID] != t {
			changes = append(changes, Change{keyTask + t.ID, nil})
		} else if changes, err = appendTask(changes, t); err != nil {
			return nil, err
		}
	}
	slices.Sort(c.touched.blocks)
	for _, hash := range c.touched.blocks {
		if b := c.block(hash); b == nil {
			changes = append(changes, Change{keyBlock + hash, nil})
		} else if changes, err = appendBlock(changes, b); err != nil {
			return nil, err
		}
	}
	c.touched.clear()
	return changes, nil
}

func appendTask(changes []Change, t *Task) ([]Change, error) {
	value, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode task %s: %w", t.ID, err)
	}
	return append(changes, Change{keyTask + t.ID, value}), nil
}

func appendBlock(changes []Change, b *Block) ([]Change, error) {
	value, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode block %s: %w", b.Hash, err)
	}
	return append(changes, Change{keyBlock + b.Hash, value}), nil
}

// head is everything but tasks and blocks.
func (s *State) head() (Change, error) {
	h := *s
	h.Tasks, h.Blocks = nil, nil
	b, err := json.Marshal(&h)
	if err != nil {
		return Change{}, fmt.Errorf("encode scheduler state: %w", err)
	}
	return Change{keyHead, b}, nil
}

// Entries returns the whole state as changes to an empty store.
func (s *State) Entries() ([]Change, error) {
	head, err := s.head()
	if err != nil {
		return nil, err
	}
	changes := []Change{head}
	for _, id := range sortedKeysOf(s.Tasks) {
		if changes, err = appendTask(changes, s.Tasks[id]); err != nil {
			return nil, err
		}
	}
	for _, b := range s.Blocks {
		if changes, err = appendBlock(changes, b); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// RestoreState makes a state of the newest value of each key and checks that it makes
// sense, as DecodeState does.
func RestoreState(entries map[string][]byte) (*State, error) {
	s := new(State)
	head, ok := entries[keyHead]
	if !ok {
		return nil, fmt.Errorf("%w: it has no head", ErrState)
	}
	if err := json.Unmarshal(head, s); err != nil {
		return nil, fmt.Errorf("%w: head: %w", ErrState, err)
	}
	s.Tasks, s.Blocks = make(map[string]*Task), nil
	for key, value := range entries {
		var err error
		switch {
		case key == keyHead:
		case strings.HasPrefix(key, keyTask):
			t := new(Task)
			err = json.Unmarshal(value, t)
			s.Tasks[key[len(keyTask):]] = t
		case strings.HasPrefix(key, keyBlock):
			b := new(Block)
			if err = json.Unmarshal(value, b); err == nil && b.Hash != key[len(keyBlock):] {
				err = fmt.Errorf("it is block %q", b.Hash)
			}
			s.Blocks = append(s.Blocks, b)
		default:
			err = fmt.Errorf("expected %s, %s… or %s…", keyHead, keyTask, keyBlock)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: entry %q: %w", ErrState, key, err)
		}
	}
	slices.SortFunc(s.Blocks, func(a, b *Block) int {
		if d := a.FoundAt.Compare(b.FoundAt); d != 0 {
			return d
		}
		return strings.Compare(a.Hash, b.Hash)
	})
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return s, nil
}
