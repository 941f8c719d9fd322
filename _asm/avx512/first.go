package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// nonceRow is the row of the table that holds the nonce words, W[3].
const nonceRow = 3 * row

// first is a stream in its first hash, of a header's tail, with the message
// schedule in a table. It has registers for a, b, e and f only; the older values
// are read from two rings of four rows.
//
// With A[t] and E[t] for the a and e that round t computes, the state before
// round t is A[t-1] … A[t-4], E[t-1] … E[t-4].
type first struct {
	index  int
	record Mem
	a, e   [2]reg.VecPhysical // A[t], E[t] by parity of t
}

// rowOf is where A[t] (half 0) or E[t] (half 1) is kept; the last four are the
// result.
func (s *first) rowOf(half, t int) Mem {
	if t >= 60 {
		return Mem{Base: pBuffer, Disp: bufResult + s.index*8*row + half*4*row + (63-t)*row}
	}
	return Mem{Base: pBuffer, Disp: bufState + s.index*8*row + half*4*row + t%4*row}
}

// begin makes the state after round 3.
func (s *first) begin() []piece {
	return []piece{
		func() {
			VMOVDQA32(Mem{Base: pTable, Disp: nonceRow}, t0)
			VPADDD_BCST(s.record.Offset(tail.E), t0, s.e[1])
			VPADDD_BCST(s.record.Offset(tail.A), t0, s.a[1])
			VMOVDQA32(s.e[1], s.rowOf(1, 3))
			VMOVDQA32(s.a[1], s.rowOf(0, 3))
		},
		func() {
			VPBROADCASTD(s.record.Offset(tail.F), s.e[0])
			VPBROADCASTD(s.record.Offset(tail.B), s.a[0])
		},
	}
}

// older is A[t] or E[t] for t at least three rounds ago: in memory, and the same
// for all lanes if it is from before round 3.
func (s *first) older(half, t int) (m Mem, broadcast bool) {
	if t >= 3 {
		return s.rowOf(half, t), false
	}
	offset := map[[2]int]int{{0, 2}: tail.B, {0, 1}: tail.C, {0, 0}: tail.D, {1, 2}: tail.F, {1, 1}: tail.G}
	return s.record.Offset(offset[[2]int{half, t}]), true
}

func addOlder(m Mem, broadcast bool, x, dst Op) {
	if broadcast {
		VPADDD_BCST(m, x, dst)
	} else {
		VPADDD(m, x, dst)
	}
}

func ternaryOlder(truth uint64, m Mem, broadcast bool, x, dst Op) {
	if broadcast {
		VPTERNLOGD_BCST(Imm(truth), m, x, dst)
	} else {
		VPTERNLOGD(Imm(truth), m, x, dst)
	}
}

// rounds is rounds from to to-1; pTable has been moved on by moved rows.
func (s *first) rounds(from, to, moved int) (pieces []piece) {
	for t := from; t < to; t++ {
		a, b, e, f := s.a[(t+1)%2], s.a[t%2], s.e[(t+1)%2], s.e[t%2]
		pieces = append(pieces,
			func() { // f becomes h + K + W + choose(e, f, g)
				VMOVDQA32(e, t0)
				g, broadcast := s.older(1, t-3)
				ternaryOlder(choose, g, broadcast, f, t0)
				switch {
				case t < 7:
					VPADDD_BCST(s.record.Offset(tail.H+4*(t-4)), t0, f)
				case t == 7:
					VPADDD_BCST(pooled(fips180.K[7]), t0, t0)
					VPADDD(s.rowOf(1, 3), t0, f)
				default:
					VPADDD(Mem{Base: pTable, Disp: row * (t - moved)}, t0, t0)
					VPADDD(s.rowOf(1, t-4), t0, f)
				}
			},
			func() {
				rotations3(e, sum1, t2)
				VPADDD(t2, f, f)
			},
			func() { // b becomes f + majority(a, b, c), f becomes E[t]
				VMOVDQA32(a, t3)
				c, broadcast := s.older(0, t-3)
				ternaryOlder(majority, c, broadcast, b, t3)
				VPADDD(f, t3, b)
				d, broadcast := s.older(0, t-4)
				addOlder(d, broadcast, f, f)
				VMOVDQA32(f, s.rowOf(1, t))
			},
			func() {
				rotations3(a, sum0, t2)
				VPADDD(t2, b, b)
				VMOVDQA32(b, s.rowOf(0, t))
			},
		)
	}
	return pieces
}
