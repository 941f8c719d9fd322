package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"lode/_asm/tail"
)

// lanes is what is to be added to a nonce for the sixteen lanes; swap reverses the
// bytes of each word.
var lanes, swap Mem

func laneConstants() {
	lanes = GLOBL("avx512Lanes", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(i))
	}
	swap = GLOBL("avx512Swap", RODATA|NOPTR)
	for i := range 64 {
		DATA(i, U8(i^3))
	}
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
	for t := 18; t < 64; t++ {
		addUp(tail.HeaderWord(t), word, word(t-2), record, word(t))
		VPADDD_BCST(Mem{Base: pK, Disp: 4 * t}, word(t), t0)
		VMOVDQA32(t0, Mem{Base: pTable, Disp: row * t})
	}
	VZEROUPPER()
	RET()
}
