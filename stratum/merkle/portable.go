package merkle

import (
	"crypto/sha256"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

func portableDouble(message []byte) chainhash.Hash {
	first := sha256.Sum256(message)
	return sha256.Sum256(first[:])
}

func portableFold(leaf chainhash.Hash, branch []chainhash.Hash) chainhash.Hash {
	var pair [2 * chainhash.HashSize]byte
	for i := range branch {
		copy(pair[:], leaf[:])
		copy(pair[chainhash.HashSize:], branch[i][:])
		leaf = portableDouble(pair[:])
	}
	return leaf
}

func portableParents(level []chainhash.Hash) {
	for i := range len(level) / 2 {
		level[i] = portableFold(level[2*i], level[2*i+1:2*i+2])
	}
}
