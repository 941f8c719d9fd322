// Package journal keeps found blocks on disk until they are deep in the chain.
//
// Open replays what is there. Add makes a block durable before it returns, which a sick
// disk may hold up for long: let nothing wait for it. Settle notes that a block needs no
// more care; the file shrinks when all its blocks are settled.
//
// What was promised holds whatever call of the file system fails, and over a power cut.
package journal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"lode/disk"
)

// Entry is a found block.
type Entry struct {
	Hash    string    `json:"hash"` // display order, hex
	Height  int64     `json:"height"`
	Finder  string    `json:"finder"`
	FoundAt time.Time `json:"found_at"`
	Raw     []byte    `json:"-"` // complete serialization; nil for a pool's block
	// Pool is the Stratum upstream whose block it is: "", a node's. The pool alone
	// has its transactions; Header and Coinbase (without witness) are what is known.
	Pool     string `json:"pool,omitempty"`
	Header   []byte `json:"header,omitempty"`
	Coinbase []byte `json:"coinbase,omitempty"`
	// WorkID is what the node of that URL wants to hear with the block, raw JSON; "":
	// nothing.
	WorkID string `json:"work_id,omitempty"`
	Node   string `json:"node,omitempty"`
}

// Journal is the file of found blocks.
type Journal struct {
	// Own is asked before anything is written: an error says that the place is another
	// program's by now. nil: it cannot be.
	Own func() error

	files disk.Disk
	path  string

	mu      sync.Mutex // guards the rest
	file    disk.File  // nil after Close
	size    int64      // of what is known to be whole
	torn    bool       // something may stand behind that
	renamed bool       // the folder does not surely know the file yet
	spoilt  *Spoilt    // set by Open
	pending map[string]Entry
	order   []string // hashes of pending, oldest first
	settled int      // records in the file that are history
}

// What a file may hold of history: so many records, or so many bytes where that is most of
// it.
const (
	maxSettled = 1000
	leastBulk  = 32 << 20
)

// ErrClosed is the use of a closed Journal.
var ErrClosed = errors.New("the journal is closed")

// Open reads the journal at path, or begins one. A tail that a crash tore is cut off, and
// what follows damage before the tail is read as far as it can be; in either case a copy is
// kept aside, in path.damaged: see Spoilt. The journal of another version is an error.
func Open(path string) (*Journal, error) { return open(disk.OS, path) }

func open(fs disk.Disk, path string) (*Journal, error) {
	j := &Journal{files: fs, path: path, pending: make(map[string]Entry)}
	if err := fs.MakeDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open block journal: %w", err)
	}
	var err error
	if j.file, err = fs.Open(path); err != nil {
		return nil, fmt.Errorf("open block journal: %w", err)
	}
	if err := j.load(); err != nil {
		_ = j.file.Close()
		return nil, fmt.Errorf("open block journal %s: %w", path, err)
	}
	return j, nil
}

func (j *Journal) load() error {
	size, err := j.file.Size()
	if err != nil {
		return err
	}
	f, err := j.replay(j.file, size)
	if err != nil {
		return err
	}
	if f.whole < int64(len(magic)) && !f.spoilt {
		return j.rewrite()
	}
	if f.spoilt {
		// Nothing is thrown away that somebody may want to look at.
		j.spoilt = &Spoilt{Tail: !f.damaged}
		j.spoilt.Kept, err = j.keepAside(size)
		if err == nil && f.damaged {
			err = j.rewrite()
		}
		if j.spoilt.Err = err; err == nil && f.damaged {
			return nil
		}
		if f.foreign {
			return fmt.Errorf("it is none, and cannot be put aside: %w", err)
		}
	}
	// The process that wrote this may have ended before it was on disk.
	j.size, j.torn, j.renamed = f.whole, f.whole < size, true
	if f.damaged {
		// The disk may be full. Records are found behind what is spoilt, too; the next Open
		// tries again.
		j.size, j.torn = size, false
	}
	if err := j.repair(); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	if j.bulky() {
		_ = j.rewrite() // failing to is no harm but for the space
	}
	return nil
}

// Spoilt is what was wrong with a file that Open has read.
type Spoilt struct {
	Tail bool   // its end alone, as when a crash came in the middle of writing
	Kept string // the copy; "": there is none
	Err  error  // why there is no copy, or no new file
}

// Spoilt is what was wrong with the file at Open; nil: nothing.
func (j *Journal) Spoilt() *Spoilt { return j.spoilt }

// mostKept bounds the copies of spoilt files.
const mostKept = 9

// keepAside copies the file to another one, which has no content yet if there is one such.
func (j *Journal) keepAside(size int64) (path string, err error) {
	for n := 1; n <= mostKept; n++ {
		path = j.path + ".damaged"
		if n > 1 {
			path += fmt.Sprintf("-%d", n)
		}
		f, err := j.files.Open(path)
		if err != nil {
			return "", err
		}
		used, err := f.Size()
		if err == nil && used > 0 && n < mostKept {
			_ = f.Close()
			continue
		}
		if err == nil {
			err = f.Truncate(0)
		}
		if err == nil {
			err = copyTo(f, j.file, size)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			_ = j.files.Remove(path)
			return "", err
		}
		break
	}
	return path, j.files.SyncDir(filepath.Dir(path))
}

// copyTo copies size bytes, to disk.
func copyTo(to disk.File, from io.ReaderAt, size int64) error {
	b := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; at += int64(len(b)) {
		b = b[:min(size-at, int64(len(b)))]
		if err := readFull(from, b, at); err != nil {
			return err
		}
		if _, err := to.WriteAt(b, at); err != nil {
			return err
		}
	}
	return to.Sync()
}

