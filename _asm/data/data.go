// Package data has what all generators write beside instructions: constants, and
// loops.
package data

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Align starts a loop on a boundary of 64 bytes.
func Align() {
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
}

// Words writes constants and returns their address.
func Words(name string, words ...uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	define(words)
	return m
}

// Rows is as Words with a number of copies of each.
func Rows(name string, copies int, words ...uint32) Mem {
	var all []uint32
	for _, v := range words {
		for range copies {
			all = append(all, v)
		}
	}
	return Words(name, all...)
}

// Bytes writes constants and returns their address.
func Bytes(name string, bytes ...byte) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, b := range bytes {
		DATA(i, U8(b))
	}
	return m
}

// SwapBytes writes n indices with which a shuffle reverses the bytes of each word.
func SwapBytes(name string, n int) Mem {
	indices := make([]byte, n)
	for i := range indices {
		indices[i] = byte(i) ^ 3
	}
	return Bytes(name, indices...)
}

// Loop writes a loop of so many turns, which left counts.
func Loop(label string, left reg.Register, turns int, turn func()) {
	MOVL(U32(turns), left)
	Align()
	Label(label)
	turn()
	DECL(left)
	JNZ(LabelRef(label))
}

// define writes words two by two, for that makes half as many lines.
func define(words []uint32) {
	for i := 0; i+1 < len(words); i += 2 {
		DATA(4*i, U64(uint64(words[i+1])<<32|uint64(words[i])))
	}
	if n := len(words); n%2 != 0 {
		DATA(4*(n-1), U32(words[n-1]))
	}
}

// A Pool collects constants that are written when all are known.
type Pool struct {
	name   string
	copies int
	words  []uint32
	index  map[uint32]int
}

// NewPool returns a pool that holds a number of copies of each word.
func NewPool(name string, copies int) *Pool {
	return &Pool{name: name, copies: copies, index: map[uint32]int{}}
}

// Address is that of the pool.
func (p *Pool) Address() Mem {
	return Mem{Symbol: Symbol{Name: p.name, Static: true}, Base: reg.StaticBase}
}

// Offset is where a word's copies are in the pool.
func (p *Pool) Offset(v uint32) int {
	i, ok := p.index[v]
	if !ok {
		i = len(p.words)
		p.words = append(p.words, v)
		p.index[v] = i
	}
	return 4 * p.copies * i
}

// At is the address of a word's copies.
func (p *Pool) At(v uint32) Mem { return p.Address().Offset(p.Offset(v)) }

// Write writes the pool.
func (p *Pool) Write() { Rows(p.name, p.copies, p.words...) }
