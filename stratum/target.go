package stratum

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Difficulty is a pool difficulty: 1 is the target 0xffff·2^208, the target of
// nbits 0x1d00ffff. Twice the difficulty is half the target. A share of
// difficulty D takes D·2^32 hashes on average.
type Difficulty float64

// Target is a 256-bit number, big-endian: a hash is a share if it is not above it.
type Target [32]byte

// MaxTarget is met by every hash.
var MaxTarget = Target(bytes.Repeat([]byte{0xff}, 32))

var (
	// targetOne is 0xffff·2^208, the target of difficulty 1.
	targetOne = new(big.Int).Lsh(big.NewInt(0xffff), 208)
	// looseOne is 2^224, which some miners (cpuminer-opt, bfgminer) divide instead.
	looseOne = new(big.Int).Lsh(big.NewInt(1), 224)
	maxInt   = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
)

// maxDifficulty is the first difficulty whose target has no bit left.
const maxDifficulty = Difficulty(1 << 112 * (1 << 112)) // 2^224

// Valid reports whether d is finite, above 0 and below 2^224.
func (d Difficulty) Valid() bool { return d > 0 && d < maxDifficulty }

// Target is 0xffff·2^208 / d, rounded down, at most 2^256-1. The division is
// exact: d is taken as the binary fraction that it is. A d that is not Valid has
// the zero target, which no hash meets.
func (d Difficulty) Target() Target { return d.divide(targetOne) }

// LooseTarget is 2^224 / d: the target of miners that round the target of
// difficulty 1 up. It is larger than Target by the factor 1.0000153; a server that
// judges by it never refuses their shares as too easy.
func (d Difficulty) LooseTarget() Target { return d.divide(looseOne) }

func (d Difficulty) divide(one *big.Int) Target {
	if !d.Valid() {
		return Target{}
	}
	// d = mantissa · 2^exponent with an integer mantissa of 53 bits, or fewer.
	fraction, exponent := math.Frexp(float64(d))
	mantissa := big.NewInt(int64(fraction * (1 << 53)))
	exponent -= 53
	numerator := one
	if exponent < 0 {
		numerator = new(big.Int).Lsh(one, uint(-exponent))
	} else {
		mantissa.Lsh(mantissa, uint(exponent))
	}
	return targetFromInt(new(big.Int).Quo(numerator, mantissa))
}

func targetFromInt(n *big.Int) Target {
	var t Target
	if n.Cmp(maxInt) > 0 {
		return MaxTarget
	}
	n.FillBytes(t[:])
	return t
}

// Difficulty is 0xffff·2^208 / t as the nearest float64; +Inf for the zero target.
func (t Target) Difficulty() Difficulty {
	n := new(big.Int).SetBytes(t[:])
	if n.Sign() == 0 {
		return Difficulty(math.Inf(1))
	}
	f, _ := new(big.Rat).SetFrac(targetOne, n).Float64()
	return Difficulty(f)
}

// HashDifficulty is the difficulty of the hardest target that hash (internal byte
// order) meets.
func HashDifficulty(hash chainhash.Hash) Difficulty {
	return Target(reverse32(hash)).Difficulty()
}

// MetBy reports whether hash (internal byte order), read as a number, is not
// above t.
func (t *Target) MetBy(hash *chainhash.Hash) bool {
	for i := range t {
		if h := hash[31-i]; h != t[i] {
			return h < t[i]
		}
	}
	return true
}

// String is t in hexadecimal, most significant digit first.
func (t Target) String() string { return hex.EncodeToString(t[:]) }

// TargetFromBits expands the compact form of header field nbits. Negative, zero
// and overflowing values are errors.
func TargetFromBits(bits uint32) (Target, error) {
	var t Target
	exponent, mantissa := int(bits>>24), bits&0x7fffff
	if bits&0x800000 != 0 && mantissa != 0 {
		return t, fmt.Errorf("nbits %08x is negative", bits)
	}
	n := big.NewInt(int64(mantissa))
	if exponent <= 3 {
		n.Rsh(n, uint(8*(3-exponent)))
	} else {
		n.Lsh(n, uint(8*(exponent-3)))
	}
	switch {
	case n.Sign() == 0:
		return t, fmt.Errorf("nbits %08x is zero", bits)
	case n.Cmp(maxInt) > 0:
		return t, fmt.Errorf("nbits %08x is above 2^256", bits)
	}
	return targetFromInt(n), nil
}

func reverse32(b [32]byte) [32]byte {
	for i := range 16 {
		b[i], b[31-i] = b[31-i], b[i]
	}
	return b
}
