package scheduler_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"slices"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/stratum"
)

// easyBlock returns a block of about size bytes that does the little work that its
// bits ask for.
func easyBlock(size int) (block, hash []byte) {
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 0xffffffff}, []byte("coinbase"), nil))
	for range size / 10_000 {
		tx.AddTxOut(wire.NewTxOut(1, bytes.Repeat([]byte{0x51}, 10_000)))
	}
	b := wire.NewMsgBlock(wire.NewBlockHeader(2, &chainhash.Hash{}, &chainhash.Hash{}, 0x207fffff, 0))
	if err := b.AddTransaction(tx); err != nil {
		panic(err)
	}
	b.Header.MerkleRoot = tx.TxHash()
	target, err := stratum.TargetFromBits(b.Header.Bits)
	if err != nil {
		panic(err)
	}
	h := b.BlockHash()
	for ; !target.MetBy(&h); h = b.BlockHash() {
		b.Header.Nonce++
	}
	var w bytes.Buffer
	if err := b.Serialize(&w); err != nil {
		panic(err)
	}
	return w.Bytes(), h[:]
}

// unpacked is the executor as an agent has it in the end: out of the archive, if it was
// fetched in one.
func unpacked(body []byte) string {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return string(body)
	}
	archive := tar.NewReader(z)
	if _, err := archive.Next(); err != nil {
		return err.Error()
	}
	executor, err := io.ReadAll(archive)
	if err != nil {
		return err.Error()
	}
	return string(executor)
}

// reverseHex is a hash in display order.
func reverseHex(hash []byte) string {
	b := slices.Clone(hash)
	slices.Reverse(b)
	return hex.EncodeToString(b)
}
