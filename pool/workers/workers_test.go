package workers_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lode/pool/workers"
)

func TestList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "workers")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# the farm\nrig1 s3cret\nfarm.* other # all of it\nguest\nodd pass#word #no\nodd second\n\n")
	var faults []error
	l, err := workers.Open(path, func(err error) { faults = append(faults, err) })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, password string
		want           error
	}{
		{"rig1", "s3cret", nil},
		{"rig1", "", workers.ErrPassword},
		{"rig1", "S3cret", workers.ErrPassword},
		{"farm.7", "other", nil},
		{"farm.", "other", nil},
		{"farm", "other", workers.ErrUnknown},
		{"farm.7", "x", workers.ErrPassword},
		{"guest", "anything", nil},
		{"odd", "pass#word", nil},
		{"odd", "second", nil},
		{"odd", "pass", workers.ErrPassword},
		{"farm.", "", workers.ErrPassword},
		{"rig1", "s3cret#", workers.ErrPassword},
		{"", "", workers.ErrUnknown},
		{"rig2", "s3cret", workers.ErrUnknown},
		{"#", "", workers.ErrUnknown},
	} {
		if err := l.Authorize(c.user, c.password); !errors.Is(err, c.want) {
			t.Errorf("%q %q: %v, want %v", c.user, c.password, err, c.want)
		}
	}
	// A faulty new version leaves the old one in force; a good one replaces it.
	until := func(met func() bool) {
		for end := time.Now().Add(30 * time.Second); !met(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the file is not read again")
			}
		}
	}
	write("a b c d\n")
	until(func() bool { _ = l.Authorize("x", ""); return len(faults) == 1 })
	if err := l.Authorize("rig1", "s3cret"); err != nil {
		t.Errorf("after a faulty version: %v", err)
	}
	write("rig9 new\n")
	until(func() bool { return l.Authorize("rig9", "new") == nil })
	if err := l.Authorize("rig1", "s3cret"); !errors.Is(err, workers.ErrUnknown) {
		t.Errorf("a removed worker: %v", err)
	}
}

func TestNoFile(t *testing.T) {
	if _, err := workers.Open(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("no error")
	}
}

// TestReplaced: another file in the place of one that is as long and as old is another.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "workers"), filepath.Join(dir, "other")
	when := time.Now().Add(-time.Hour)
	for file, text := range map[string]string{path: "a 1\n", other: "b 1\n"} {
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := workers.Open(path, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); l.Authorize("b", "1") != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the file is not read again")
		}
	}
}
