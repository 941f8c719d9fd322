package journal

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/disk/faulty"
)

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
		d := faulty.New(func(n int) int { return rapid.IntRange(0, n).Draw(t, "part") })
		faults := []error{nil, nil, nil, nil, nil, nil, syscall.ENOSPC, syscall.EIO}
		sick := false
		d.Fail = func(call string) error {
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
			switch what := rapid.IntRange(0, 8).Draw(t, "what"); what {
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
				d.Crash()
				reopen()
			case 8: // somebody removes the file: what was promised before is lost with it
				was := sick
				sick = false
				if d.Remove(faultPath) == nil {
					clear(promised)
				}
				sick = was
			case 7: // a kill: the files are as programs saw them
				_ = j.Close()
				reopen()
			}
		}
		d.Crash()
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
			d := faulty.New(func(n int) int { return n })
			j, err := open(d, faultPath)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := j.Add(faultEntry(1)); err != nil {
				t.Fatal(err)
			}
			size := len(d.Bytes(faultPath))
			d.Fail = func(call string) error {
				if len(broken) > 0 && call == broken[0] {
					broken = broken[1:]
					return syscall.ENOSPC
				}
				return nil
			}
			if _, err := j.Add(faultEntry(8)); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Add: %v, want ENOSPC", err)
			}
			if got := len(d.Bytes(faultPath)); len(name) < 6 && got != size {
				t.Errorf("the file has %d bytes after the record that failed, want %d", got, size)
			}
			if _, err := j.Add(faultEntry(2)); err != nil { // shorter than the one that failed
				t.Fatal(err)
			}
			_ = j.Close()
			if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 2 {
				t.Errorf("pending %v (%v), want 2 blocks", j.Pending(), err)
			}
			if d.Bytes(faultPath+".damaged") != nil {
				t.Error("it was taken for damaged")
			}
		})
	}
}

// TestDamagedOnAFullDisk: a damaged journal of which no copy fits on the disk is no reason
// not to mine: it goes on behind what is spoilt, and is put aside when there is room.
func TestDamagedOnAFullDisk(t *testing.T) {
	for _, broken := range []string{"write", "rename", "syncDir of the copy"} {
		t.Run(broken, func(t *testing.T) {
			d := faulty.New(func(n int) int { return n / 2 })
			damagedOn(t, d, faultEntry(1), faultEntry(2), faultEntry(3))
			full := true
			d.Fail = func(call string) error {
				if full && strings.HasPrefix(broken, call) {
					full = broken == "write"
					return syscall.ENOSPC
				}
				return nil
			}
			j, err := open(d, faultPath)
			if err != nil || len(j.Pending()) != 2 || !errors.Is(j.Spoilt().Err, syscall.ENOSPC) {
				t.Fatalf("%v, %+v", err, j)
			}
			full = false
			if _, err := j.Add(faultEntry(9)); err != nil {
				t.Fatal(err)
			}
			d.Crash()
			j, err = open(d, faultPath)
			if err != nil || len(j.Pending()) != 3 || j.Spoilt() == nil || j.Spoilt().Err != nil || j.Spoilt().Kept == "" {
				t.Fatalf("%v, %+v", err, j)
			}
			d.Crash()
			if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 3 || j.Spoilt() != nil {
				t.Fatalf("%v, %+v", err, j)
			}
		})
	}
}

