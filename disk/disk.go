// Package disk is the few calls of a file system that durable things are made of. Code
// that promises to survive crashes and sick disks takes a Disk, so that its tests can
// put one with faults in its place (package disk/faulty).
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Disk is a file system.
type Disk interface {
	// MakeDir makes a folder with its parents; they outlive a crash when it returns.
	MakeDir(dir string) error
	// Open opens a file for reading and writing, and makes it if need be. Only its
	// owner may read it.
	Open(path string) (File, error)
	// Read returns what is in a file.
	Read(path string) ([]byte, error)
	Rename(from, to string) error
	Remove(path string) error
	// Leads says whether a name still leads to an open file: somebody may have removed the
	// file, or its folder, or put another one there. What is written to it then is lost.
	Leads(path string, f File) bool
	// SyncDir makes what was created, renamed and removed in a folder outlive a crash.
	SyncDir(dir string) error
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
}

// OS is the operating system's file system.
var OS Disk = system{}

type system struct{}

func (d system) MakeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := d.MakeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return d.SyncDir(parent)
}

func (system) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err // no file that is nil in an interface that is not
	}
	return file{f}, nil
}

type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (system) Read(path string) ([]byte, error) { return os.ReadFile(path) }
func (system) Rename(from, to string) error     { return os.Rename(from, to) }
func (system) Remove(path string) error         { return os.Remove(path) }

func (system) Leads(path string, f File) bool {
	opened, ok := f.(file)
	return ok && Leads(path, opened.File)
}

// Leads says whether a name still leads to an open file; yes where nobody can tell: the next
// write will.
func Leads(path string, f *os.File) bool {
	there, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	info, err := f.Stat()
	return err != nil || os.SameFile(there, info)
}

func (system) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Replace puts b in the place of a file, so that at any time, and after a crash at any
// time, there is the old content or the new one. When it returns nil the new one is
// there for good.
func Replace(d Disk, path string, b []byte) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	f, err := d.Open(temporary)
	if err != nil {
		return err
	}
	err = func() error {
		if err := f.Truncate(0); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			return err
		}
		return f.Sync()
	}()
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(temporary, path)
	}
	if err != nil {
		_ = d.Remove(temporary) // it may be in the way of nothing
		return err
	}
	return d.SyncDir(filepath.Dir(path))
}
