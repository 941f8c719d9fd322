package store

import (
	"fmt"
	"maps"
)

// Journal keeps records in their order, and blobs by name, where others can go on with
// them: package zookeeper has one.
type Journal interface {
	// Records returns all records; none: nothing was ever stored.
	Records() ([][]byte, error)
	// Append adds a record. After an error it may be there, or come to be.
	Append(record []byte) error
	// Replace puts records in the place of all that there are.
	Replace(records [][]byte) error
	// Extent is how many nodes the records take, and how many bytes.
	Extent() (nodes int, size int64)
	SaveBlob(name string, data []byte) error
	LoadBlob(name string) ([]byte, error)
	DropBlob(name string) error
	Close() error
}

// A journal is written anew when it has so many nodes, each of which costs a question
// when somebody takes over, or when it is as long as a log on a disk may be.
const mostNodes = 1000

// Remote is a store in a journal: what Store is in a folder. It is as safe for
// concurrent use.
type Remote struct {
	journal Journal
	values  map[string][]byte // nil: nothing was ever stored
	live    int64             // bytes of values and their keys
	shorten int               // nodes at which to write it anew
}

// OpenRemote reads the state.
func OpenRemote(j Journal) (*Remote, error) {
	records, err := j.Records()
	if err != nil {
		return nil, fmt.Errorf("read scheduler state: %w", err)
	}
	r := &Remote{journal: j, shorten: mostNodes}
	if len(records) > 0 {
		r.values = make(map[string][]byte)
	}
	for i, record := range records {
		if err := takeChanges(r.values, record); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrDamaged, i, err)
		}
	}
	r.live = weight(r.values)
	return r, nil
}

// Load returns a copy of the state; nil: nothing was ever stored.
func (r *Remote) Load() (map[string][]byte, error) { return maps.Clone(r.values), nil }

// Apply changes values: all of them or none, but after an error nobody can tell, and
// they may yet come to be stored. Whoever tries again must not leave any of them out.
// A nil value deletes its key. It keeps the values.
func (r *Remote) Apply(changes map[string][]byte) error {
	if r.values == nil {
		values := maps.Clone(changes)
		maps.DeleteFunc(values, func(_ string, v []byte) bool { return v == nil })
		if err := r.replace(values); err != nil {
			return fmt.Errorf("store scheduler state: %w", err)
		}
		r.values, r.live = values, weight(values)
		return nil
	}
	if err := r.journal.Append(appendChanges(nil, changes, sortedKeys(changes))); err != nil {
		return fmt.Errorf("store scheduler state: %w", err)
	}
	for key, value := range changes {
		r.live += apply(r.values, key, value)
	}
	nodes, size := r.journal.Extent()
	if nodes > r.shorten || size > max(leastLog, 4*r.live) {
		// Failing to is no harm but for the space, and the time of who takes over.
		if r.replace(r.values) != nil {
			r.shorten = nodes + mostNodes
		}
	}
	return nil
}

// replace writes a state without history.
func (r *Remote) replace(values map[string][]byte) error {
	var records [][]byte
	var keys []string
	size := 0
	for _, key := range sortedKeys(values) {
		keys = append(keys, key)
		if size += len(key) + len(values[key]); size > splitBody {
			records, keys, size = append(records, appendChanges(nil, values, keys)), nil, 0
		}
	}
	if len(keys) > 0 || len(records) == 0 {
		records = append(records, appendChanges(nil, values, keys))
	}
	if err := r.journal.Replace(records); err != nil {
		return err
	}
	nodes, _ := r.journal.Extent()
	r.shorten = mostNodes + 2*nodes
	return nil
}

// SaveBlock stores a serialized block under its hash. When it returns nil the block is
// stored for good.
func (r *Remote) SaveBlock(hash string, b []byte) error {
	if err := checkHash(hash); err != nil {
		return err
	}
	if err := r.journal.SaveBlob(hash, b); err != nil {
		return fmt.Errorf("store block %s: %w", hash, err)
	}
	return nil
}

// LoadBlock returns a stored block.
func (r *Remote) LoadBlock(hash string) ([]byte, error) {
	b, err := r.journal.LoadBlob(hash)
	if err != nil {
		return nil, fmt.Errorf("read block %s: %w", hash, err)
	}
	return b, nil
}

// DropBlock deletes a stored block; it is no error if there is none.
func (r *Remote) DropBlock(hash string) error {
	if err := r.journal.DropBlob(hash); err != nil {
		return fmt.Errorf("delete block %s: %w", hash, err)
	}
	return nil
}

// Close lets go of the journal.
func (r *Remote) Close() error { return r.journal.Close() }
