package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"lode/disk"
	"lode/disk/faulty"
)

// The folders that MakeDir makes are known to the folders above them.
func TestNewFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := disk.OS.MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := disk.OS.Open(filepath.Join(dir, "f")); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if f, err := disk.OS.Open(filepath.Join(dir, "no", "f")); err == nil || f != nil {
		t.Errorf("a file in no folder: %v, %v", f, err)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	for _, text := range []string{"long enough", "short", ""} {
		if err := disk.Replace(disk.OS, path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); string(b) != text || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("%v", names)
	}
}

// Each call fails in turn: there is the old content or the new one, and the new one
// for good once Replace says so.
func TestReplaceOnASickDisk(t *testing.T) {
	sick := errors.New("sick")
	for fails := range 10 {
		for part := range 3 {
			d := faulty.New(func(n int) int { return n * part / 2 })
			if err := disk.Replace(d, "/x", []byte("old")); err != nil {
				t.Fatal(err)
			}
			calls := 0
			d.Fail = func(string) error {
				if calls++; calls > fails {
					return sick
				}
				return nil
			}
			err := disk.Replace(d, "/x", []byte("new content"))
			d.Crash()
			got := string(d.Bytes("/x"))
			if got != "new content" && (err == nil || got != "old") {
				t.Errorf("%d calls go well: %q after %v", fails, got, err)
			}
		}
	}
}

// A file that could not be replaced leaves nothing beside it.
func TestReplaceLeavesNothing(t *testing.T) {
	for _, broken := range []string{"write", "sync", "rename"} {
		d := faulty.New(func(n int) int { return n })
		d.Fail = func(call string) error {
			if call == broken {
				return errors.New("sick")
			}
			return nil
		}
		if err := disk.Replace(d, "/dir/x", []byte("new")); err == nil || d.Bytes("/dir/.x.new") != nil {
			t.Errorf("%s: %v, and %q is left", broken, err, d.Bytes("/dir/.x.new"))
		}
	}
}
