// Command avx2 writes the kernels for AVX2: every register holds one word of eight
// hashes, which are eight consecutive nonces.
//
// There are sixteen registers, no rotation and no logic of three operands. One
// stream fills the execution units: each round has work enough that is independent
// of the previous one.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
)

func main() {
	ConstraintExpr("amd64,!purego")
	constants()
	rollKernel()
	plainKernel()
	tableKernel()
	pool.Write()
	Generate()
}

// General registers.
var (
	pRecord = reg.RDX
	pTable  = reg.RSI // rows of W[t]+K[t], moved on by the loop
	pBuffer = reg.R9  // see the offsets below
	pMask   = reg.R10
	pOut    = reg.RBX
	pK      = reg.RAX // rows of round constants for the loops
	pHalf   = reg.R14 // the half of the ring that a loop writes
	pOther  = reg.R15 // and the other one
	count   = reg.RCX // of the inner loop
	left    = reg.R12 // of the outer loop
	nonce   = reg.RDI
	bits    = reg.R8
)

// Offsets in the buffer.
const (
	row     = 32
	bufRing = 0        // the last 16 message words
	bufWord = 16 * row // all message words of a table
)

// Vector registers. state has eight more.
var (
	newest = [2]reg.VecPhysical{reg.Y8, reg.Y9} // W[t-1] and W[t-2], by parity of t
	t0, t1 = reg.Y10, reg.Y11                   // temporaries
	t2, t3 = reg.Y12, reg.Y13
	// a xor b of one round is b xor c of the next.
	xors = [2]reg.VecPhysical{reg.Y14, reg.Y15}
)

// lanesPerRow is the number of copies of a constant in a row.
const lanesPerRow = 8

var pool = data.NewPool("avx2Pool", lanesPerRow)

// kRows are the round constants, swap reverses the bytes of each word and lanes is
// what is to be added to a nonce for the eight lanes.
var kRows, swap, lanes Mem

func constants() {
	kRows = data.Rows("avx2K", lanesPerRow, fips180.K[:]...)
	swap = data.SwapBytes("avx2Swap", row)
	lanes = data.Words("avx2Lanes", 0, 1, 2, 3, 4, 5, 6, 7)
}
