// Package store keeps the scheduler's state in a folder, so that it survives kill -9
// and power loss at any moment. The state is values under keys; what changes is
// appended to a log, so that a change costs what it weighs and not what there is.
//
//	state.log    the state, mode 0600: it holds the key of the miners' passwords
//	blocks/HASH  a found block, serialized, until it is deep in the chain
//	lock         locked while a scheduler uses the folder
//
// The log is a line that names its version and records with checksums (see record).
// It is written anew, shorter, when most of it is history. Whatever call of the disk
// fails, what Apply called stored is there; after a failure Apply can be tried again.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"lode/disk"
)

var (
	// ErrLocked says that another scheduler uses the folder.
	ErrLocked = errors.New("state directory is in use by another scheduler")
	// ErrDamaged says that the log is not as it was written.
	ErrDamaged = errors.New("scheduler state is damaged")
)

const (
	logFile   = "state.log"
	lockFile  = "lock"
	blocksDir = "blocks"
	// oldFile is the state of before there was a log, keptFile where it goes.
	oldFile, keptFile = "state.json", "state.json.v1"

	// A log is written anew when it is this long, in bytes, and three quarters of it
	// are history.
	leastLog = 4 << 20
)

// Store is an open state folder. It is not safe for concurrent use, but for the
// methods about blocks.
type Store struct {
	disk disk.Disk
	dir  string
	lock *os.File // nil in tests

	values  map[string][]byte // nil: nothing was ever stored
	live    int64             // bytes of values and their keys
	log     disk.File         // nil: there is none yet
	size    int64             // of what is known to be whole
	next    uint64            // number of the next record
	torn    bool              // something may stand behind size
	renamed bool              // the folder may not know the file yet
	shorten int64             // size at which to write it anew
	cut     int64             // bytes of a torn record that Open found
}

// Open makes the folder if there is none, locks it, and reads the state. Close unlocks
// it; so does the end of the process, however it comes. upgrade turns a state.json of
// an older program into values; that file is kept beside.
func Open(dir string, upgrade func([]byte) (map[string][]byte, error)) (*Store, error) {
	if dir == "" {
		return nil, errors.New("no state directory (--state-dir)")
	}
	if err := disk.OS.MakeDir(filepath.Join(dir, blocksDir)); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of state directory: %w", err)
	}
	err = flock(lock)
	for tries := 1; errors.Is(err, errWouldBlock) && tries < 5; tries++ {
		time.Sleep(20 * time.Millisecond) // somebody may just be looking (Holder)
		err = flock(lock)
	}
	if err != nil {
		lock.Close()
		if errors.Is(err, errWouldBlock) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
		}
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	sweep(dir)
	s, err := open(disk.OS, dir, upgrade)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// Read returns the state in a folder that somebody else may be using, as it is at the
// moment; nil: there is none.
func Read(dir string) (map[string][]byte, error) {
	s := &Store{disk: disk.OS, dir: dir}
	b, err := os.ReadFile(s.Path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read scheduler state: %w", err)
	}
	if err := s.replay(b); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path(), err)
	}
	return s.values, nil
}

// sweep deletes what a crash left of files that were being written. Failing to is no
// harm.
func sweep(dir string) {
	for _, pattern := range []string{".*", filepath.Join(blocksDir, ".*")} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, name := range names {
			_ = os.Remove(name)
		}
	}
}

func open(d disk.Disk, dir string, upgrade func([]byte) (map[string][]byte, error)) (*Store, error) {
	s := &Store{disk: d, dir: dir}
	b, err := d.Read(s.Path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.upgrade(upgrade); err != nil {
			return nil, err
		}
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("read scheduler state: %w", err)
	}
	if err := s.replay(b); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path(), err)
	}
	if s.log, err = d.Open(s.Path()); err != nil {
		return nil, fmt.Errorf("open scheduler state: %w", err)
	}
	// The process that wrote this may have ended before it was on disk.
	s.renamed = true
	if err = s.repair(); err == nil {
		err = s.log.Sync()
	}
	if err != nil {
		_ = s.log.Close()
		return nil, fmt.Errorf("repair scheduler state: %w", err)
	}
	s.retire()
	return s, nil
}

// upgrade reads the state of an older program, if there is one.
func (s *Store) upgrade(read func([]byte) (map[string][]byte, error)) error {
	path := filepath.Join(s.dir, oldFile)
	b, err := s.disk.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read scheduler state: %w", err)
	case len(b) == 0:
		// It was never left empty. Taking it for "no state" would start a second
		// framework beside the tasks of the first.
		return fmt.Errorf("%w: %s is empty", ErrDamaged, path)
	}
	values, err := read(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := s.Apply(values); err != nil {
		return err
	}
	s.retire()
	return nil
}

