package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"lode/disk/faulty"
)

const faultDir = "/state"

func noUpgrade([]byte) (map[string][]byte, error) {
	return nil, errors.New("there is nothing to upgrade")
}

func same(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

func merge(a, changes map[string][]byte) map[string][]byte {
	b := maps.Clone(a)
	if b == nil {
		b = make(map[string][]byte)
	}
	for k, v := range changes {
		if v == nil {
			delete(b, k)
		} else {
			b[k] = v
		}
	}
	return b
}

// TestPromises: whatever calls of the disk fail, and wherever the power is cut, what
// Apply called stored is there, and what is there is a state of some moment.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := faulty.New(func(n int) int { return rapid.IntRange(0, n).Draw(t, "part") })
		sick := false
		d.Fail = func(call string) error {
			if !sick {
				return nil
			}
			return rapid.SampledFrom([]error{nil, nil, nil, nil, syscall.ENOSPC, syscall.EIO}).Draw(t, call)
		}
		var promised map[string][]byte     // what Apply called stored
		var perhaps []map[string][]byte    // what failed attempts may have left
		pending := make(map[string][]byte) // what is to be stored
		check := func(s *Store) {
			values, _ := s.Load()
			if same(values, promised) || slices.ContainsFunc(perhaps, func(p map[string][]byte) bool { return same(values, p) }) {
				promised, perhaps = values, nil
				return
			}
			t.Fatalf("stored is %q, promised %q or one of %d states", values, promised, len(perhaps))
		}
		reopen := func() *Store {
			s, err := open(d, faultDir, noUpgrade)
			for range 3 { // the operator tries again
				if err == nil {
					break
				}
				s, err = open(d, faultDir, noUpgrade)
			}
			if err != nil {
				sick = false
				if s, err = open(d, faultDir, noUpgrade); err != nil {
					t.Fatal(err)
				}
			}
			check(s)
			return s
		}
		s := reopen()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				sick = !sick
			case 1:
				d.Crash()
				clear(pending)
				s = reopen()
			case 2: // kill -9
				clear(pending)
				s = reopen()
			case 3:
				s.shorten = 0 // as if it were long
			default:
				for range rapid.IntRange(1, 3).Draw(t, "changes") {
					key := fmt.Sprint("task/", rapid.IntRange(0, 5).Draw(t, "key"))
					pending[key] = nil
					if n := rapid.IntRange(0, 30).Draw(t, "value"); n > 0 {
						pending[key] = []byte(strings.Repeat("x", n))
					}
				}
				wanted := merge(promised, pending)
				if err := s.Apply(maps.Clone(pending)); err != nil {
					perhaps = append(perhaps, wanted)
					break
				}
				promised, perhaps = wanted, nil
				clear(pending)
				if now, _ := s.Load(); !same(now, promised) {
					t.Fatalf("state %q after storing %q", now, promised)
				}
			}
		}
		sick = false
		d.Crash()
		reopen()
	})
}

func TestFullDiskIsSurvived(t *testing.T) {
	d := faulty.New(func(n int) int { return n / 2 })
	s, err := open(d, faultDir, noUpgrade)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(map[string][]byte{"head": []byte("1")}); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"write", "sync", "truncate", "syncDir"} {
		d.Fail = func(c string) error {
			if c == call || call == "truncate" && c == "write" {
				return syscall.ENOSPC
			}
			return nil
		}
		s.renamed = true
		if err := s.Apply(map[string][]byte{"a": []byte(strings.Repeat("long", 100))}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", call, err)
		}
		if err := s.Apply(map[string][]byte{"a": []byte(call)}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s, again: %v", call, err)
		}
		d.Fail = func(string) error { return nil }
		if err := s.Apply(map[string][]byte{"a": []byte(call), "b": []byte("later")}); err != nil {
			t.Errorf("%s: with room again: %v", call, err)
		}
		d.Crash()
		if s, err = open(d, faultDir, noUpgrade); err != nil {
			t.Fatal(err)
		}
		if v, _ := s.Load(); string(v["a"]) != call || string(v["b"]) != "later" {
			t.Errorf("%s: %q", call, v)
		}
		if n := s.Cut(); n != 0 {
			t.Errorf("%s: %d bytes of a failed attempt were left", call, n)
		}
	}
}

func TestBlockIsThereAsAWholeOrNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := faulty.New(func(n int) int { return rapid.IntRange(0, n).Draw(t, "part") })
		s, err := open(d, faultDir, noUpgrade)
		if err != nil {
			t.Fatal(err)
		}
		d.Fail = func(call string) error {
			return rapid.SampledFrom([]error{nil, nil, nil, syscall.ENOSPC}).Draw(t, call)
		}
		err = s.SaveBlock(hash, []byte("a whole block"))
		d.Fail = func(string) error { return nil }
		d.Crash()
		b, _ := s.LoadBlock(hash)
		if b != nil && string(b) != "a whole block" || b == nil && err == nil {
			t.Fatalf("the block is %q after %v", b, err)
		}
	})
}
