// Command avx2 writes the kernels for AVX2: every register holds one word of eight
// hashes, which are eight consecutive nonces.
//
// There are sixteen registers, no rotation and no logic of three operands. One
// stream fills the execution units: each round has work enough that is independent
// of the previous one.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/miner/internal/scan/_asm/fips180"
)

func main() {
	ConstraintExpr("amd64,!purego")
	constants()
	rollKernel()
	plainKernel()
	tableKernel()
	pool.write()
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

// align starts a loop on a boundary of 64 bytes.
func align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}

// rows holds constants, each in all eight lanes.
type rows struct {
	words []uint32
	index map[uint32]int
}

var pool = rows{index: map[uint32]int{}}

const poolName = "avx2Pool"

// at is the row of a word.
func (p *rows) at(v uint32) Mem {
	i, ok := p.index[v]
	if !ok {
		i = len(p.words)
		p.words = append(p.words, v)
		p.index[v] = i
	}
	return Mem{Symbol: Symbol{Name: poolName, Static: true}, Base: reg.StaticBase, Disp: row * i}
}

func (p *rows) write() {
	GLOBL(poolName, RODATA|NOPTR)
	for i, v := range p.words {
		for lane := range 8 {
			DATA(row*i+4*lane, U32(v))
		}
	}
}

// kRows are the round constants, swap reverses the bytes of each word and lanes is
// what is to be added to a nonce for the eight lanes.
var kRows, swap, lanes Mem

func constants() {
	kRows = GLOBL("avx2K", RODATA|NOPTR)
	for t, v := range fips180.K {
		for lane := range 8 {
			DATA(row*t+4*lane, U32(v))
		}
	}
	swap = GLOBL("avx2Swap", RODATA|NOPTR)
	for i := range 32 {
		DATA(i, U8(i^3))
	}
	lanes = GLOBL("avx2Lanes", RODATA|NOPTR)
	for i := range 8 {
		DATA(4*i, U32(i))
	}
}
