// Command hex writes the jsonscan package's code for AVX2.
package main

import (
	"bytes"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
)

// every makes a vector of one byte.
func every(name string, b byte) Mem {
	return data.Bytes(name, bytes.Repeat([]byte{b}, 32)...)
}

// within sets to to ones where (chars - first) is at most span, as unsigned bytes.
func within(chars, first, span, to reg.VecVirtual) {
	t := YMM()
	VPSUBB(first, chars, to)
	VPMINUB(span, to, t)
	VPCMPEQB(t, to, to)
}

func main() {
	ConstraintExpr("amd64,!purego")
	TEXT("hexBlocks", NOSPLIT, "func(p *byte, blocks int) int")
	Pragma("noescape")
	p := Mem{Base: Load(Param("p"), GP64())}
	blocks := Load(Param("blocks"), GP64())
	left := GP64()
	MOVQ(blocks, left)
	constant := func(name string, b byte) reg.VecVirtual {
		y := YMM()
		VMOVDQU(every(name, b), y)
		return y
	}
	zero, nine := constant("zero", '0'), constant("nine", 9)
	a, five := constant("a", 'a'), constant("five", 5)
	lower := constant("lower", 0x20)
	chars, digits, letters := YMM(), YMM(), YMM()
	mask := GP32()

	Label("block")
	VMOVDQU(p, chars)
	within(chars, zero, nine, digits)
	VPOR(lower, chars, chars)
	within(chars, a, five, letters)
	VPOR(letters, digits, digits)
	VPMOVMSKB(digits, mask)
	CMPL(mask, U32(0xffffffff))
	JNE(LabelRef("done"))
	ADDQ(Imm(32), p.Base)
	DECQ(left)
	JNZ(LabelRef("block"))
	Label("done")
	VZEROUPPER()
	SUBQ(left, blocks)
	Store(blocks, ReturnIndex(0))
	RET()
	Generate()
}
