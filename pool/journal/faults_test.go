package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// faultyDisk is a file system that keeps what a power cut leaves apart from what
// programs see, and fails where it is told to.
type faultyDisk struct {
	names   map[string]*inode // as programs see them
	durable map[string]*inode // as the folder has them on disk
	moves   []func()          // changes of durable that are on their way to the disk
	fail    func(call string) error
	choose  func(n int) int // 0 to n: how much of something happens
}

// inode is a file without a name.
type inode struct {
	data   []byte
	synced []byte
	writes []func(b []byte, part int) []byte // since the last Sync
	sizes  []int
}

func newFaultyDisk(choose func(int) int) *faultyDisk {
	return &faultyDisk{
		names: map[string]*inode{}, durable: map[string]*inode{}, choose: choose,
		fail: func(string) error { return nil },
	}
}

func (d *faultyDisk) makeDir(string) error { return d.fail("makeDir") }

func (d *faultyDisk) open(path string) (file, error) {
	if err := d.fail("open"); err != nil {
		return nil, err
	}
	if d.names[path] == nil {
		n := new(inode)
		d.names[path] = n
		d.moves = append(d.moves, func() { d.durable[path] = n })
	}
	return &handle{disk: d, inode: d.names[path]}, nil
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.fail("rename"); err != nil {
		return err
	}
	n := d.names[from]
	d.names[to] = n
	delete(d.names, from)
	d.moves = append(d.moves, func() {
		d.durable[to] = n
		delete(d.durable, from)
	})
	return nil
}

func (d *faultyDisk) remove(path string) error {
	if err := d.fail("remove"); err != nil {
		return err
	}
	delete(d.names, path)
	d.moves = append(d.moves, func() { delete(d.durable, path) })
	return nil
}

func (d *faultyDisk) syncDir(string) error {
	if err := d.fail("syncDir"); err != nil {
		return err
	}
	for _, move := range d.moves {
		move()
	}
	d.moves = nil
	return nil
}

// crash is a power cut: of what was not synced some reaches the disk.
func (d *faultyDisk) crash() {
	for _, move := range d.moves[:d.choose(len(d.moves))] {
		move()
	}
	d.moves = nil
	d.names = map[string]*inode{}
	for name, n := range d.durable {
		for i, write := range n.writes {
			if d.choose(2) > 0 {
				n.synced = write(n.synced, d.choose(n.sizes[i]))
			}
		}
		n.data, n.writes, n.sizes = bytes.Clone(n.synced), nil, nil
		d.names[name] = n
	}
}

type handle struct {
	disk   *faultyDisk
	inode  *inode
	at     int
	closed bool
}

func (h *handle) Read(p []byte) (int, error) {
	if err := h.disk.fail("read"); err != nil {
		return 0, err
	}
	if h.at >= len(h.inode.data) {
		return 0, io.EOF
	}
	n := copy(p, h.inode.data[h.at:])
	h.at += n
	return n, nil
}

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
	n, err := len(p), h.disk.fail("write")
	if err != nil {
		n = h.disk.choose(len(p)) // a full disk takes what it can
	}
	h.inode.data = put(h.inode.data, n)
	h.inode.writes, h.inode.sizes = append(h.inode.writes, put), append(h.inode.sizes, n)
	return n, err
}

func (h *handle) Truncate(size int64) error {
	if err := h.disk.fail("truncate"); err != nil {
		return err
	}
	cut := func(b []byte, _ int) []byte {
		if int(size) > len(b) {
			return append(b, make([]byte, int(size)-len(b))...)
		}
		return b[:size]
	}
	h.inode.data = cut(h.inode.data, 0)
	h.inode.writes, h.inode.sizes = append(h.inode.writes, cut), append(h.inode.sizes, 0)
	return nil
}

// Sync fails as Linux does: what could not be written is forgotten, and the next Sync
// says that all is well.
func (h *handle) Sync() error {
	err := h.disk.fail("sync")
	if err == nil {
		h.inode.synced = bytes.Clone(h.inode.data)
	}
	h.inode.writes, h.inode.sizes = nil, nil
	return err
}

