// Package merkle hashes what a share commits to: the double SHA-256 of coinbases,
// merkle trees and headers. It is where a pool spends its time: a share with an
// extranonce of its own in a full block takes some 45 runs of SHA-256's compression
// function, nearly all of them for the way from the coinbase to the merkle root.
//
// Make the Roots of a job once with New; Roots.Root is then the merkle root for an
// extranonce, and Double hashes the header. Fold and Parents are steps of a tree.
//
// There is code for processors with the SHA extensions of x86. It is compared with
// crypto/sha256 when the program starts, and crypto/sha256 does the work where it is
// missing or fails.
package merkle

import (
	"encoding/binary"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

//go:generate go -C _asm run . -out ../merkle_amd64.s

const (
	blockSize = 64
	// paddingSize is what SHA-256 adds to a message at least: a bit and its length.
	paddingSize = 9
)

// Double is SHA-256 of SHA-256 of a message.
func Double(message []byte) chainhash.Hash {
	if !accelerated {
		return portableDouble(message)
	}
	return fastDouble(message)
}

// DoubleHeaders is Double of two headers, in less time than two calls.
func DoubleHeaders(headers *[2][80]byte) (hashes [2]chainhash.Hash) {
	if !accelerated {
		return [2]chainhash.Hash{portableDouble(headers[0][:]), portableDouble(headers[1][:])}
	}
	var padded [2][2 * blockSize]byte
	for i := range headers {
		pad(append(padded[i][:0], headers[i][:]...), len(headers[i]))
	}
	fastHeaders(&padded, &hashes)
	return hashes
}

// Fold joins a leaf with the hashes of its merkle branch, the sibling of the leaf
// first. All hashes are in internal byte order.
func Fold(leaf chainhash.Hash, branch []chainhash.Hash) chainhash.Hash {
	if !accelerated {
		return portableFold(leaf, branch)
	}
	fastFold(&leaf, branch)
	return leaf
}

// Parents replaces a level of a merkle tree by the one above it, in the same memory; of an odd
// level the last hash is its own sibling. A level of one is the root: it stays.
func Parents(level []chainhash.Hash) []chainhash.Hash {
	if len(level) < 2 {
		return level
	}
	n := len(level) / 2
	odd := len(level)%2 != 0
	last := level[len(level)-1]
	if accelerated {
		fastParents(level[:2*n])
	} else {
		portableParents(level[:2*n])
	}
	if odd {
		level[n] = Fold(last, []chainhash.Hash{last})
		n++
	}
	return level[:n]
}

// Roots makes the merkle roots of one job. It does not change once made.
type Roots struct {
	coinbase1, coinbase2 []byte
	branch               []chainhash.Hash
	start                start
}

// New prepares the roots for a coinbase that consists of coinbase1, an extranonce and
// coinbase2, and for the branch that leads from it to the root. The slices must not be
// changed afterwards.
func New(coinbase1, coinbase2 []byte, branch []chainhash.Hash) *Roots {
	r := &Roots{coinbase1: coinbase1, coinbase2: coinbase2, branch: branch}
	if accelerated {
		r.start.take(coinbase1)
	}
	return r
}

// Root is the merkle root for an extranonce, given in two parts. scratch is room to
// work in; it is returned, perhaps grown, for the next call.
func (r *Roots) Root(scratch, extranonce1, extranonce2 []byte) (root chainhash.Hash, _ []byte) {
	scratch = r.appendEnd(scratch[:0], extranonce1, extranonce2)
	if !accelerated {
		return portableFold(portableDouble(scratch), r.branch), scratch
	}
	scratch = pad(scratch, r.start.whole+len(scratch))
	fastDigest(&r.start.state, scratch, &root)
	fastFold(&root, r.branch)
	return root, scratch
}

// RootPair makes the roots for two extranonces with the same first part, and takes
// less time than two calls of Root. Both second parts must have the same length.
func (r *Roots) RootPair(scratch, extranonce1, extranonce2, other2 []byte) (roots [2]chainhash.Hash, _ []byte) {
	if !accelerated {
		roots[0], scratch = r.Root(scratch, extranonce1, extranonce2)
		roots[1], scratch = r.Root(scratch, extranonce1, other2)
		return roots, scratch
	}
	scratch = r.appendEnd(scratch[:0], extranonce1, extranonce2)
	scratch = pad(scratch, r.start.whole+len(scratch))
	size := len(scratch)
	scratch = r.appendEnd(scratch, extranonce1, other2)
	scratch = pad(scratch, r.start.whole+len(scratch)-size)
	fastDigestPair(&r.start.state, scratch, &roots)
	fastFoldPair(&roots, r.branch)
	return roots, scratch
}

// appendEnd appends what the start has not hashed of a coinbase.
func (r *Roots) appendEnd(b, extranonce1, extranonce2 []byte) []byte {
	b = append(b, r.coinbase1[r.start.whole:]...)
	b = append(b, extranonce1...)
	b = append(b, extranonce2...)
	return append(b, r.coinbase2...)
}

// pad completes the last block of a message of length bytes, of which b is the end.
// b itself must begin with a block.
func pad(b []byte, length int) []byte {
	var padding [2 * blockSize]byte // no more than that
	padding[0] = 0x80
	n := blockSize - len(b)%blockSize
	if n < paddingSize {
		n += blockSize
	}
	binary.BigEndian.PutUint64(padding[n-8:], uint64(length)*8)
	return append(b, padding[:n]...)
}
