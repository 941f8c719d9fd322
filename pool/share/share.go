// Package share holds what judging shares needs beyond the stratum package: a set
// that finds duplicates, and the difficulty of a hash.
package share

import (
	"encoding/binary"
	"math"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Difficulty is the pool difficulty (0xffff·2^208 divided by the hash as a number)
// that a hash in internal byte order reaches, to float64 precision.
func Difficulty(hash *chainhash.Hash) float64 {
	n := 0.0
	for i := 24; i >= 0; i -= 8 {
		n = n*0x1p64 + float64(binary.LittleEndian.Uint64(hash[i:]))
	}
	if n == 0 {
		return math.MaxFloat64
	}
	return 0xffff * 0x1p208 / n
}
