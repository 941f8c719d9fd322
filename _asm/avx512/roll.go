package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/tail"
	"lode/_asm/weave"
)

// rollKernel writes the kernel that shares the message schedule of the first hash
// between versions. One block of its code does the second hashes of a pair of
// versions and, in the same time, the first hashes of the next pair, so that four
// streams are under way.
//
// The first hashes of the first pair must be in the buffer when it is called, and
// those of the first pair for the next table are there when it returns.
func rollKernel() {
	TEXT("avx512Roll", NOSPLIT,
		"func(records *byte, pairs int, table *byte, next *byte, buffer *byte, mask *uint32, out *uint16)")
	Pragma("noescape")
	Load(Param("records"), pRecord)
	Load(Param("pairs"), pairs)
	Load(Param("table"), pTable)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)
	loadPool()

	now := [2]*second{}
	next := [2]*first{}
	for i := range now {
		now[i] = &second{
			index: i, record: Mem{Base: pRecord, Disp: i * tail.RecordSize},
			newest: [2]reg.VecPhysical{vector(24 + 2*i), vector(25 + 2*i)},
		}
		for j := range now[i].state {
			now[i].state[j] = vector(8*i + j)
		}
		next[i] = &first{
			index: i, record: Mem{Base: pNext, Disp: i * tail.RecordSize},
			a: [2]reg.VecPhysical{vector(16 + 4*i), vector(17 + 4*i)},
			e: [2]reg.VecPhysical{vector(18 + 4*i), vector(19 + 4*i)},
		}
	}

	data.Align()
	Label("block")
	// The next pair is the one that follows, or the first one with the next table.
	Comment("next pair")
	LEAQ(Mem{Base: pRecord, Disp: 2 * tail.RecordSize}, pNext)
	CMPQ(pairs, Imm(1))
	JNE(LabelRef("head"))
	Load(Param("records"), pNext)
	Load(Param("next"), pTable)

	Label("head")
	weave.Apart(ahead, now[0].head(), now[1].head(),
		append(next[0].begin(), next[0].rounds(4, 20, 0)...),
		append(next[1].begin(), next[1].rounds(4, 20, 0)...))
	MOVQ(pBuffer, pHalf)
	LEAQ(Mem{Base: pBuffer, Disp: 8 * row}, pOther)
	LEAQ(kTable.Offset(4*16), pK)
	MOVL(U32(1), count.As32())
	JMP(LabelRef("loop"))

	// The body of the loop runs once for the rounds 16 to 23, then for 32 to 55:
	// the counter's second byte says which it is.
	Label("special")
	weave.Apart(ahead,
		now[0].straight(24, 32), now[1].straight(24, 32),
		next[0].rounds(28, 36, 8), next[1].rounds(28, 36, 8))
	MOVQ(pBuffer, pHalf)
	LEAQ(Mem{Base: pBuffer, Disp: 8 * row}, pOther)
	LEAQ(kTable.Offset(4*32), pK)
	ADDQ(U32(8*row), pTable)
	MOVL(U32(0x103), count.As32())

	data.Align()
	Label("loop")
	weave.Apart(ahead,
		now[0].loop(16), now[1].loop(16),
		next[0].rounds(20, 28, 0), next[1].rounds(20, 28, 0))
	XCHGQ(pHalf, pOther)
	ADDQ(Imm(4*8), pK)
	ADDQ(U32(8*row), pTable)
	DECB(count.As8())
	JNZ(LabelRef("loop"))
	TESTL(count.As32(), count.As32())
	JZ(LabelRef("special"))

	weave.Apart(ahead,
		append(now[0].straight(56, 61), now[0].verdict()...),
		append(now[1].straight(56, 61), now[1].verdict()...),
		next[0].rounds(60, 64, 40), next[1].rounds(60, 64, 40))
	SUBQ(U32(40*row), pTable)
	ADDQ(U32(2*tail.RecordSize), pRecord)
	ADDQ(Imm(4), pOut)
	DECQ(pairs)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// vector is register Zi.
func vector(i int) reg.VecPhysical {
	return []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
		reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
		reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
	}[i]
}
