// Command avx512 writes the kernels for AVX-512: every register holds one word of
// sixteen hashes, which are sixteen consecutive nonces.
//
// An instruction takes two cycles on some processors that can start four a cycle,
// so several groups of sixteen hashes are under way at once: the streams. The
// program writes the instructions of a stream as a list of pieces, a few dependent
// instructions each, and the pieces of all streams in turn.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/weave"
)

func main() {
	ConstraintExpr("amd64,!purego")
	roundConstants()
	laneConstants()
	rollKernel()
	plainKernel()
	tableKernel()
	pool.Write()
	Generate()
}

// General registers. The streams need them all, so none is left to avo's choice.
var (
	pRecord = reg.RDX // record of the streams in their second hash
	pNext   = reg.R13 // record of the streams in their first hash
	pTable  = reg.RSI // rows of W[t]+K[t], moved on by the loops
	pBuffer = reg.R9  // see the offsets below
	pMask   = reg.R10
	pPool   = reg.R11
	pOut    = reg.RBX
	pK      = reg.RAX // round constants for the loops
	pHalf   = reg.R14 // the half of the ring that a loop writes
	pOther  = reg.R15 // and the other one
	count   = reg.RCX // of the inner loop
	pairs   = reg.R12 // of the outer loop
)

// Offsets in the buffer.
const (
	row       = 64
	ringSize  = 16 * row           // the last 16 message words of a second hash
	bufRing   = 0                  // two of them
	bufState  = 2 * ringSize       // two rings of four a and four e each
	bufResult = bufState + 2*8*row // results of two first hashes, a … h
)

// Vector registers that no stream owns: temporaries of one piece.
var t0, t1, t2, t3 = reg.Z28, reg.Z29, reg.Z30, reg.Z31

type piece = weave.Piece

// ahead is how far every other stream is ahead, in halves of a piece. Measured on
// Zen 5, cycles a hash with 0, 2, 4, 5 and 6: 41.4, 41.3, 41.0, 40.9, 41.0
// (rolled) and 52.0, 52.0, 51.3, 51.0, 51.0 (fixed).
const ahead = 5

// pool holds words that instructions broadcast to all lanes; pPool points to it.
var pool = data.NewPool("avx512Pool", 1)

// pooled is the address of a word.
func pooled(v uint32) Mem { return Mem{Base: pPool, Disp: pool.Offset(v)} }

// loadPool sets pPool. The pool is written last, so it is named here.
func loadPool() {
	LEAQ(pool.Address(), pPool)
}

var kTable Mem // K[t]

func roundConstants() {
	kTable = data.Words("avx512K", fips180.K[:]...)
}
