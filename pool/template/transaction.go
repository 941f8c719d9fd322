package template

import (
	"encoding/binary"
	"math/bits"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum/merkle"
)

// Transaction is one of a Template's transactions.
type Transaction struct {
	TxID chainhash.Hash // internal byte order

	// The complete serialization, of a transaction that a Store keeps; else nil, and:
	raw []byte
	// Hexadecimal digits in the node's reply, known to be such.
	data  []byte // the complete serialization
	wtxid []byte // 64, as people write hashes; nil: the node does not say
}

// minTxSize is that of a transaction without inputs and outputs, bytes.
const minTxSize = 10

// Size is the length of the complete serialization.
func (tx *Transaction) Size() int {
	if tx.raw != nil {
		return len(tx.raw)
	}
	return len(tx.data) / 2
}

// Append appends the complete serialization.
func (tx *Transaction) Append(b []byte) []byte {
	if tx.raw != nil {
		return append(b, tx.raw...)
	}
	digits := tx.data
	for ; len(digits) >= 8; digits = digits[8:] {
		b = binary.LittleEndian.AppendUint32(b, fromHex(binary.LittleEndian.Uint64(digits)))
	}
	for ; len(digits) >= 2; digits = digits[2:] {
		b = append(b, nibble(digits[0])<<4|nibble(digits[1]))
	}
	return b
}

// WTxID is the hash with witness, in internal byte order.
func (tx *Transaction) WTxID() chainhash.Hash {
	switch {
	case tx.wtxid != nil:
		return hashFromHex(tx.wtxid)
	case tx.hasWitness():
		return merkle.Double(tx.Append(nil))
	}
	return tx.TxID
}

// hasWitness looks for marker and flag of BIP 144 after the version.
func (tx *Transaction) hasWitness() bool {
	if tx.raw != nil {
		return tx.raw[4] == 0 && tx.raw[5] == 1
	}
	return string(tx.data[8:12]) == "0001"
}

// hashFromHex reads a hash as people write it, last byte first.
func hashFromHex(digits []byte) (hash chainhash.Hash) {
	for i := range len(hash) / 4 {
		word := fromHex(binary.LittleEndian.Uint64(digits[8*i:]))
		binary.LittleEndian.PutUint32(hash[len(hash)-4*i-4:], bits.ReverseBytes32(word))
	}
	return hash
}

// fromHex decodes eight hexadecimal digits to four bytes; the first of each is the
// lowest byte of its number.
func fromHex(x uint64) uint32 {
	const low, letter = 0x0f0f0f0f0f0f0f0f, 0x0101010101010101
	x = x&low + 9*(x>>6&letter) // letters have bit 6 set, and 1 to 6 in their low half
	x = x<<4 | x>>8
	x &= 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

func nibble(c byte) byte { return c&0x0f + 9*(c>>6&1) }