// Add makes a block durable. It reports whether the block is new; a block that is
// pending already costs nothing.
//
// After an error (a full disk, say) the block is kept in memory all the same: submit
// it. Retry writes it later.
func (j *Journal) Add(e Entry) (isNew bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.pending[e.Hash]; known {
		return false, nil
	}
	j.pending[e.Hash] = e
	j.order = append(j.order, e.Hash)
	err = ErrClosed
	switch {
	case j.file == nil:
	case j.gone():
		err = j.rewrite()
	default:
		err = j.append(kindBlock, e)
	}
	if err != nil {
		return true, fmt.Errorf("journal block %s at height %d: %w", e.Hash, e.Height, err)
	}
	return true, nil
}

// bulky says that most of the file is history, and that is much.
func (j *Journal) bulky() bool {
	live := int64(len(magic))
	for _, e := range j.pending {
		live += int64(len(e.Raw) + len(e.Header) + len(e.Coinbase))
	}
	return j.size > leastBulk && j.size > 4*live
}

// gone says that somebody has removed the file or its folder: what is written to it is lost
// when it is closed.
func (j *Journal) gone() bool { return !j.files.Leads(j.path, j.file) }

func (j *Journal) owned() error {
	if j.Own == nil {
		return nil
	}
	return j.Own()
}

// append writes and syncs a record.
func (j *Journal) append(kind byte, e Entry) error {
	b, err := encode(kind, e)
	if err != nil {
		return err
	}
	if err := j.owned(); err != nil {
		return err
	}
	if err := j.repair(); err != nil {
		return err
	}
	_, err = j.file.WriteAt(b, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.torn = true
		_ = j.repair() // if it fails now, it is tried before the next record
		return err
	}
	j.size += int64(len(b))
	return nil
}

// repair brings the file to where a record can be appended: what was written in part
// is cut off, so that later records stay readable, and the folder knows the file.
func (j *Journal) repair() error {
	if j.torn {
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
		j.torn = false
	}
	if j.renamed {
		if err := j.files.SyncDir(filepath.Dir(j.path)); err != nil {
			return err
		}
		j.renamed = false
	}
	return nil
}

// Settle notes that the block needs no more care. After an error it is still pending.
func (j *Journal) Settle(hash string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, known := j.pending[hash]
	if !known {
		return nil
	}
	if j.file == nil {
		return fmt.Errorf("settle block %s in the journal: %w", hash, ErrClosed)
	}
	if len(j.pending) > 1 && j.settled < maxSettled && !j.bulky() && !j.gone() {
		if err := j.append(kindSettled, Entry{Hash: hash}); err != nil {
			return fmt.Errorf("settle block %s in the journal: %w", hash, err)
		}
		j.forget(hash)
		j.settled++
		return nil
	}
	j.forget(hash)
	if err := j.rewrite(); err != nil {
		j.pending[hash], j.order = e, append(j.order, hash)
		return fmt.Errorf("shrink block journal: %w", err)
	}
	return nil
}

func (j *Journal) forget(hash string) {
	delete(j.pending, hash)
	for i, h := range j.order {
		if h == hash {
			j.order = append(j.order[:i], j.order[i+1:]...)
			break
		}
	}
}

// Retry writes the whole journal anew: after Add failed, it makes the blocks that
// are in memory alone durable.
func (j *Journal) Retry() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rewrite()
}

// Keep writes the journal anew if somebody has removed it.
func (j *Journal) Keep() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil || !j.gone() {
		return nil
	}
	return j.rewrite()
}

// rewrite replaces the file by one with the pending blocks alone.
func (j *Journal) rewrite() error {
	if j.file == nil {
		return ErrClosed
	}
	if err := j.owned(); err != nil {
		return err
	}
	if err := j.files.MakeDir(filepath.Dir(j.path)); err != nil { // somebody may have removed it
		return err
	}
	next := j.path + ".new"
	f, size, err := j.writeNew(next)
	if err == nil {
		err = j.files.Rename(next, j.path)
	}
	if err != nil {
		if f != nil {
			_ = f.Close()
			_ = j.files.Remove(next)
		}
		return err
	}
	// From here on this is the file, whatever fails: the former has no name any more.
	_ = j.file.Close()
	j.file, j.size, j.torn, j.settled, j.renamed = f, size, false, 0, true
	return j.repair()
}

// writeNew writes a file with the pending blocks, to disk.
func (j *Journal) writeNew(path string) (f disk.File, size int64, err error) {
	if f, err = j.files.Open(path); err != nil {
		return nil, 0, err
	}
	if err := f.Truncate(0); err != nil { // a crash may have left one
		return f, 0, err
	}
	write := func(b []byte) error {
		_, err := f.WriteAt(b, size)
		size += int64(len(b))
		return err
	}
	if err := write([]byte(magic)); err != nil {
		return f, 0, err
	}
	for _, hash := range j.order {
		b, err := encode(kindBlock, j.pending[hash])
		if err != nil {
			return f, 0, err
		}
		if err := write(b); err != nil {
			return f, 0, err
		}
	}
	return f, size, f.Sync()
}

// Pending are the blocks that are not settled, oldest first.
func (j *Journal) Pending() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	entries := make([]Entry, 0, len(j.order))
	for _, hash := range j.order {
		entries = append(entries, j.pending[hash])
	}
	return entries
}

// Close closes the file. It does not lose anything: all is on disk already.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
