package space_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/pool/space"
)

func TestExhaustion(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s, err := space.New([]byte{7}, 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var last space.Lease
	for range 256 {
		l, err := s.Take(now, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Extranonce) != 2 || l.Extranonce[0] != 7 || seen[string(l.Extranonce)] {
			t.Fatalf("extranonce %x", l.Extranonce)
		}
		seen[string(l.Extranonce)] = true
		last = l
	}
	if _, err := s.Take(now, ""); !errors.Is(err, space.ErrFull) {
		t.Fatalf("the 257th: %v", err)
	}
	if _, err := s.Take(now, last.ID); !errors.Is(err, space.ErrFull) {
		t.Fatalf("a session in use was resumed: %v", err)
	}
	s.Release(now, last.ID)
	if _, err := s.Take(now.Add(59*time.Second), ""); !errors.Is(err, space.ErrFull) {
		t.Fatalf("a lease was given away before its time: %v", err)
	}
	if l, err := s.Take(now.Add(59*time.Second), last.ID); err != nil || string(l.Extranonce) != string(last.Extranonce) {
		t.Fatalf("resume: %x %v", l.Extranonce, err)
	}
	s.Release(now.Add(time.Minute), last.ID)
	if l, err := s.Take(now.Add(2*time.Minute), ""); err != nil || l.ID == last.ID {
		t.Fatalf("after the lease: %v", err)
	}
}

func TestSplit(t *testing.T) {
	for size, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 1, 10: 2, 12: 4, 16: 4} {
		if got := space.Split(size); got != want {
			t.Errorf("extranonce2 of %d bytes: prefix of %d, want %d", size, got, want)
		}
	}
}

// TestNoOverlap: no value is ever with two miners, and none is given away while its
// session may come back.
func TestNoOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const hold = time.Minute
		now := time.Unix(1_700_000_000, 0)
		s, err := space.New(nil, 1, hold)
		if err != nil {
			t.Fatal(err)
		}
		live := map[string]space.Lease{}     // by value
		gone := map[string]time.Time{}       // by value, since when
		released := map[string]space.Lease{} // by session
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				l, err := s.Take(now, "")
				if err != nil {
					continue
				}
				value := string(l.Extranonce)
				if _, ok := live[value]; ok {
					t.Fatalf("%x is given twice", value)
				}
				if since, ok := gone[value]; ok && now.Sub(since) < hold {
					t.Fatalf("%x was given away after %v", value, now.Sub(since))
				}
				live[value] = l
				delete(gone, value)
			case 1:
				for value, l := range live {
					s.Release(now, l.ID)
					delete(live, value)
					gone[value] = now
					released[l.ID] = l
					break
				}
			case 2:
				for id, old := range released {
					value := string(old.Extranonce)
					l, err := s.Take(now, id)
					delete(released, id)
					if err != nil {
						break
					}
					if _, ok := live[string(l.Extranonce)]; ok {
						t.Fatalf("%x is given twice", l.Extranonce)
					}
					if since, ok := gone[value]; ok && now.Sub(since) < hold && string(l.Extranonce) != value {
						t.Fatalf("session %s lost its value after %v", id, now.Sub(since))
					}
					live[string(l.Extranonce)] = l
					delete(gone, string(l.Extranonce))
					break
				}
			}
		}
	})
}
