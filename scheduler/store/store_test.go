package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hash = "00000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func openDir(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, noUpgrade)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := openDir(t, dir)
	if v, err := s.Load(); v != nil || err != nil {
		t.Fatalf("new folder: %q, %v", v, err)
	}
	want := make(map[string][]byte)
	for i, changes := range []map[string][]byte{
		{"head": []byte("one"), "task/a": []byte("A"), "task/b": {}},
		{"task/a": nil, "task/c": []byte(strings.Repeat("C", 100_000))},
		{"head": []byte("two"), "task/b": nil, "never there": nil},
		{},
	} {
		if err := s.Apply(changes); err != nil {
			t.Fatal(err)
		}
		want = merge(want, changes)
		if v, err := s.Load(); !same(v, want) || err != nil {
			t.Fatalf("after step %d: %d values, %v", i, len(v), err)
		}
		s.Close()
		s = openDir(t, dir)
		if v, err := s.Load(); !same(v, want) || err != nil {
			t.Fatalf("after step %d, opened again: %d values, %v", i, len(v), err)
		}
	}
}

func TestLogStaysShort(t *testing.T) {
	s := openDir(t, t.TempDir())
	value := []byte(strings.Repeat("x", 100_000))
	longest := int64(0)
	for i := range 500 {
		if err := s.Apply(map[string][]byte{fmt.Sprint("task/", i%3): value}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(s.Path())
		if err != nil || info.Size() != s.size {
			t.Fatalf("%v, %v; want %d bytes", info, err, s.size)
		}
		longest = max(longest, s.size)
	}
	if longest > leastLog+200_000 {
		t.Errorf("the log grew to %d bytes for 300,000", longest)
	}
	dir := s.dir
	s.Close()
	if v, _ := openDir(t, dir).Load(); len(v) != 3 {
		t.Errorf("%d values", len(v))
	}
}

// A log that ends anywhere is the state of some moment; one that is changed anywhere is
// that, too, or is refused.
func TestTornAndDamagedLogs(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	states := []map[string][]byte{}
	state := map[string][]byte{}
	var ends []int64
	for i := range 6 {
		changes := map[string][]byte{fmt.Sprint("task/", i%4): []byte(fmt.Sprint("value ", i))}
		if err := s.Apply(changes); err != nil {
			t.Fatal(err)
		}
		state = merge(state, changes)
		states, ends = append(states, state), append(ends, s.size)
	}
	whole, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	read := func(b []byte) (*Store, error) {
		r := new(Store)
		return r, r.replay(b)
	}
	for n := int(ends[0]); n <= len(whole); n++ {
		last := 0
		for int(last) < len(ends)-1 && int64(n) >= ends[last+1] {
			last++
		}
		r, err := read(whole[:n])
		if err != nil || !same(r.values, states[last]) || r.cut != int64(n)-ends[last] {
			t.Fatalf("cut at byte %d: %q, %v, %d bytes dropped", n, r.values, err, r.cut)
		}
	}
	for at := range whole {
		spoilt := bytes.Clone(whole)
		spoilt[at] ^= 0x10
		r, err := read(spoilt)
		inLast := int64(at) >= ends[len(ends)-2]
		switch {
		case inLast && (err != nil || !same(r.values, states[len(states)-2])):
			t.Fatalf("byte %d of the last record: %q, %v", at, r.values, err)
		case !inLast && err == nil:
			t.Fatalf("byte %d is spoilt, and nobody says so", at)
		}
	}
	if err := os.WriteFile(s.Path(), []byte("lode scheduler state 3\n…"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, noUpgrade); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a state of a version to come: %v", err)
	}
	for _, b := range []string{"", "x", magic, "{\"version\":1}"} {
		if err := os.WriteFile(s.Path(), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, noUpgrade); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), s.Path()) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func TestStateOfAnOlderProgramIsReadOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, oldFile)
	if err := os.WriteFile(old, []byte("old state"), 0o600); err != nil {
		t.Fatal(err)
	}
	upgrade := func(b []byte) (map[string][]byte, error) { return map[string][]byte{"head": b}, nil }
	if _, err := Open(dir, noUpgrade); err == nil {
		t.Fatal("what cannot be read was taken")
	}
	s, err := Open(dir, upgrade)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	v, _ := openDir(t, dir).Load()
	if kept, err := os.ReadFile(filepath.Join(dir, keptFile)); string(v["head"]) != "old state" || string(kept) != "old state" || err != nil {
		t.Errorf("%q, kept %q, %v", v, kept, err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Error("the old state is still in its place")
	}
}

