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
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/miner/internal/scan/_asm/fips180"
	"lode/miner/internal/scan/_asm/weave"
)

func main() {
	ConstraintExpr("amd64,!purego")
	roundConstants()
	laneConstants()
	rollKernel()
	plainKernel()
	tableKernel()
	pool.write()
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

// align starts a loop on a boundary of 64 bytes.
func align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}

type piece = weave.Piece

// constantPool holds words that instructions broadcast to all lanes.
type constantPool struct {
	words []uint32
	index map[uint32]int
}

var pool = constantPool{index: map[uint32]int{}}

const poolName = "avx512Pool"

// at is the address of a word.
func (p *constantPool) at(v uint32) Mem {
	i, ok := p.index[v]
	if !ok {
		i = len(p.words)
		p.words = append(p.words, v)
		p.index[v] = i
	}
	return Mem{Base: pPool, Disp: 4 * i}
}

func (p *constantPool) write() {
	GLOBL(poolName, RODATA|NOPTR)
	for i, v := range p.words {
		DATA(4*i, U32(v))
	}
}

// loadPool sets pPool. The pool is written last, so it is named here.
func loadPool() {
	LEAQ(Mem{Symbol: Symbol{Name: poolName, Static: true}, Base: reg.StaticBase}, pPool)
}

var kTable Mem // K[t]

func roundConstants() {
	kTable = GLOBL("avx512K", RODATA|NOPTR)
	for t, v := range fips180.K {
		DATA(4*t, U32(v))
	}
}
