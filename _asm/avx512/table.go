package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"lode/_asm/data"
	"lode/_asm/tail"
)

// lanes is what is to be added to a nonce for the sixteen lanes; swap reverses the
// bytes of each word.
var lanes, swap Mem

func laneConstants() {
	var numbers []uint32
	for i := range uint32(16) {
		numbers = append(numbers, i)
	}
	lanes = data.Words("avx512Lanes", numbers...)
	swap = data.SwapBytes("avx512Swap", row)
}

// tableKernel writes the function that fills the rows of a table that depend on
// the nonce: the nonce row and rounds 18 to 63.
func tableKernel() {
	TEXT("avx512Table", NOSPLIT, "func(table *byte, record *byte, nonce uint32)")
	Pragma("noescape")
	Load(Param("table"), pTable)
	Load(Param("record"), pRecord)
	loadPool()
	LEAQ(kTable, pK)
	record := Mem{Base: pRecord}

	nonce := vector(27)
	Load(Param("nonce"), count.As32())
	VPBROADCASTD(count.As32(), nonce)
	VPADDD(lanes, nonce, nonce)
	VPSHUFB(swap, nonce, nonce)
	VMOVDQA32(nonce, Mem{Base: pTable, Disp: nonceRow})

	// W[t] is in register t%16.
	word := func(t int) Op {
		if t == 3 {
			return nonce
		}
		return vector(t % 16)
	}
	VPBROADCASTD(record.Offset(tail.W16), word(16))
	VPBROADCASTD(record.Offset(tail.W17), word(17))
	next := func(t int, sum tail.Sum) {
		addUp(sum, word, word(t-2), record, word(t))
		VPADDD_BCST(Mem{Base: pK, Disp: 4 * t}, word(t), t0)
		VMOVDQA32(t0, Mem{Base: pTable, Disp: row * t})
	}
	const first = 32 // of the words of which nothing is known
	for t := 18; t < first; t++ {
		next(t, tail.HeaderWord(t))
	}
	data.Loop("words", count.As32(), (64-first)/16, func() {
		for t := first; t < first+16; t++ {
			next(t, tail.AnyWord(t))
		}
		ADDQ(Imm(4*16), pK)
		ADDQ(U32(16*row), pTable)
	})
	VZEROUPPER()
	RET()
}
