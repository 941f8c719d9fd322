package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/pool/journal"
)

func entry(i int) journal.Entry {
	return journal.Entry{
		Hash: fmt.Sprintf("%064x", i), Height: int64(i), Finder: fmt.Sprintf("rig.%d", i),
		FoundAt: time.Date(2026, 1, 2, 3, 4, i%60, 0, time.UTC), Raw: bytes.Repeat([]byte{byte(i)}, 80+i),
	}
}

func open(t testing.TB, path string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestReplay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "blocks.journal")
	j := open(t, path)
	var want []journal.Entry
	for i := range 5 {
		e := entry(i + 1)
		if isNew, err := j.Add(e); !isNew || err != nil {
			t.Fatalf("add: %v %v", isNew, err)
		}
		want = append(want, e)
	}
	if isNew, err := j.Add(want[2]); isNew || err != nil {
		t.Errorf("add again: %v %v", isNew, err)
	}
	if err := j.Settle(want[1].Hash); err != nil {
		t.Fatal(err)
	}
	want = append(want[:1], want[2:]...)
	// No Close: a killed process does not.
	if got := open(t, path).Pending(); !reflect.DeepEqual(got, want) {
		t.Errorf("replayed %v, want %v", got, want)
	}
	for _, e := range want {
		if err := j.Settle(e.Hash); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 100 {
		t.Errorf("a journal without pending blocks has %v bytes (%v)", info.Size(), err)
	}
	if got := open(t, path).Pending(); len(got) != 0 {
		t.Errorf("settled blocks came back: %v", got)
	}
}

// TestDamage spoils one byte in the middle: the other records survive, and the file
// is kept for inspection.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	j := open(t, path)
	for i := range 3 {
		if _, err := j.Add(entry(i + 1)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := len(open(t, path).Pending()); got != 2 {
		t.Errorf("%d blocks, want 2", got)
	}
	if kept, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("damaged file was not kept: %v", err)
	}
}

// TestSpoiltBeginning: whatever stands where the journal should be, it is put aside, and
// what can be read of it is read. The journal of a newer program is not touched.
func TestSpoiltBeginning(t *testing.T) {
	whole := func() []byte {
		path := filepath.Join(t.TempDir(), "blocks.journal")
		j := open(t, path)
		for i := range 2 {
			if _, err := j.Add(entry(i + 1)); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	spoil := func(from, to int) []byte {
		b := bytes.Clone(whole)
		for i := from; i < to; i++ {
			b[i] ^= 0x5a
		}
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want int // blocks; -1: it is refused
	}{
		"one bit of the first byte": {spoil(0, 1), 2},
		"the first line":            {spoil(0, 15), 2},
		"into the first record":     {spoil(0, 60), 1},
		"all of it":                 {spoil(0, len(whole)), 0},
		"zeros":                     {make([]byte, len(whole)), 0},
		"another's":                 {[]byte("this is the shopping list of somebody"), 0},
		"a newer one":               {append([]byte("lode journal 2\n"), whole[15:]...), -1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "blocks.journal")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			j, err := journal.Open(path)
			if c.want < 0 {
				if now, _ := os.ReadFile(path); err == nil || !bytes.Equal(now, c.data) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = j.Close() })
			if got := len(j.Pending()); got != c.want {
				t.Errorf("%d blocks, want %d", got, c.want)
			}
			s := j.Spoilt()
			if s == nil || s.Tail || s.Err != nil {
				t.Fatalf("it was not told: %+v", s)
			}
			if kept, err := os.ReadFile(s.Kept); err != nil || !bytes.Equal(kept, c.data) {
				t.Errorf("it was not kept: %v", err)
			}
			if _, err := j.Add(entry(7)); err != nil {
				t.Fatal(err)
			}
			again := open(t, path)
			if got := len(again.Pending()); got != c.want+1 || again.Spoilt() != nil {
				t.Errorf("then %d blocks (%+v)", got, again.Spoilt())
			}
		})
	}
}

// TestCopiesAreKept: what was kept aside is not lost with the next damage.
func TestCopiesAreKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "blocks.journal")
	for i := range 12 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "no journal at all, of day %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = open(t, path).Close()
	}
	kept, _ := filepath.Glob(path + ".damaged*")
	if len(kept) != 9 {
		t.Errorf("kept: %v", kept)
	}
	if b, err := os.ReadFile(path + ".damaged"); !strings.HasSuffix(string(b), "day 0") {
		t.Errorf("the first one is %q (%v)", b, err)
	}
}