// retire renames the state of an older program once it is of no use any more. If that
// fails, the next Open tries again.
func (s *Store) retire() {
	if s.disk.Rename(filepath.Join(s.dir, oldFile), filepath.Join(s.dir, keptFile)) == nil {
		_ = s.disk.SyncDir(s.dir)
	}
}

// Path is where the state is.
func (s *Store) Path() string { return filepath.Join(s.dir, logFile) }

// Load returns a copy of the state; nil: nothing was ever stored.
func (s *Store) Load() (map[string][]byte, error) { return maps.Clone(s.values), nil }

// Cut is how many bytes at the end of the log Open dropped, because a crash had come
// in the middle of writing them.
func (s *Store) Cut() int64 { return s.cut }

// Apply changes values: all of them or, after an error, as far as anybody can tell,
// none. A nil value deletes its key. When it returns nil the change is on disk. It
// keeps the values.
func (s *Store) Apply(changes map[string][]byte) error {
	if err := s.apply(changes); err != nil {
		return fmt.Errorf("store scheduler state: %w", err)
	}
	if s.size > s.shorten {
		// Failing to is no harm but for the space.
		if s.rewrite() != nil {
			s.shorten = s.size + leastLog
		}
	}
	return nil
}

func (s *Store) apply(changes map[string][]byte) error {
	if s.log == nil {
		values := maps.Clone(changes)
		maps.DeleteFunc(values, func(_ string, v []byte) bool { return v == nil })
		s.values, s.live = values, weight(values)
		err := s.rewrite()
		if s.log == nil {
			s.values, s.live = nil, 0
		}
		return err
	}
	if !s.disk.Leads(s.Path(), s.log) {
		// Somebody has removed the log or its folder: what is written to it would be lost.
		if err := s.disk.MakeDir(filepath.Join(s.dir, blocksDir)); err != nil {
			return err
		}
		if err := s.rewrite(); err != nil {
			return err
		}
	}
	if err := s.repair(); err != nil {
		return err
	}
	b, next := appendRecords(nil, changes, s.next)
	s.torn = true
	if _, err := s.log.WriteAt(b, s.size); err != nil {
		return err
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	s.torn = false
	s.size, s.next = s.size+int64(len(b)), next
	for key, value := range changes {
		s.live += apply(s.values, key, value)
	}
	return nil
}

// repair undoes what a failure may have left.
func (s *Store) repair() error {
	if s.torn {
		if err := s.log.Truncate(s.size); err != nil {
			return err
		}
		s.torn = false
	}
	if s.renamed {
		if err := s.disk.SyncDir(s.dir); err != nil {
			return err
		}
		s.renamed = false
	}
	return nil
}

// apply changes one value and returns by how many bytes all of them grow.
func apply(values map[string][]byte, key string, value []byte) (grown int64) {
	if old, ok := values[key]; ok {
		grown -= int64(len(key) + len(old))
	}
	if value == nil {
		delete(values, key)
		return grown
	}
	values[key] = value
	return grown + int64(len(key)+len(value))
}

func weight(values map[string][]byte) (n int64) {
	for key, value := range values {
		n += int64(len(key) + len(value))
	}
	return n
}

// rewrite puts a log without history in the place of the one that there is.
func (s *Store) rewrite() error {
	b, next := appendRecords([]byte(magic), s.values, 0)
	temporary := filepath.Join(s.dir, "."+logFile+".new")
	f, err := s.disk.Open(temporary)
	if err != nil {
		return err
	}
	if err := write(f, b); err != nil {
		_ = f.Close()
		_ = s.disk.Remove(temporary) // the next Open does it, or else the next rewrite
		return err
	}
	if err := s.disk.Rename(temporary, s.Path()); err != nil {
		_ = f.Close()
		return err
	}
	if s.log != nil {
		_ = s.log.Close() // what it says does not matter any more
	}
	// From here on this is the log; but nothing is stored in it before the folder
	// surely knows it.
	s.log, s.size, s.next, s.torn, s.renamed = f, int64(len(b)), next, false, true
	s.shorten = max(leastLog, 4*s.size)
	return s.repair()
}

func write(f disk.File, b []byte) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	return f.Sync()
}

// Close unlocks the folder.
func (s *Store) Close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func checkHash(hash string) error {
	if !hashPattern.MatchString(hash) {
		return fmt.Errorf("block hash %q is not 64 hex digits", hash)
	}
	return nil
}

func (s *Store) blockPath(hash string) (string, error) {
	if err := checkHash(hash); err != nil {
		return "", err
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
	if err := disk.Replace(s.disk, path, b); err != nil {
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
	b, err := s.disk.Read(path)
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
	if err := s.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete block %s: %w", hash, err)
	}
	return nil
}

func sortedKeys(values map[string][]byte) []string { return slices.Sorted(maps.Keys(values)) }
