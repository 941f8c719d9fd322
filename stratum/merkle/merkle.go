// Package merkle hashes what a share commits to: the double SHA-256 of coinbases,
// merkle trees and headers. It is where a pool spends its time: a share with an
// extranonce of its own in a full block takes some 45 runs of SHA-256's compression
// function, nearly all of them for the way from the coinbase to the merkle root.
//
// Make the Roots of a job once with New; Roots.Root is then the merkle root for an
// extranonce, and Double hashes the header. RootsOf and DoubleHeaders do the same for
// several shares in less time. Fold and Parents are steps of a tree.
//
// There is code for the SHA extensions of x86, which hashes one share or two at once,
// and for AVX-512, which hashes sixteen. It is compared with crypto/sha256 when the
// program starts, and crypto/sha256 does the work where it is missing or fails.
package merkle

import (
	"encoding/binary"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

//go:generate go -C ../../_asm run ./merkle -out ../stratum/merkle/merkle_amd64.s

// HeaderSize is that of a block header, bytes.
const HeaderSize = 80

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

// DoubleHeaders writes Double of each header to hashes, which has as many elements. It
// is faster than that many calls.
func DoubleHeaders(scratch *Scratch, headers [][HeaderSize]byte, hashes []chainhash.Hash) {
	hashes = hashes[:len(headers)]
	for len(headers) > 0 {
		n := 1
		switch {
		case wide && len(headers) >= wideLeast:
			n = min(len(headers), lanes)
			wideHeaders(scratch, headers[:n], hashes)
		case accelerated && len(headers) > 1:
			n = 2
			fastHeaders((*[2][HeaderSize]byte)(headers), (*[2]chainhash.Hash)(hashes))
		default:
			hashes[0] = Double(headers[0][:])
		}
		headers, hashes = headers[n:], hashes[n:]
	}
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
	switch {
	case wide:
		done := wideParents(level[:2*n])
		copy(level[done:], fastParents(level[2*done:2*n]))
	case accelerated:
		fastParents(level[:2*n])
	default:
		portableParents(level[:2*n])
	}
	if odd {
		level[n] = Fold(last, []chainhash.Hash{last})
		n++
	}
	return level[:n]
}

// Scratch is room to work in. The zero value is ready; what it has grown to is used
// again, so that nothing is allocated in the long run.
type Scratch struct {
	coinbases []byte
	wide      wideScratch
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

// Root is the merkle root for an extranonce, given in two parts.
func (r *Roots) Root(scratch *Scratch, extranonce1, extranonce2 []byte) (root chainhash.Hash) {
	b := r.appendEnd(scratch.coinbases[:0], extranonce1, extranonce2)
	if accelerated {
		b = pad(b, r.start.whole+len(b))
		fastDigest(&r.start.state, b, &root)
		fastFold(&root, r.branch)
	} else {
		root = portableFold(portableDouble(b), r.branch)
	}
	scratch.coinbases = b
	return root
}

// RootsOf writes the roots for extranonces that have the same first part and second
// parts of one length to roots, which has as many elements. It is faster than that many
// calls of Root.
func (r *Roots) RootsOf(scratch *Scratch, extranonce1 []byte, extranonces2 [][]byte, roots []chainhash.Hash) {
	roots = roots[:len(extranonces2)]
	for len(extranonces2) > 0 {
		n := 1
		switch {
		case wide && len(extranonces2) >= wideLeast:
			n = min(len(extranonces2), lanes)
			size := r.coinbases(scratch, extranonce1, extranonces2[:n])
			wideRoots(scratch, &r.start.state, size, r.branch, roots[:n])
		case accelerated && len(extranonces2) > 1:
			n = 2
			r.coinbases(scratch, extranonce1, extranonces2[:n])
			pair := (*[2]chainhash.Hash)(roots)
			fastDigestPair(&r.start.state, scratch.coinbases, pair)
			fastFoldPair(pair, r.branch)
		default:
			roots[0] = r.Root(scratch, extranonce1, extranonces2[0])
		}
		extranonces2, roots = extranonces2[n:], roots[n:]
	}
}

// coinbases lays out the padded ends of coinbases, and returns the size of each.
func (r *Roots) coinbases(scratch *Scratch, extranonce1 []byte, extranonces2 [][]byte) (size int) {
	b := scratch.coinbases[:0]
	for i, extranonce2 := range extranonces2 {
		b = r.appendEnd(b, extranonce1, extranonce2)
		b = pad(b, r.start.whole+len(b)-i*size)
		if i == 0 {
			size = len(b)
		}
	}
	scratch.coinbases = b
	return size
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
