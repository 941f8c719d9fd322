// Command limits writes loops of independent instructions whose rate is a limit for
// the kernels, and one of dependent rotations, which take a cycle each. (Additions of
// a constant will not do: Intel's cores since Golden Cove do them while renaming.)
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
)

const perTurn = 64 // instructions in one turn of a loop of one kind

func main() {
	ConstraintExpr("amd64,!purego")
	x := []reg.VecPhysical{
		reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7, reg.X8,
		reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14,
	}
	sum := reg.RAX
	loop("chain", perTurn, func(int) { ROLQ(Imm(7), sum) })
	loop("shaRounds", perTurn, func(i int) { rounds(x[:14], i) })
	loop("vector256", perTurn, func(i int) { // one addition, one logical operation
		v := x[i%14].AsY()
		if i%2 == 0 {
			VPADDD(reg.Y0, v, v)
		} else {
			VPXOR(reg.Y0, v, v)
		}
	})
	loop("shifts256", perTurn, func(i int) { v := x[i%14].AsY(); VPSRLD(Imm(3), v, v) })
	loop("vector512", perTurn, func(i int) {
		v := x[i%14].AsZ()
		if i%2 == 0 {
			VPADDD(reg.Z0, v, v)
		} else {
			VPTERNLOGD(Imm(fips180.TableXor), reg.Z0, reg.Z0, v)
		}
	})
	loop("rotates512", perTurn, func(i int) { v := x[i%14].AsZ(); VPRORD(Imm(3), v, v) })

	// Rounds beside so many other instructions each. The SHA instructions come before
	// the others and VZEROUPPER after them, for Zen 3 punishes other mixtures.
	const group = 8
	for _, k := range []int{4, 8} {
		beside(fmt.Sprintf("shaBesideVector%d", k), group, k, x, func(v reg.VecPhysical) { VPADDD(reg.Y15, reg.Y15, v) })
	}
	for _, k := range []int{2, 4, 6} {
		beside(fmt.Sprintf("shaBesideShifts%d", k), group, k, x, func(v reg.VecPhysical) { VPSRLD(Imm(3), reg.Y15, v) })
	}
	// Ten rounds instructions and both kinds of those for message words, two of each.
	loop("shaWords", 4, func(turn int) {
		for i := range 10 {
			rounds(x[:10], 10*turn+i)
			if i%5 == 4 {
				SHA256MSG1(x[10], x[12+i/5])
				SHA256MSG2(x[11], x[12+i/5])
			}
		}
	})
	Generate()
}

// rounds does two rounds of one of the states in x, by turns.
func rounds(x []reg.VecPhysical, i int) {
	n := len(x) / 2
	a, b := x[2*(i%n)], x[2*(i%n)+1]
	SHA256RNDS2(reg.X0, a, b)
}

// beside writes a loop of groups of SHA256RNDS2 with k others for each of them.
func beside(name string, group, k int, x []reg.VecPhysical, other func(reg.VecPhysical)) {
	loop(name, 4, func(turn int) {
		for i := range group {
			rounds(x[:12], group*turn+i)
		}
		for i := range group * k {
			other([]reg.VecPhysical{reg.Y13, reg.Y14}[i%2])
		}
		VZEROUPPER()
	})
}

// loop writes a function that does a number of instructions, or groups of them, a given
// number of times.
func loop(name string, n int, instruction func(i int)) {
	TEXT(name, NOSPLIT, "func(turns int)")
	turns := reg.RCX
	Load(Param("turns"), turns)
	data.Align()
	Label("turn")
	for i := range n {
		instruction(i)
	}
	DECQ(turns)
	JNZ(LabelRef("turn"))
	if name != "chain" {
		VZEROUPPER()
	}
	RET()
}
