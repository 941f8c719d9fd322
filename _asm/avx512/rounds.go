package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
)

// Truth tables.
const (
	xor3     = fips180.TableXor
	choose   = fips180.TableChoose
	majority = fips180.TableMajority
)

// rotations3 sets dst to the xor of three rotations of x: a big sigma.
func rotations3(x Op, r [3]uint64, dst reg.VecPhysical) {
	VPRORD(Imm(r[0]), x, t0)
	VPRORD(Imm(r[1]), x, t1)
	VPRORD(Imm(r[2]), x, dst)
	VPTERNLOGD(Imm(xor3), t0, t1, dst)
}

// smallSigma sets dst to the xor of two rotations and a shift of x.
func smallSigma(x Op, r [3]uint64, dst reg.VecPhysical) {
	VPRORD(Imm(r[0]), x, t0)
	VPRORD(Imm(r[1]), x, t1)
	VPSRLD(Imm(r[2]), x, dst)
	VPTERNLOGD(Imm(xor3), t0, t1, dst)
}

var (
	sum0   = [3]uint64{2, 13, 22}
	sum1   = [3]uint64{6, 11, 25}
	sigma0 = [3]uint64{7, 18, 3}
	sigma1 = [3]uint64{17, 19, 10}
)

// state is eight registers whose roles move by one with each round.
type state [8]reg.VecPhysical

// at names the registers for round t: a, b, c, d, e, f, g, h.
func (s *state) at(t int) (r [8]reg.VecPhysical) {
	for j := range r {
		r[j] = s[((j-t)%8+8)%8]
	}
	return r
}

// round is round t with all eight values in registers. To h the caller has added
// the message word and the constant. Without the a-half only e is computed.
func (s *state) round(t int, aHalf bool) []piece {
	r := s.at(t)
	a, b, c, d, e, f, g, h := r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
	pieces := []piece{
		func() {
			VMOVDQA32(e, t0)
			VPTERNLOGD(Imm(choose), g, f, t0)
			VPADDD(t0, h, h)
		},
		func() {
			rotations3(e, sum1, t2)
			VPADDD(t2, h, h)
			VPADDD(h, d, d)
		},
	}
	if aHalf {
		pieces = append(pieces, func() {
			VMOVDQA32(a, t3)
			VPTERNLOGD(Imm(majority), c, b, t3)
			rotations3(a, sum0, t2)
			VPADDD(t3, t2, t2)
			VPADDD(t2, h, h)
		})
	}
	return pieces
}