// TestRemoved: somebody removes the file, or its folder, under a running proxy. What is
// called durable then outlives that.
func TestRemoved(t *testing.T) {
	for name, remove := range map[string]func(dir, path string) error{
		"the file":       func(_, path string) error { return os.Remove(path) },
		"the folder":     func(dir, _ string) error { return os.RemoveAll(dir) },
		"both moved":     func(dir, _ string) error { return os.Rename(dir, dir+".old") },
		"another's file": func(_, path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		for what, do := range map[string]func(j *journal.Journal) error{
			"add":    func(j *journal.Journal) error { _, err := j.Add(entry(3)); return err },
			"settle": func(j *journal.Journal) error { return j.Settle(entry(2).Hash) },
			"keep":   (*journal.Journal).Keep,
		} {
			t.Run(name+", then "+what, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "state")
				path := filepath.Join(dir, "blocks.journal")
				j := open(t, path)
				for i := range 2 {
					if _, err := j.Add(entry(i + 1)); err != nil {
						t.Fatal(err)
					}
				}
				if err := remove(dir, path); err != nil {
					t.Fatal(err)
				}
				if err := do(j); err != nil {
					t.Fatal(err)
				}
				want := j.Pending()
				if got := open(t, path).Pending(); !reflect.DeepEqual(got, want) {
					t.Errorf("%d blocks are on disk, want %d", len(got), len(want))
				}
			})
		}
	}
}

// TestLongHistory: blocks of 4 MB that are long settled do not fill the disk.
func TestLongHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	j := open(t, path)
	great := func(i int) journal.Entry {
		e := entry(i)
		e.Raw = bytes.Repeat([]byte{byte(i)}, 4<<20)
		return e
	}
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	most := int64(0)
	if _, err := j.Add(great(0)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 40; i++ {
		if _, err := j.Add(great(i)); err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(great(i - 1).Hash); err != nil {
			t.Fatal(err)
		}
		most = max(most, size())
	}
	if most > 50<<20 {
		t.Errorf("the file had %d MB", most>>20)
	}
	if got := open(t, path).Pending(); len(got) != 1 || got[0].Hash != great(39).Hash {
		t.Errorf("%d blocks are pending", len(got))
	}
}

// TestLargeBlocks: a chain with blocks larger than Bitcoin's has a journal, too.
func TestLargeBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	j := open(t, path)
	large := entry(1)
	large.Raw = bytes.Repeat([]byte{7}, 13<<20)
	for _, e := range []journal.Entry{large, entry(2)} {
		if _, err := j.Add(e); err != nil {
			t.Error(err)
		}
	}
	if err := j.Retry(); err != nil {
		t.Error(err)
	}
	if got := open(t, path).Pending(); len(got) != 2 || len(got[0].Raw) != len(large.Raw) {
		t.Errorf("%d blocks", len(got))
	}
}

// TestWriteFails closes the file under the journal: the block is not durable, but it is
// pending.
func TestWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	j := open(t, path)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	isNew, err := j.Add(entry(1))
	if !isNew || !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Add: %v %v, want new and an error", isNew, err)
	}
	if len(j.Pending()) != 1 {
		t.Error("the block is not pending")
	}
}

// TestModel compares a journal, reopened at random, with a plain list.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "lode-journal-")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		path := filepath.Join(dir, "j")
		j, err := journal.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var model []journal.Entry
		known := map[string]bool{}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			e := entry(rapid.IntRange(1, 12).Draw(t, "block"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if _, err := j.Add(e); err != nil {
					t.Fatal(err)
				}
				if !known[e.Hash] {
					known[e.Hash] = true
					model = append(model, e)
				}
			case 2:
				if err := j.Settle(e.Hash); err != nil {
					t.Fatal(err)
				}
				for i := range model {
					if model[i].Hash == e.Hash {
						model = append(model[:i:i], model[i+1:]...)
						break
					}
				}
				delete(known, e.Hash)
			case 3:
				_ = j.Close()
				if j, err = journal.Open(path); err != nil {
					t.Fatal(err)
				}
			}
			if got := j.Pending(); len(got) != len(model) || len(model) > 0 && !reflect.DeepEqual(got, model) {
				t.Fatalf("pending %v, want %v", got, model)
			}
		}
		_ = j.Close()
	})
}

// TestHistoryIsBounded: a block that is never settled does not have the file grow without
// end by those that come and go beside it.
func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	j := open(t, path)
	if _, err := j.Add(entry(1)); err != nil {
		t.Fatal(err)
	}
	one, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	for i := range 1300 {
		e := entry(2 + i%100)
		if _, err := j.Add(e); err != nil {
			t.Fatal(err)
		}
		if err := j.Settle(e.Hash); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, info.Size())
	}
	// A thousand blocks, and a record for each that it is settled.
	if most > 1010*3*one.Size() {
		t.Errorf("the file had up to %d bytes, that with one block has %d", most, one.Size())
	}
	if got := open(t, path).Pending(); len(got) != 1 || got[0].Height != 1 {
		t.Errorf("pending %v, want the first block", got)
	}
}
