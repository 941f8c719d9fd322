package share_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"

	"lode/pool/share"
	"lode/stratum"
)

func TestDifficulty(t *testing.T) {
	for text, want := range map[string]float64{
		"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f": 2536.4262984453103,
		"000000006f27ddfe1dd680044a34548f41bed47eba9e6f0b310da21423bc5f33": 2.3030399894112277,
		"00004ab978371b91262b50df9b32276b57ce75bc970e10c9d679625222b07908": 5.227456707361418e-05,
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": 0x1p-32 * 0xffff / 0x10000,
	} {
		hash, err := chainhash.NewHashFromStr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := share.Difficulty(hash); math.Abs(got/want-1) > 1e-12 {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if d := share.Difficulty(new(chainhash.Hash)); d < 1e300 {
		t.Errorf("difficulty of zero: %g", d)
	}
}

// TestDifficultyExact compares with the exact arithmetic of stratum.
func TestDifficultyExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hash chainhash.Hash
		n := rapid.IntRange(1, 32).Draw(t, "bytes")
		copy(hash[:n], rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "hash"))
		hash[0] |= 1
		got, want := share.Difficulty(&hash), float64(stratum.HashDifficulty(hash))
		if math.Abs(got/want-1) > 1e-14 {
			t.Fatalf("%v: %v, want %v", hash, got, want)
		}
	})
}

// numbered is a hash that looks like work.
func numbered(n uint32) *chainhash.Hash {
	var h chainhash.Hash
	binary.LittleEndian.PutUint32(h[3:], n)
	return &h
}

// TestSeen: no share counts twice within Memory, or while its tip does; and then it is
// forgotten.
func TestSeen(t *testing.T) {
	const grace = 5 * time.Second
	now := time.Unix(1_700_000_000, 0)
	s := share.NewSeen(grace)
	once := func(from, to uint32, tip uint64, want bool) {
		t.Helper()
		for n := from; n < to; n++ {
			if s.Add(now, tip, numbered(n)) != want {
				t.Fatalf("share %d is new: want %v", n, want)
			}
		}
	}
	once(0, 1000, 1, true)
	once(0, 1000, 1, false)
	now = now.Add(share.Memory - 1)
	once(0, 1000, 1, false)
	once(1000, 1100, 1, true)
	now = now.Add(share.Memory - 2)
	once(1000, 1100, 1, false)
	// Another tip: shares of the one before are known for as long as they count.
	now = now.Add(grace)
	once(1100, 1200, 2, true)
	once(1100, 1200, 2, false)
	now = now.Add(grace - 1)
	once(1200, 1201, 3, true)
	once(1100, 1200, 2, false)
	for tip := uint64(4); tip < 10; tip++ {
		now = now.Add(time.Hour)
		once(10000*uint32(tip), 10000*uint32(tip)+5000, tip, true)
		if n := s.Len(); n > 11_000 {
			t.Errorf("%d shares are remembered", n)
		}
	}
	now = now.Add(time.Hour)
	once(2_000_000, 2_000_001, 10, true)
	now = now.Add(time.Hour)
	once(0, 1, 11, true)
	if n := s.Len(); n != 2 {
		t.Errorf("%d shares are remembered, want 2", n)
	}
}

// TestSeenIsForgotten: on one tip too nothing is remembered for more than twice Memory.
func TestSeenIsForgotten(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := share.NewSeen(0)
	s.Add(now, 1, numbered(0))
	for n := uint32(1); n <= 20; n++ {
		now = now.Add(share.Memory / 10)
		s.Add(now, 1, numbered(n))
	}
	if n := s.Len(); n > 20 || !s.Add(now, 1, numbered(0)) {
		t.Errorf("%d shares are remembered after twice the time, the first among them", n)
	}
}

// TestSeenForgetsTips: where blocks come fast, what was found for the tip before the last is
// forgotten, though shares of the tip before come late.
func TestSeenForgetsTips(t *testing.T) {
	const grace = 5 * time.Second
	now := time.Unix(1_700_000_000, 0)
	s := share.NewSeen(grace)
	for tip := uint64(1); tip <= 30; tip++ {
		for n := range uint32(1000) {
			now = now.Add(10 * time.Millisecond)
			of := tip
			if n%10 == 0 {
				of--
			}
			s.Add(now, of, numbered(1000*uint32(tip)+n))
		}
	}
	if n := s.Len(); n > 3000 {
		t.Errorf("%d shares are remembered, 1000 for each tip", n)
	}
}

// TestSeenProperties compares with a list of all that was found.
func TestSeenProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_700_000_000, 0)
		grace := time.Duration(rapid.IntRange(0, 100).Draw(t, "grace")) * time.Second
		s := share.NewSeen(grace)
		type found struct {
			at  time.Time
			tip uint64
		}
		last := map[uint32]found{}
		changed := []time.Time{{}} // when each tip came
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second)
			if rapid.IntRange(0, 5).Draw(t, "block") == 0 {
				changed = append(changed, now)
			}
			tip := uint64(len(changed) - 1)
			n := rapid.Uint32Range(0, 50).Draw(t, "share")
			isNew := s.Add(now, tip, numbered(n))
			was, known := last[n]
			// Its job may still be there if it was sent within Memory, and its tip counts.
			counts := known && now.Sub(was.at) < share.Memory && (was.tip == tip || now.Sub(changed[was.tip+1]) < grace)
			if counts && isNew {
				t.Fatalf("share %d of %v ago counts again", n, now.Sub(was.at))
			}
			if !known && !isNew {
				t.Fatalf("share %d is no duplicate", n)
			}
			if isNew {
				last[n] = found{now, tip}
			}
		}
	})
}
