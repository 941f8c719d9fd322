package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// nonceRow is the row of the table that holds the nonce words, W[3].
const nonceRow = 3 * row

// secondHash is all of the second hash. The loop in it is also entered by the first
// hash of the plain kernel.
func secondHash(fromFirst string) {
	digestHead()
	enterLoop(16, 1, after24)
	JMP(LabelRef("loop"))

	Label("special")
	digestRounds(24, 32)
	enterLoop(32, 3, after56)

	data.Align()
	Label("loop")
	eightRounds()
	DECB(count.As8())
	JNZ(LabelRef("loop"))
	CMPL(count.As32(), U32(after24<<8))
	if fromFirst != "" {
		JB(LabelRef(fromFirst))
	}
	JE(LabelRef("special"))
	digestRounds(56, 61)
	verdict()
}

// rollKernel writes the kernel that shares the message schedule of the first hash
// between versions.
func rollKernel() {
	TEXT("avx2Roll", NOSPLIT,
		"func(records *byte, count int, table *byte, buffer *byte, mask *uint32, out *byte)")
	Pragma("noescape")
	Load(Param("records"), pRecord)
	Load(Param("count"), left)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)

	data.Align()
	Label("version")
	Load(Param("table"), pTable)
	VMOVDQU(Mem{Base: pTable, Disp: nonceRow}, t2)
	firstState(t2)
	firstRounds()
	MOVL(U32(7), count.As32())

	data.Align()
	Label("first")
	ADDQ(U32(8*row), pTable)
	for t := 8; t < 16; t++ {
		h := stateAt(t)[7]
		VPADDD(Mem{Base: pTable, Disp: row * (t - 8)}, h, h)
		round(t, true)
	}
	DECL(count.As32())
	JNZ(LabelRef("first"))
	secondHash("")

	ADDQ(U32(tail.RecordSize), pRecord)
	INCQ(pOut)
	DECQ(left)
	JNZ(LabelRef("version"))
	VZEROUPPER()
	RET()
}

// plainKernel writes the kernel whose lanes are nonces of one version, each with a
// message schedule of its own.
func plainKernel() {
	TEXT("avx2Plain", NOSPLIT,
		"func(record *byte, nonce uint32, count int, buffer *byte, mask *uint32, out *byte)")
	Pragma("noescape")
	Load(Param("record"), pRecord)
	Load(Param("nonce"), nonce.As32())
	Load(Param("count"), left)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)

	data.Align()
	Label("group")
	nonceWords(t2)
	VMOVDQU(t2, word(3))
	firstState(t2)
	VPBROADCASTD(Mem{Base: pRecord, Disp: tail.W16}, t0) // for rounds 31 to 33
	VMOVDQU(t0, word(16))
	VPBROADCASTD(Mem{Base: pRecord, Disp: tail.W17}, t0)
	VMOVDQU(t0, word(17))
	firstRounds()
	for t := 8; t < 18; t++ {
		h := stateAt(t)[7]
		switch t {
		case 15:
			VPADDD(pool.At(fips180.K[t]+fips180.HeaderBits), h, h)
		case 16:
			addBroadcast(Mem{Base: pRecord, Disp: tail.W16K}, h)
		case 17:
			addBroadcast(Mem{Base: pRecord, Disp: tail.W17K}, h)
		default:
			VPADDD(pool.At(fips180.K[t]), h, h)
		}
		round(t, true)
	}
	for t := 18; t < 32; t++ {
		scheduledRound(t, tail.HeaderWord(t), word, kRows.Offset(row*t), true)
	}
	enterLoop(32, 4, afterFirst)
	JMP(LabelRef("loop"))

	Label("digest")
	secondHash("digest")

	ADDQ(Imm(8), nonce)
	INCQ(pOut)
	DECQ(left)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// nonceWords sets dst to the nonce words of the eight lanes.
func nonceWords(dst reg.VecPhysical) {
	VMOVD(nonce.As32(), dst.AsX())
	VPBROADCASTD(dst.AsX(), dst)
	VPADDD(lanes, dst, dst)
	VPSHUFB(swap, dst, dst)
}

// tableKernel writes the function that fills the rows of a table that depend on
// the nonce: the nonce row and rounds 18 to 63.
func tableKernel() {
	TEXT("avx2Table", NOSPLIT, "func(table *byte, record *byte, buffer *byte, nonce uint32)")
	Pragma("noescape")
	Load(Param("table"), pTable)
	Load(Param("record"), pRecord)
	Load(Param("buffer"), pBuffer)
	Load(Param("nonce"), nonce.As32())
	words := func(t int) Mem { return Mem{Base: pBuffer, Disp: bufWord + t*row} }

	nonceWords(t2)
	VMOVDQU(t2, words(3))
	VMOVDQU(t2, Mem{Base: pTable, Disp: nonceRow})
	VPBROADCASTD(Mem{Base: pRecord, Disp: tail.W16}, t0)
	VMOVDQU(t0, words(16))
	VPBROADCASTD(Mem{Base: pRecord, Disp: tail.W17}, t0)
	VMOVDQU(t0, words(17))
	next := func(t int, sum tail.Sum, k Mem) {
		w := newest[t%2]
		addUp(sum, words, w)
		VMOVDQU(w, words(t))
		VPADDD(k, w, t0)
		VMOVDQU(t0, Mem{Base: pTable, Disp: row * t})
	}
	const first = 32 // of the words of which nothing is known
	for t := 18; t < first; t++ {
		next(t, tail.HeaderWord(t), kRows.Offset(row*t))
	}
	LEAQ(kRows.Offset(row*first), pK)
	data.Loop("words", count.As32(), (64-first)/2, func() {
		for i := range 2 {
			next(first+i, tail.AnyWord(first+i), Mem{Base: pK, Disp: row * i})
		}
		for _, p := range []reg.GPPhysical{pBuffer, pTable, pK} {
			ADDQ(Imm(2*row), p)
		}
	})
	VZEROUPPER()
	RET()
}