func (h *handle) Close() error {
	h.closed = true
	return nil
}

const faultPath = "/state/blocks.journal"

func faultEntry(i int) Entry {
	return Entry{
		Hash: fmt.Sprintf("%064x", i), Height: int64(i), Finder: "rig",
		FoundAt: time.Unix(int64(i), 0).UTC(), Raw: bytes.Repeat([]byte{byte(i)}, 20+7*i),
	}
}

// TestPromises: whatever calls fail, and wherever the power is cut, a block that Add (or
// Retry) called durable is there, whole, and one that Settle let go of is not.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newFaultyDisk(func(n int) int { return rapid.IntRange(0, n).Draw(t, "part") })
		faults := []error{nil, nil, nil, nil, nil, nil, syscall.ENOSPC, syscall.EIO}
		sick := false
		d.fail = func(call string) error {
			if !sick {
				return nil
			}
			if err := rapid.SampledFrom(faults).Draw(t, call); err != nil {
				return &faultError{call, err}
			}
			return nil
		}
		j, err := open(d, faultPath)
		if err != nil {
			t.Fatal(err)
		}
		promised, settled, given := map[string]bool{}, map[string]bool{}, map[string]Entry{}
		reopen := func() {
			sick = false
			if j, err = open(d, faultPath); err != nil {
				t.Fatalf("open: %v", err)
			}
			got := map[string]bool{}
			for _, e := range j.Pending() {
				got[e.Hash] = true
				if !reflect.DeepEqual(e, given[e.Hash]) {
					t.Fatalf("block %v, want %v", e, given[e.Hash])
				}
				if settled[e.Hash] {
					t.Fatalf("block %d was settled, and is back", e.Height)
				}
			}
			for hash := range promised {
				if !got[hash] {
					t.Fatalf("block %d was durable, and is lost", given[hash].Height)
				}
			}
			clear(promised)
			for hash := range got { // Open has synced what it read
				promised[hash] = true
			}
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			sick = rapid.Bool().Draw(t, "sick")
			e := faultEntry(rapid.IntRange(1, 8).Draw(t, "block"))
			switch what := rapid.IntRange(0, 7).Draw(t, "what"); what {
			case 0, 1, 2:
				if settled[e.Hash] {
					break // a block is found once
				}
				given[e.Hash] = e
				if isNew, err := j.Add(e); isNew && err == nil {
					promised[e.Hash] = true
				}
			case 3:
				was := given[e.Hash].Hash != ""
				if err := j.Settle(e.Hash); err == nil && was {
					settled[e.Hash] = true
				}
				delete(promised, e.Hash)
			case 4:
				if j.Retry() == nil {
					for _, e := range j.Pending() {
						promised[e.Hash] = true
					}
				}
			case 5, 6:
				d.crash()
				reopen()
			case 7: // a kill: the files are as programs saw them
				_ = j.Close()
				reopen()
			}
		}
		d.crash()
		reopen()
	})
}

type faultError struct {
	call string
	err  error
}

func (e *faultError) Error() string { return e.call + ": " + e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

// TestFullDiskLeavesNoScrap: a record that was written in part is cut off at once, and
// later if that could not be done at once. A journal that no crash tore is never called
// damaged.
func TestFullDiskLeavesNoScrap(t *testing.T) {
	for name, broken := range map[string][]string{
		"write": {"write"}, "sync": {"sync"}, "write, then truncate": {"write", "truncate"}, "sync, then truncate": {"sync", "truncate"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newFaultyDisk(func(n int) int { return n })
			j, err := open(d, faultPath)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.Add(faultEntry(1)); err != nil {
				t.Fatal(err)
			}
			size := len(d.names[faultPath].data)
			d.fail = func(call string) error {
				if len(broken) > 0 && call == broken[0] {
					broken = broken[1:]
					return syscall.ENOSPC
				}
				return nil
			}
			if _, err := j.Add(faultEntry(8)); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Add: %v, want ENOSPC", err)
			}
			if got := len(d.names[faultPath].data); len(name) < 6 && got != size {
				t.Errorf("the file has %d bytes after the record that failed, want %d", got, size)
			}
			if _, err := j.Add(faultEntry(2)); err != nil { // shorter than the one that failed
				t.Fatal(err)
			}
			_ = j.Close()
			if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 2 {
				t.Errorf("pending %v (%v), want 2 blocks", j.Pending(), err)
			}
			if d.names[faultPath+".damaged"] != nil {
				t.Error("it was taken for damaged")
			}
		})
	}
}

