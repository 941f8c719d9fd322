// Command _asm writes loops of independent instructions whose rate is a limit for
// the kernels, and one of dependent rotations, which take a cycle each. (Additions of
// a constant will not do: Intel's cores since Golden Cove do them while renaming.)
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const perTurn = 64 // instructions in one turn of a loop

func main() {
	ConstraintExpr("amd64,!purego")
	x := []reg.VecPhysical{
		reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7, reg.X8,
		reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14,
	}
	sum := reg.RAX
	loop("chain", func(int) { ROLQ(Imm(7), sum) })
	loop("shaRounds", func(i int) { // seven states in turn
		a, b := x[2*(i%7)], x[2*(i%7)+1]
		SHA256RNDS2(reg.X0, a, b)
	})
	loop("vector256", func(i int) { // one addition, one logical operation
		v := x[i%14].AsY()
		if i%2 == 0 {
			VPADDD(reg.Y0, v, v)
		} else {
			VPXOR(reg.Y0, v, v)
		}
	})
	loop("shifts256", func(i int) { v := x[i%14].AsY(); VPSRLD(Imm(3), v, v) })
	loop("vector512", func(i int) {
		v := x[i%14].AsZ()
		if i%2 == 0 {
			VPADDD(reg.Z0, v, v)
		} else {
			VPTERNLOGD(Imm(0x96), reg.Z0, reg.Z0, v)
		}
	})
	loop("rotates512", func(i int) { v := x[i%14].AsZ(); VPRORD(Imm(3), v, v) })
	Generate()
}

// loop writes a function that does perTurn instructions a given number of times.
func loop(name string, instruction func(i int)) {
	TEXT(name, NOSPLIT, "func(turns int)")
	turns := reg.RCX
	Load(Param("turns"), turns)
	Instruction(&ir.Instruction{Opcode: "PCALIGN", Operands: []Op{Imm(64)}})
	Label("turn")
	for i := range perTurn {
		instruction(i)
	}
	DECQ(turns)
	JNZ(LabelRef("turn"))
	if name != "chain" {
		VZEROUPPER()
	}
	RET()
}
