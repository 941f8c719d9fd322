package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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

func TestForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocks.journal")
	if err := os.WriteFile(path, []byte("this is the shopping list of somebody"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(path); err == nil {
		t.Fatal("a foreign file was taken for a journal")
	}
	if data, _ := os.ReadFile(path); !bytes.HasPrefix(data, []byte("this")) {
		t.Error("and was overwritten")
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
