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

// touched are the parts of the state that differ from what Changes told last.
type touched struct {
	tasks, blocks map[string]struct{}
}

func (t *touched) task(id string)    { t.tasks = put(t.tasks, id) }
func (t *touched) block(hash string) { t.blocks = put(t.blocks, hash) }

func put(set map[string]struct{}, key string) map[string]struct{} {
	if set == nil {
		set = make(map[string]struct{})
	}
	set[key] = struct{}{}
	return set
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
	for _, id := range sorted(c.touched.tasks) {
		var value []byte
		if t := c.state.Tasks[id]; t != nil {
			if value, err = json.Marshal(t); err != nil {
				return nil, fmt.Errorf("encode task %s: %w", id, err)
			}
		}
		changes = append(changes, Change{keyTask + id, value})
	}
	for _, hash := range sorted(c.touched.blocks) {
		var value []byte
		if b := c.block(hash); b != nil {
			if value, err = json.Marshal(b); err != nil {
				return nil, fmt.Errorf("encode block %s: %w", hash, err)
			}
		}
		changes = append(changes, Change{keyBlock + hash, value})
	}
	c.touched = touched{}
	return changes, nil
}

func sorted(set map[string]struct{}) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
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
	c := Core{state: s}
	for id := range s.Tasks {
		c.touched.task(id)
	}
	for _, b := range s.Blocks {
		c.touched.block(b.Hash)
	}
	return c.Changes()
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
