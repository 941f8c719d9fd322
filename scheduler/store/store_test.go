package store

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const hash = "00000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStateSurvives(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := open(t, dir)
	if b, err := s.Load(); b != nil || err != nil {
		t.Fatalf("new folder: %q, %v", b, err)
	}
	for _, state := range []string{"one", "two, and longer", "3"} {
		if err := s.Save([]byte(state)); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Load(); string(b) != state || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	s.Close()
	if b, err := open(t, dir).Load(); string(b) != "3" || err != nil {
		t.Fatalf("after opening again: %q, %v", b, err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.Save([]byte("key")); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveBlock(hash, []byte("block")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{s.StatePath(), filepath.Join(s.dir, blocksDir, hash)} {
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
	s := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	s.Close()
	open(t, dir)
}

func TestLockEndsWithItsProcess(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_DIR"); dir != "" {
		if _, err := Open(dir); err != nil {
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
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("while it lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	open(t, dir)
}

func TestEmptyStateIsNotTakenForANewOne(t *testing.T) {
	s := open(t, t.TempDir())
	if err := os.WriteFile(s.StatePath(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Load(); err == nil {
		t.Fatalf("%q", b)
	}
}

func TestLeftoversOfACrashAreSwept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Save([]byte("state")); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveBlock(hash, []byte("block")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	leftovers := []string{filepath.Join(dir, ".state.json123"), filepath.Join(dir, blocksDir, "."+hash+"77")}
	for _, name := range leftovers {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir)
	for _, name := range leftovers {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if b, err := s.Load(); string(b) != "state" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := s.LoadBlock(hash); string(b) != "block" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestFailedSaveKeepsTheOldState(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root writes anywhere; a folder in the way does for everybody.
		t.Log("running as root: the failure is made by a folder in place of the file")
	}
	s := open(t, t.TempDir())
	if err := os.MkdirAll(filepath.Join(s.StatePath(), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Save([]byte("new")); err == nil {
		t.Fatal("no error")
	}
	names, err := filepath.Glob(filepath.Join(s.dir, ".state*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left over: %v, %v", names, err)
	}
}

func TestBlocks(t *testing.T) {
	s := open(t, t.TempDir())
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