// TestLostName: the file that replaced the journal must be the one that is written to,
// though the folder could not be synced; and nothing is promised before it is.
func TestLostName(t *testing.T) {
	d := faulty.New(func(int) int { return 0 })
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	d.Fail = func(call string) error {
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
	d.Fail = func(string) error { return nil }
	if _, err := j.Add(faultEntry(2)); err != nil {
		t.Fatal(err)
	}
	d.Crash()
	if j, err = open(d, faultPath); err != nil || len(j.Pending()) != 1 {
		t.Errorf("after a crash: %v (%v), want the second block", j.Pending(), err)
	}
}

// TestLeftByAnother: what Open read may not be on disk yet (its writer was killed before
// it was), and is when Open returns. What is left of a rewriting is no part of the next.
func TestLeftByAnother(t *testing.T) {
	d := faulty.New(func(int) int { return 0 })
	data := []byte(magic)
	for i := range 2 {
		b, err := encode(kindBlock, faultEntry(i+1))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	f, _ := d.Open(faultPath)
	_, _ = f.WriteAt(data, 0)
	f, _ = d.Open(faultPath + ".new")
	_, _ = f.WriteAt(bytes.Repeat(data, 3), 0)
	if _, err := open(d, faultPath); err != nil {
		t.Fatal(err)
	}
	d.Crash()
	j, err := open(d, faultPath)
	if err != nil || len(j.Pending()) != 2 {
		t.Fatalf("after a crash: %v (%v), want 2 blocks", j.Pending(), err)
	}
	f, _ = d.Open(faultPath + ".new")
	_, _ = f.WriteAt(bytes.Repeat(data, 3), 0)
	if err := j.Retry(); err != nil {
		t.Fatal(err)
	}
	if got := d.Bytes(faultPath); !bytes.Equal(got, data) {
		t.Errorf("written anew it has %d bytes, want %d", len(got), len(data))
	}
}

// TestTornTail cuts the file at every byte: all records before the cut survive, and
// the journal takes new ones.
func TestTornTail(t *testing.T) {
	d := faulty.New(func(int) int { return 0 })
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int
	for i := range 3 {
		if _, err := j.Add(faultEntry(i + 1)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(d.Bytes(faultPath)))
	}
	whole := d.Bytes(faultPath)
	for cut := range len(whole) {
		survivors := 0
		for _, end := range ends {
			if cut >= end {
				survivors++
			}
		}
		d := faulty.New(func(int) int { return 0 })
		f, _ := d.Open(faultPath)
		_, _ = f.WriteAt(whole[:cut], 0)
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

// TestCopyIsForGood: the copy of a damaged journal outlives a crash, as what took its place does.
func TestCopyIsForGood(t *testing.T) {
	d := faulty.New(func(int) int { return 0 })
	damagedOn(t, d, faultEntry(1), faultEntry(2), faultEntry(3))
	damaged := d.Bytes(faultPath)
	if _, err := open(d, faultPath); err != nil {
		t.Fatal(err)
	}
	d.Crash()
	if got := d.Bytes(faultPath + ".damaged"); !bytes.Equal(got, damaged) {
		t.Errorf("the copy has %d bytes, want %d", len(got), len(damaged))
	}
	if j, err := open(d, faultPath); err != nil || len(j.Pending()) != 2 || j.Spoilt() != nil {
		t.Errorf("%v, %+v", err, j)
	}
}

// journalOn has blocks of the sizes in a journal, and spoils the first of them.
func journalOn(t *testing.T, d *faulty.Disk, sizes ...int) {
	t.Helper()
	var entries []Entry
	for i, size := range sizes {
		e := faultEntry(i + 1)
		e.Raw = make([]byte, size)
		entries = append(entries, e)
	}
	damagedOn(t, d, entries...)
}

// damagedOn has entries in a journal, and spoils the first of them.
func damagedOn(t *testing.T, d *faulty.Disk, entries ...Entry) {
	t.Helper()
	j, err := open(d, faultPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := j.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := d.Open(faultPath)
	_, _ = f.WriteAt([]byte{0xff}, int64(len(magic))+frameSize+20)
	_ = f.Sync()
}

// TestRecordsAfterLongDamage: what follows a spoilt record is found wherever it begins.
func TestRecordsAfterLongDamage(t *testing.T) {
	for past := -200; past < 20; past += 3 {
		d := faulty.New(func(n int) int { return n })
		journalOn(t, d, 1<<20+past, 50, 50)
		if j, err := open(d, faultPath); err != nil || len(j.Pending()) != 2 {
			t.Fatalf("%d bytes past a MB: %v, %d blocks, want 2", past, err, len(j.Pending()))
		}
	}
}

// TestUnreadable: a journal of which a part cannot be read, now, is not taken for one that ends
// there.
func TestUnreadable(t *testing.T) {
	for fails := range 12 {
		d := faulty.New(func(n int) int { return n })
		journalOn(t, d, 1000, 50, 50)
		reads := 0
		d.Fail = func(call string) error {
			if call == "read" {
				if reads++; reads == fails+1 {
					return syscall.EIO
				}
			}
			return nil
		}
		if j, err := open(d, faultPath); err == nil && len(j.Pending()) != 2 {
			t.Errorf("read %d fails: %d blocks, want an error or 2", fails+1, len(j.Pending()))
		}
		d.Fail = func(string) error { return nil }
		if j, err := open(d, faultPath); err != nil || len(j.Pending()) != 2 {
			t.Errorf("after read %d failed: %v", fails+1, err)
		}
	}
}

// TestForeignOnAFullDisk: what is no journal is not overwritten where there is no copy of it.
func TestForeignOnAFullDisk(t *testing.T) {
	const text = "this is the shopping list of somebody"
	d := faulty.New(func(n int) int { return n / 2 })
	f, _ := d.Open(faultPath)
	_, _ = f.WriteAt([]byte(text), 0)
	d.Fail = func(call string) error {
		if call == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	if _, err := open(d, faultPath); !errors.Is(err, syscall.ENOSPC) || string(d.Bytes(faultPath)) != text {
		t.Errorf("%v, and then there is %q", err, d.Bytes(faultPath))
	}
}

// TestSettleFails: a block that could not be settled is pending, and leaves no scrap.
func TestSettleFails(t *testing.T) {
	for _, broken := range []string{"open", "write", "sync", "rename"} {
		d := faulty.New(func(n int) int { return n })
		j, err := open(d, faultPath)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.Add(faultEntry(1)); err != nil {
			t.Fatal(err)
		}
		d.Fail = func(call string) error {
			if call == broken {
				return syscall.ENOSPC
			}
			return nil
		}
		if err := j.Settle(faultEntry(1).Hash); !errors.Is(err, syscall.ENOSPC) || len(j.Pending()) != 1 {
			t.Errorf("%s fails: %v, %d are pending", broken, err, len(j.Pending()))
		}
		if d.Bytes(faultPath+".new") != nil {
			t.Errorf("%s fails: a file is left", broken)
		}
		d.Fail = func(string) error { return nil }
		if err := j.Settle(faultEntry(1).Hash); err != nil || len(j.Pending()) != 0 {
			t.Errorf("%s: then %v", broken, err)
		}
	}
}
