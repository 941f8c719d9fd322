// Package faulty is a file system in memory for tests. It keeps what a power cut
// leaves apart from what programs see, and fails where it is told to.
package faulty

import (
	"bytes"
	"fmt"
	"io/fs"

	"lode/disk"
)

// Disk is the file system.
type Disk struct {
	// Fail decides whether a call fails: "makeDir", "open", "read", "rename", "remove",
	// "syncDir", "write", "truncate", "sync".
	Fail func(call string) error
	// Choose returns a number from 0 to n: how much of something happens.
	Choose func(n int) int

	names   map[string]*inode // as programs see them
	durable map[string]*inode // as the folders have them on disk
	moves   []func()          // changes of durable that are on their way to the disk
}

// inode is a file without a name.
type inode struct {
	data   []byte
	synced []byte
	writes []write // since the last Sync
}

// write changes the first part bytes of what it is about, of size.
type write struct {
	apply func(b []byte, part int) []byte
	size  int
}

// New makes an empty file system without faults.
func New(choose func(n int) int) *Disk {
	return &Disk{
		names: make(map[string]*inode), durable: make(map[string]*inode), Choose: choose,
		Fail: func(string) error { return nil },
	}
}

// MakeDir implements disk.Disk.
func (d *Disk) MakeDir(string) error { return d.Fail("makeDir") }

// Open implements disk.Disk.
func (d *Disk) Open(path string) (disk.File, error) {
	if err := d.Fail("open"); err != nil {
		return nil, err
	}
	if d.names[path] == nil {
		n := new(inode)
		d.names[path] = n
		d.moves = append(d.moves, func() { d.durable[path] = n })
	}
	return &handle{disk: d, inode: d.names[path]}, nil
}

// Read implements disk.Disk.
func (d *Disk) Read(path string) ([]byte, error) {
	if err := d.Fail("read"); err != nil {
		return nil, err
	}
	n := d.names[path]
	if n == nil {
		return nil, fmt.Errorf("read %s: %w", path, fs.ErrNotExist)
	}
	return bytes.Clone(n.data), nil
}

// Rename implements disk.Disk.
func (d *Disk) Rename(from, to string) error {
	if err := d.Fail("rename"); err != nil {
		return err
	}
	n := d.names[from]
	if n == nil {
		return fmt.Errorf("rename %s: %w", from, fs.ErrNotExist)
	}
	d.names[to] = n
	delete(d.names, from)
	d.moves = append(d.moves, func() {
		d.durable[to] = n
		delete(d.durable, from)
	})
	return nil
}

// Remove implements disk.Disk.
func (d *Disk) Remove(path string) error {
	if err := d.Fail("remove"); err != nil {
		return err
	}
	if d.names[path] == nil {
		return fmt.Errorf("remove %s: %w", path, fs.ErrNotExist)
	}
	delete(d.names, path)
	d.moves = append(d.moves, func() { delete(d.durable, path) })
	return nil
}

// SyncDir implements disk.Disk.
func (d *Disk) SyncDir(string) error {
	if err := d.Fail("syncDir"); err != nil {
		return err
	}
	for _, move := range d.moves {
		move()
	}
	d.moves = nil
	return nil
}

// Leads implements disk.Disk.
func (d *Disk) Leads(path string, f disk.File) bool {
	h, ok := f.(*handle)
	return ok && d.names[path] == h.inode
}

// Bytes is what programs see in a file, whatever fails; nil: there is none.
func (d *Disk) Bytes(path string) []byte {
	n := d.names[path]
	if n == nil {
		return nil
	}
	return append([]byte{}, n.data...)
}

// Crash is a power cut: of what was not synced some reaches the disk.
func (d *Disk) Crash() {
	for _, move := range d.moves[:d.Choose(len(d.moves))] {
		move()
	}
	d.moves = nil
	d.names = make(map[string]*inode)
	for name, n := range d.durable {
		for _, w := range n.writes {
			if d.Choose(2) > 0 {
				n.synced = w.apply(n.synced, d.Choose(w.size))
			}
		}
		n.data, n.writes = bytes.Clone(n.synced), nil
		d.names[name] = n
	}
}

type handle struct {
	disk   *Disk
	inode  *inode
	closed bool
}

// Size implements disk.File.
func (h *handle) Size() (int64, error) { return int64(len(h.inode.data)), nil }

// ReadAt implements io.ReaderAt.
func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.disk.Fail("read"); err != nil {
		return 0, err
	}
	return bytes.NewReader(h.inode.data).ReadAt(p, off)
}

// WriteAt implements io.WriterAt.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	if h.closed {
		panic("a write to a closed file")
	}
	p = bytes.Clone(p)
	put := func(b []byte, part int) []byte {
		if end := int(off) + part; end > len(b) {
			b = append(b, make([]byte, end-len(b))...)
		}
		copy(b[off:], p[:part])
		return b
	}
	n, err := len(p), h.disk.Fail("write")
	if err != nil {
		n = h.disk.Choose(len(p)) // a full disk takes what it can
	}
	h.inode.data = put(h.inode.data, n)
	h.inode.writes = append(h.inode.writes, write{put, n})
	return n, err
}

// Truncate implements disk.File.
func (h *handle) Truncate(size int64) error {
	if err := h.disk.Fail("truncate"); err != nil {
		return err
	}
	cut := func(b []byte, _ int) []byte {
		if int(size) > len(b) {
			return append(b, make([]byte, int(size)-len(b))...)
		}
		return b[:size]
	}
	h.inode.data = cut(h.inode.data, 0)
	h.inode.writes = append(h.inode.writes, write{cut, 0})
	return nil
}

// Sync fails as on Linux: what could not be written is forgotten, and the next Sync
// says that all is well.
func (h *handle) Sync() error {
	err := h.disk.Fail("sync")
	if err == nil {
		h.inode.synced = bytes.Clone(h.inode.data)
	}
	h.inode.writes = nil
	return err
}

// Close implements io.Closer.
func (h *handle) Close() error {
	h.closed = true
	return nil
}
