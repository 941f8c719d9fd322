package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxHolder bounds what a holder says of itself, in bytes.
const maxHolder = 1 << 10

// Announce tells those who wait for the folder how to reach who uses it.
func (s *Store) Announce(url string) error {
	err := s.lock.Truncate(0)
	if err == nil {
		_, err = s.lock.WriteAt([]byte(url+"\n"), 0)
	}
	if err != nil {
		return fmt.Errorf("announce the scheduler in its state directory: %w", err)
	}
	return nil
}

// Holder says whether a state folder is in use, and what who uses it announced; "": it
// did not yet. Nothing keeps the folder free after that: Open has the last word.
func Holder(dir string) (held bool, url string, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("look who uses the state directory: %w", err)
	}
	defer lock.Close()
	switch err := flock(lock); {
	case err == nil:
		return false, "", nil // Close unlocks it
	case !errors.Is(err, errWouldBlock):
		return false, "", fmt.Errorf("look who uses the state directory %s: %w", dir, err)
	}
	b := make([]byte, maxHolder)
	n, _ := lock.ReadAt(b, 0) // the end comes early
	line, _, whole := strings.Cut(string(b[:n]), "\n")
	if !whole {
		line = ""
	}
	return true, line, nil
}
