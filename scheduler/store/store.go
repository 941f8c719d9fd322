// Package store keeps the scheduler's state in a folder, so that it survives kill -9
// and power loss at any moment. Open locks the folder; Load and Save read and replace
// the state; blocks are files of their own.
//
//	state.json   the state, mode 0600: it holds the key of the miners' passwords
//	blocks/HASH  a found block, serialized, until it is deep in the chain
//	lock         locked while a scheduler uses the folder
//
// A file is replaced by writing a new one, fsync, rename and fsync of the folder.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"
)

// ErrLocked says that another scheduler uses the folder.
var ErrLocked = errors.New("state directory is in use by another scheduler")

// Store is an open state folder.
type Store struct {
	dir  string
	lock *os.File
}

const (
	stateFile = "state.json"
	lockFile  = "lock"
	blocksDir = "blocks"
)

// Open makes the folder if there is none and locks it. Close unlocks it; so does the
// end of the process, however it comes.
func Open(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("no state directory (--state-dir)")
	}
	if err := os.MkdirAll(filepath.Join(dir, blocksDir), 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of state directory: %w", err)
	}
	if err := flock(lock); err != nil {
		lock.Close()
		if errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock}
	s.sweep()
	return s, nil
}

// sweep deletes what a crash left of files that were being written. Failing to is no
// harm.
func (s *Store) sweep() {
	for _, pattern := range []string{"." + stateFile + "*", filepath.Join(blocksDir, ".*")} {
		names, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, name := range names {
			_ = os.Remove(name)
		}
	}
}

// Close unlocks the folder.
func (s *Store) Close() error { return s.lock.Close() }

// Load returns what Save stored last; nil: nothing ever was.
func (s *Store) Load() ([]byte, error) {
	b, err := os.ReadFile(s.StatePath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read scheduler state: %w", err)
	case len(b) == 0:
		// Save never leaves an empty file. Taking it for "no state" would start a
		// second framework beside the tasks of the first.
		return nil, fmt.Errorf("scheduler state %s is empty", s.StatePath())
	}
	return b, nil
}

// StatePath is where the state is.
func (s *Store) StatePath() string { return filepath.Join(s.dir, stateFile) }

// Save replaces the state. When it returns nil the state is on disk.
func (s *Store) Save(b []byte) error {
	if err := write(s.StatePath(), b); err != nil {
		return fmt.Errorf("store scheduler state: %w", err)
	}
	return nil
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (s *Store) blockPath(hash string) (string, error) {
	if !hashPattern.MatchString(hash) {
		return "", fmt.Errorf("block hash %q is not 64 hex digits", hash)
	}
	return filepath.Join(s.dir, blocksDir, hash), nil
}

// SaveBlock stores a serialized block under its hash. When it returns nil the block
// is on disk.
func (s *Store) SaveBlock(hash string, b []byte) error {
	path, err := s.blockPath(hash)
	if err != nil {
		return err
	}
	if err := write(path, b); err != nil {
		return fmt.Errorf("store block %s: %w", hash, err)
	}
	return nil
}

// LoadBlock returns a stored block.
func (s *Store) LoadBlock(hash string) ([]byte, error) {
	path, err := s.blockPath(hash)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read block %s: %w", hash, err)
	}
	return b, nil
}

// DropBlock deletes a stored block; it is no error if there is none.
func (s *Store) DropBlock(hash string) error {
	path, err := s.blockPath(hash)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete block %s: %w", hash, err)
	}
	return nil
}

func write(path string, b []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600), renameio.IgnoreUmask(),
		renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable: until then a power loss may bring the old file back.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
