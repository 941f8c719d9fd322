package template

import (
	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum/merkle"
)

// commitmentPrefix starts the script of a witness commitment output (BIP 141):
// OP_RETURN, a push of 36 bytes, aa21a9ed.
const (
	commitmentPrefix = "\x6a\x24\xaa\x21\xa9\xed"
	commitmentSize   = len(commitmentPrefix) + chainhash.HashSize
)

func commitmentScript(commitment chainhash.Hash) []byte {
	return append([]byte(commitmentPrefix), commitment[:]...)
}

// branch is the merkle branch of the coinbase: the hashes it is joined with on the
// way to the root. Levels of odd length repeat their last element.
func branch(txs []Transaction) []chainhash.Hash {
	level := make([]chainhash.Hash, 1, len(txs)+1) // element 0 is the coinbase's place
	for i := range txs {
		level = append(level, txs[i].TxID)
	}
	var steps []chainhash.Hash
	for len(level) > 1 {
		steps = append(steps, level[1])
		level = merkle.Parents(level)
	}
	return steps
}

// witnessCommitment is the commitment (BIP 141) to a block with these transactions,
// for a reserved value of zeros.
func witnessCommitment(txs []Transaction) chainhash.Hash {
	level := make([]chainhash.Hash, 1, len(txs)+1) // the coinbase counts as zeros
	for i := range txs {
		level = append(level, txs[i].WTxID())
	}
	for len(level) > 1 {
		level = merkle.Parents(level)
	}
	return merkle.Fold(level[0], make([]chainhash.Hash, 1))
}
