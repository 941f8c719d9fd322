package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// files is the file system under a Journal. Tests put one with faults in its place.
type files interface {
	// makeDir makes a folder with its parents; they outlive a crash when it returns.
	makeDir(dir string) error
	// open opens a file for reading and writing, and makes it if need be.
	open(path string) (file, error)
	rename(from, to string) error
	remove(path string) error
	// syncDir makes what was created and renamed in a folder outlive a crash.
	syncDir(dir string) error
}

type file interface {
	io.Reader
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// disk is the operating system's.
type disk struct{}

func (d disk) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return d.syncDir(parent)
}

func (disk) open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err // no *os.File that is nil in an interface that is not
	}
	return f, nil
}

func (disk) rename(from, to string) error { return os.Rename(from, to) }
func (disk) remove(path string) error     { return os.Remove(path) }

func (disk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