// A crash between the two steps of an upgrade leaves both files.
func TestUpgradeThatACrashInterrupted(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	if err := s.Apply(map[string][]byte{"head": []byte("new")}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, oldFile), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, _ := openDir(t, dir).Load(); string(v["head"]) != "new" {
		t.Errorf("%q", v)
	}
	if _, err := os.Stat(filepath.Join(dir, keptFile)); err != nil {
		t.Error(err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	s := openDir(t, t.TempDir())
	if err := s.Apply(map[string][]byte{"key": nil}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveBlock(hash, []byte("block")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{s.Path(), filepath.Join(s.dir, blocksDir, hash)} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestOneSchedulerAtATime(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	if _, err := Open(dir, noUpgrade); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	s.Close()
	openDir(t, dir)
}

func TestHolder(t *testing.T) {
	dir := t.TempDir()
	look := func(wantHeld bool, wantURL string) {
		t.Helper()
		if held, url, err := Holder(dir); held != wantHeld || url != wantURL || err != nil {
			t.Errorf("%v, %q, %v; want %v, %q", held, url, err, wantHeld, wantURL)
		}
	}
	look(false, "")
	s := openDir(t, dir)
	look(true, "")
	for _, url := range []string{"http://a-long-name.example:8650", "http://b:1"} {
		if err := s.Announce(url); err != nil {
			t.Fatal(err)
		}
		look(true, url)
	}
	if err := s.Announce(strings.Repeat("x", 2*maxHolder)); err != nil {
		t.Fatal(err)
	}
	look(true, "")
	s.Close()
	look(false, "")
	// Looking keeps nobody out.
	stop := make(chan struct{})
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			select {
			case <-stop:
				return
			default:
				_, _, _ = Holder(dir)
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for range 20 {
		openDir(t, dir).Close()
	}
	close(stop)
	<-looked
}

func TestLockEndsWithItsProcess(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_DIR"); dir != "" {
		if _, err := Open(dir, noUpgrade); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		select {} // until killed
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestLockEndsWithItsProcess$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "STORE_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 7)
	if _, err := out.Read(buf); err != nil || !bytes.Equal(buf, []byte("locked\n")) {
		t.Fatalf("%q, %v", buf, err)
	}
	if _, err := Open(dir, noUpgrade); !errors.Is(err, ErrLocked) {
		t.Errorf("while it lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	openDir(t, dir)
}

func TestEmptyStateIsNotTakenForANewOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, oldFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, noUpgrade); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestLeftoversOfACrashAreSwept(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	if err := s.Apply(map[string][]byte{"head": []byte("state")}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveBlock(hash, []byte("block")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	leftovers := []string{filepath.Join(dir, ".state.json123"), filepath.Join(dir, ".state.log.new"), filepath.Join(dir, blocksDir, "."+hash+"77")}
	for _, name := range leftovers {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openDir(t, dir)
	for _, name := range leftovers {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if v, err := s.Load(); string(v["head"]) != "state" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	if b, err := s.LoadBlock(hash); string(b) != "block" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBlocks(t *testing.T) {
	s := openDir(t, t.TempDir())
	if _, err := s.LoadBlock(hash); err == nil {
		t.Error("a block that was never stored")
	}
	if err := s.SaveBlock(hash, []byte("block")); err != nil {
		t.Fatal(err)
	}
	if err := s.DropBlock(hash); err != nil {
		t.Fatal(err)
	}
	if err := s.DropBlock(hash); err != nil {
		t.Errorf("dropped again: %v", err)
	}
	for _, bad := range []string{"", "../state.json", strings.ToUpper(hash), hash + "0"} {
		if err := s.SaveBlock(bad, nil); err == nil {
			t.Errorf("block %q was stored", bad)
		}
		if err := s.DropBlock(bad); err == nil {
			t.Errorf("block %q was dropped", bad)
		}
		if _, err := s.LoadBlock(bad); err == nil {
			t.Errorf("block %q was read", bad)
		}
	}
}

func FuzzReplay(f *testing.F) {
	b, next := appendRecords([]byte(magic), map[string][]byte{"head": []byte("1"), "task/a": []byte("A")}, 0)
	b, _ = appendRecords(b, map[string][]byte{"task/a": nil, "task/b": {}}, next)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := new(Store)
		if r.replay(b) != nil {
			return
		}
		again, _ := appendRecords([]byte(magic), r.values, 0)
		w := new(Store)
		if err := w.replay(again); err != nil || !same(w.values, r.values) {
			t.Errorf("%q, written again: %q, %v", r.values, w.values, err)
		}
	})
}

// Somebody removes the log or its folder under a running scheduler: what is called stored
// then outlives that, with all that was before.
func TestRemoved(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"log":    func(dir string) error { return os.Remove(filepath.Join(dir, logFile)) },
		"folder": os.RemoveAll,
		"moved":  func(dir string) error { return os.Rename(dir, dir+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			s := openDir(t, dir)
			for i := range 3 {
				if i > 0 {
					if err := remove(dir); err != nil {
						t.Fatal(err)
					}
					_ = os.RemoveAll(dir + ".old")
				}
				if err := s.Apply(map[string][]byte{fmt.Sprint(i): []byte("there")}); err != nil {
					t.Fatal(err)
				}
				if values, err := Read(dir); err != nil || len(values) != i+1 {
					t.Errorf("%d values are on disk, want %d (%v)", len(values), i+1, err)
				}
			}
			if err := s.SaveBlock(hash, []byte("block")); err != nil {
				t.Error(err)
			}
		})
	}
}