// TestLostName: the file that replaced the journal must be the one that is written to,
// though the folder could not be synced; and nothing is promised before it is.
func TestLostName(t *testing.T) {
	d := newFaultyDisk(func(int) int { return 0 })
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	d.fail = func(call string) error {
		if call == "syncDir" {
			return syscall.EIO
		}
		return nil
	}
	if err := j.Retry(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Retry: %v, want EIO", err)
	}
	if _, err := j.Add(faultEntry(1)); !errors.Is(err, syscall.EIO) {
		t.Errorf("Add: %v: the folder does not know the file yet", err)
	}
	d.fail = func(string) error { return nil }
	if _, err := j.Add(faultEntry(2)); err != nil {
		t.Fatal(err)
	}
	d.crash()
	if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 1 {
		t.Errorf("after a crash: %v (%v), want the second block", j.Pending(), err)
	}
}

// TestLeftByAnother: what Open read may not be on disk yet (its writer was killed before
// it was), and is when Open returns. What is left of a rewriting is no part of the next.
func TestLeftByAnother(t *testing.T) {
	d := newFaultyDisk(func(int) int { return 0 })
	data := []byte(magic)
	for i := range 2 {
		b, err := encode(kindBlock, faultEntry(i+1))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	f, _ := d.open(faultPath)
	_, _ = f.WriteAt(data, 0)
	f, _ = d.open(faultPath + ".new")
	_, _ = f.WriteAt(bytes.Repeat(data, 3), 0)
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	d.crash()
	if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 2 {
		t.Fatalf("after a crash: %v (%v), want 2 blocks", j.Pending(), err)
	}
	f, _ = d.open(faultPath + ".new")
	_, _ = f.WriteAt(bytes.Repeat(data, 3), 0)
	if err := j.Retry(); err != nil {
		t.Fatal(err)
	}
	if got := d.names[faultPath].data; !bytes.Equal(got, data) {
		t.Errorf("written anew it has %d bytes, want %d", len(got), len(data))
	}
}

// TestTornTail cuts the file at every byte: all records before the cut survive, and
// the journal takes new ones.
func TestTornTail(t *testing.T) {
	d := newFaultyDisk(func(int) int { return 0 })
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int
	for i := range 3 {
		if _, err := j.Add(faultEntry(i + 1)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(d.names[faultPath].data))
	}
	whole := d.names[faultPath].data
	for cut := range len(whole) {
		survivors := 0
		for _, end := range ends {
			if cut >= end {
				survivors++
			}
		}
		d := newFaultyDisk(func(int) int { return 0 })
		d.names[faultPath] = &inode{data: bytes.Clone(whole[:cut])}
		for range 2 {
			k, err := open(d, faultPath)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if got := len(k.Pending()); got != survivors {
				t.Fatalf("cut at %d: %d blocks, want %d", cut, got, survivors)
			}
			if _, err := k.Add(faultEntry(9)); err != nil {
				t.Fatal(err)
			}
			survivors = len(k.Pending())
		}
	}
}

// TestNewFolders: the folders that Open makes are known to the folders above them.
func TestNewFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := (disk{}).makeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := (disk{}).open(filepath.Join(dir, "f")); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if f, err := (disk{}).open(filepath.Join(dir, "no", "f")); err == nil || f != nil {
		t.Errorf("a file in no folder: %v, %v", f, err)
	}
}
