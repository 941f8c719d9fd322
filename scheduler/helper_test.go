package scheduler_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

func doubleSHA(b []byte) []byte {
	first := sha256.Sum256(b)
	second := sha256.Sum256(first[:])
	return second[:]
}

// reverseHex is a hash in display order.
func reverseHex(hash []byte) string {
	b := slices.Clone(hash)
	slices.Reverse(b)
	return hex.EncodeToString(b)
}
