package core

import (
	"bytes"
	"encoding/binary"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/stratum"
)

// easyBits are those of a header that every second hash is good for.
const easyBits = 0x207fffff

// testBlock returns a block that does the work of its bits, which must be little. n
// tells blocks apart; size is about that of the block, in bytes.
func testBlock(n uint64, size int, bits uint32) []byte {
	script := binary.LittleEndian.AppendUint64([]byte{8}, n)
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 0xffffffff}, script, nil))
	tx.AddTxOut(wire.NewTxOut(50e8, bytes.Repeat([]byte{0x51}, max(1, size-150))))
	block := wire.NewMsgBlock(wire.NewBlockHeader(2, &chainhash.Hash{}, &chainhash.Hash{}, bits, 0))
	if err := block.AddTransaction(tx); err != nil {
		panic(err)
	}
	block.Header.MerkleRoot = tx.TxHash()
	target, err := stratum.TargetFromBits(bits)
	if err != nil {
		panic(err)
	}
	for hash := block.BlockHash(); !target.MetBy(&hash); hash = block.BlockHash() {
		block.Header.Nonce++
	}
	var b bytes.Buffer
	if err := block.Serialize(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func hashOf(block []byte) []byte {
	h := chainhash.DoubleHashH(block[:80])
	return h[:]
}
