// Package journal keeps found blocks on disk until they are deep in the chain.
//
// Open replays what is there. Add makes a block durable before it returns: call it
// before anything else is done with the block. Settle notes that a block needs no
// more care; the file shrinks when all its blocks are settled.
package journal

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// The file is a magic line and records: length of the body and CRC-32C of the body,
// 4 bytes little-endian each, then the body. The body is a kind byte followed by a
// JSON header with its length (4 bytes) before it, then the raw block.
const (
	magic     = "lode journal 1\n"
	frameSize = 8
	// maxBody bounds a record: the largest block is 4 MB of weight.
	maxBody = 8 << 20
)

const (
	kindBlock   = 1
	kindSettled = 2
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
}

// Journal is the file of found blocks.
type Journal struct {
	path string

	mu      sync.Mutex // guards the rest
	file    *os.File   // nil after Close
	size    int64      // of what is known to be whole
	pending map[string]Entry
	order   []string // hashes of pending, oldest first
	settled int      // records in the file that are history
}

// ErrClosed is the use of a closed Journal.
var ErrClosed = errors.New("the journal is closed")

// Open reads the journal at path, or begins one. A tail that a crash tore is cut
// off; damage before the tail is kept aside in path.damaged and reported, and what
// follows it is read as far as it can be.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open block journal: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open block journal: %w", err)
	}
	j := &Journal{path: path, file: file, pending: make(map[string]Entry)}
	if err := j.load(); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("open block journal %s: %w", path, err)
	}
	return j, nil
}

func (j *Journal) load() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	whole, damaged, err := j.replay(bufio.NewReaderSize(j.file, 1<<16))
	if err != nil {
		return err
	}
	if damaged || whole != info.Size() {
		// Nothing is thrown away that somebody may want to look at.
		if info.Size() > int64(len(magic)) {
			if err := copyFile(j.path, j.path+".damaged"); err != nil {
				return err
			}
		}
	}
	if damaged || whole < int64(len(magic)) {
		return j.rewrite()
	}
	if whole != info.Size() {
		if err := j.file.Truncate(whole); err != nil {
			return err
		}
		if err := j.file.Sync(); err != nil {
			return err
		}
	}
	j.size = whole
	_, err = j.file.Seek(whole, io.SeekStart)
	return err
}

// replay reads records into pending. whole is the end of the last sound record;
// damaged tells that records follow a spoilt one.
func (j *Journal) replay(r io.Reader) (whole int64, damaged bool, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 0, false, err
	}
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		if len(data) >= len(magic) {
			return 0, false, errors.New("not a block journal of this version: move the file away")
		}
		return 0, false, nil
	}
	whole = int64(len(magic))
	for at := len(magic); at < len(data); {
		body, size := record(data[at:])
		if size > 0 && j.apply(body) {
			at += size
			if !damaged {
				whole = int64(at)
			}
			continue
		}
		// Look for the next sound record: if there is one, this was no torn tail.
		next := nextRecord(data[at+1:])
		if next < 0 {
			break
		}
		damaged = true
		at += 1 + next
	}
	return whole, damaged, nil
}

// record returns the body of the record that data begins with, and the record's
// size, 0 if there is no whole and sound one.
func record(data []byte) (body []byte, size int) {
	if len(data) < frameSize {
		return nil, 0
	}
	length := binary.LittleEndian.Uint32(data)
	if length == 0 || length > maxBody || int(length) > len(data)-frameSize {
		return nil, 0
	}
	body = data[frameSize : frameSize+int(length)]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, 0
	}
	return body, frameSize + int(length)
}

func nextRecord(data []byte) int {
	for at := range data {
		if _, size := record(data[at:]); size > 0 {
			return at
		}
	}
	return -1
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// apply takes over a sound record; false if it makes no sense.
func (j *Journal) apply(body []byte) bool {
	kind, header, raw, ok := splitBody(body)
	if !ok {
		return false
	}
	var e Entry
	if json.Unmarshal(header, &e) != nil || e.Hash == "" {
		return false
	}
	switch kind {
	case kindBlock:
		if _, known := j.pending[e.Hash]; !known {
			e.Raw = append([]byte(nil), raw...)
			j.pending[e.Hash] = e
			j.order = append(j.order, e.Hash)
		}
	case kindSettled:
		j.forget(e.Hash)
		j.settled++
	default:
		return false
	}
	return true
}

func splitBody(body []byte) (kind byte, header, raw []byte, ok bool) {
	if len(body) < 5 {
		return 0, nil, nil, false
	}
	length := binary.LittleEndian.Uint32(body[1:])
	if int64(length) > int64(len(body)-5) {
		return 0, nil, nil, false
	}
	return body[0], body[5 : 5+length], body[5+length:], true
}

func encode(kind byte, e Entry) ([]byte, error) {
	header, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	b := make([]byte, frameSize, frameSize+5+len(header)+len(e.Raw))
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	if kind == kindBlock {
		b = append(b, e.Raw...)
	}
	body := b[frameSize:]
	if len(body) > maxBody {
		return nil, fmt.Errorf("record of %d bytes, at most %d", len(body), maxBody)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(body)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(body, castagnoli()))
	return b, nil
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
	if err := j.append(kindBlock, e); err != nil {
		return true, fmt.Errorf("journal block %s at height %d: %w", e.Hash, e.Height, err)
	}
	return true, nil
}

// append writes and syncs a record. A record that was written in part is cut off, so
// that later records stay readable.
func (j *Journal) append(kind byte, e Entry) error {
	if j.file == nil {
		return ErrClosed
	}
	b, err := encode(kind, e)
	if err != nil {
		return err
	}
	_, err = j.file.WriteAt(b, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		_ = j.file.Truncate(j.size)
		return err
	}
	j.size += int64(len(b))
	return nil
}

// Settle notes that the block needs no more care.
func (j *Journal) Settle(hash string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, known := j.pending[hash]; !known {
		return nil
	}
	j.forget(hash)
	j.settled++
	if len(j.pending) == 0 || j.settled > 1000 {
		if err := j.rewrite(); err != nil {
			return fmt.Errorf("shrink block journal: %w", err)
		}
		return nil
	}
	if err := j.append(kindSettled, Entry{Hash: hash}); err != nil {
		return fmt.Errorf("settle block %s in the journal: %w", hash, err)
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

// rewrite replaces the file by one with the pending blocks alone.
func (j *Journal) rewrite() error {
	if j.file == nil {
		return ErrClosed
	}
	t, err := renameio.NewPendingFile(j.path, renameio.WithPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = t.Cleanup() }()
	size := int64(len(magic))
	if _, err := t.WriteString(magic); err != nil {
		return err
	}
	for _, hash := range j.order {
		b, err := encode(kindBlock, j.pending[hash])
		if err != nil {
			return err
		}
		if _, err := t.Write(b); err != nil {
			return err
		}
		size += int64(len(b))
	}
	if err := t.CloseAtomicallyReplace(); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		return err
	}
	file, err := os.OpenFile(j.path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	_ = j.file.Close()
	j.file, j.size, j.settled = file, size, 0
	return nil
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

// syncDir makes a rename in the folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return renameio.WriteFile(to, data, 0o600)
}
