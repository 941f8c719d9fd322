package stratum

import (
	"math"
	"math/big"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"pgregory.net/rapid"
)

func TestTargetFromBits(t *testing.T) {
	for _, c := range []struct {
		bits       uint32
		target     string // "": an error
		difficulty float64
	}{
		{0x1d00ffff, "00000000ffff0000000000000000000000000000000000000000000000000000", 1},
		{0x207fffff, "7fffff0000000000000000000000000000000000000000000000000000000000", 4.6565423739069247e-10},
		{0x1a44b9f2, "00000000000044b9f20000000000000000000000000000000000000000000000", 244112.48777433642},
		{0x170355f0, "0000000000000000000355f00000000000000000000000000000000000000000", 84381461788831.344},
		{0x1d00dcad, "00000000dcad0000000000000000000000000000000000000000000000000000", 1.1600552280813552},
		{0x03000001, "0000000000000000000000000000000000000000000000000000000000000001", 0xffff * math.Pow(2, 208)},
		{0x02000100, "0000000000000000000000000000000000000000000000000000000000000001", 0xffff * math.Pow(2, 208)},
		{0x1d000000, "", 0},
		{0x00ffffff, "", 0},
		{0x1d80ffff, "", 0},
		{0x01000100, "", 0},
		{0x02000001, "", 0},
		{0x23000001, "", 0},
		{0xff7fffff, "", 0},
	} {
		target, err := TargetFromBits(c.bits)
		switch {
		case err != nil && c.target != "":
			t.Errorf("%08x: %v", c.bits, err)
		case err == nil && target.String() != c.target:
			t.Errorf("%08x: target %v, want %q", c.bits, target, c.target)
		case err == nil && float64(target.Difficulty()) != c.difficulty:
			t.Errorf("%08x: difficulty %v, want %v", c.bits, target.Difficulty(), c.difficulty)
		}
	}
}

func TestDifficultyTarget(t *testing.T) {
	for _, c := range []struct {
		difficulty Difficulty
		target     string
	}{
		{1, "00000000ffff0000000000000000000000000000000000000000000000000000"},
		{2, "000000007fff8000000000000000000000000000000000000000000000000000"},
		{512, "00000000007fff80000000000000000000000000000000000000000000000000"},
		{16384, "000000000003fffc000000000000000000000000000000000000000000000000"},
		{0.001, "000003e7fc17fffffffa2405dc00000008c9f735fffffff2d10d2f00000013c6"},
		{4.6565423739069247e-10, "7ffffefffffffffe03fe07f607f607fde825b88d48f4d93d27e77376b9eafbc0"},
		{1.0 / (1 << 32), "ffff000000000000000000000000000000000000000000000000000000000000"},
		{1.0 / (1 << 33), MaxTarget.String()},
		{1e-300, MaxTarget.String()},
		{5e-324, MaxTarget.String()},
		{1e67, "0000000000000000000000000000000000000000000000000000000000000002"},
		{1e300, Target{}.String()},
		{0, Target{}.String()},
		{-1, Target{}.String()},
		{Difficulty(math.NaN()), Target{}.String()},
		{Difficulty(math.Inf(1)), Target{}.String()},
	} {
		if got := c.difficulty.Target().String(); got != c.target {
			t.Errorf("%v: target %s, want %s", c.difficulty, got, c.target)
		}
	}
	if got := Difficulty(1).LooseTarget().String(); got != "0000000100000000000000000000000000000000000000000000000000000000" {
		t.Errorf("loose target of 1: %s", got)
	}
}

func TestDifficultyValid(t *testing.T) {
	for _, d := range []Difficulty{1, 1e-300, 5e-324, 1e67} {
		if !d.Valid() {
			t.Errorf("%v should be valid", d)
		}
	}
	for _, d := range []Difficulty{0, -1, 1e68, 1e300, Difficulty(math.NaN()), Difficulty(math.Inf(1)), Difficulty(math.Inf(-1))} {
		if d.Valid() {
			t.Errorf("%v should not be valid", d)
		}
	}
}

// The target of a difficulty is the exact quotient, rounded down.
func TestDifficultyTargetIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Difficulty(math.Pow(10, rapid.Float64Range(-9, 60).Draw(t, "log10")))
		exact := new(big.Rat).Quo(new(big.Rat).SetInt(targetOne), new(big.Rat).SetFloat64(float64(d)))
		want := new(big.Int).Quo(exact.Num(), exact.Denom())
		if want.Cmp(maxInt) > 0 {
			want = maxInt
		}
		target := d.Target()
		if got := new(big.Int).SetBytes(target[:]); got.Cmp(want) != 0 {
			t.Fatalf("%v: %x, want %x", d, got, want)
		}
		if loose := d.LooseTarget(); new(big.Int).SetBytes(loose[:]).Cmp(want) < 0 {
			t.Fatalf("%v: loose target %v is below %x", d, loose, want)
		}
		if back := target.Difficulty(); d < 1e40 && d > 1e-9 && math.Abs(float64(back/d)-1) > 1e-14 {
			t.Fatalf("%v comes back as %v", d, back)
		}
	})
}

func TestMetBy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var target Target
		var hash chainhash.Hash
		copy(target[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "target"))
		copy(hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		if rapid.Bool().Draw(t, "near") {
			hash = reverse32(target)
			hash[rapid.IntRange(0, 31).Draw(t, "at")] += byte(rapid.IntRange(-1, 1).Draw(t, "by"))
		}
		number := reverse32(hash)
		want := new(big.Int).SetBytes(number[:]).Cmp(new(big.Int).SetBytes(target[:])) <= 0
		if got := target.MetBy(&hash); got != want {
			t.Fatalf("%v met by %v: %v", target, hash, got)
		}
	})
}

func TestAppendDifficulty(t *testing.T) {
	for d, want := range map[Difficulty]string{
		1: "1", 512: "512", 0.5: "0.5", 1e-7: "0.0000001", 4.6565423739069247e-10: "0.00000000046565423739069247",
		1e-20: "1e-20", 1e9: "1000000000", 1e21: "1e+21",
	} {
		if got := string(appendDifficulty(nil, d)); got != want {
			t.Errorf("%v is written %s, want %s", float64(d), got, want)
		}
	}
}
