package share_test

import (
	"encoding/binary"
	"math"
	"testing"

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

func TestSeen(t *testing.T) {
	var s share.Seen
	for i := range uint32(1000) {
		var h chainhash.Hash
		binary.LittleEndian.PutUint32(h[3:], i)
		if !s.Add(&h) {
			t.Fatalf("%d is not new", i)
		}
		if s.Add(&h) {
			t.Fatalf("%d is new again", i)
		}
	}
	if s.Len() != 1000 {
		t.Errorf("%d hashes", s.Len())
	}
}
