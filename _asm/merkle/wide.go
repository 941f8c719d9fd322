package main

// With AVX-512 sixteen hashes are done at once, one in each lane: a register holds the
// same word of all of them.

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
)

var (
	wideState = [8]reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7}
	wideWords = [16]reg.VecPhysical{
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
		reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
	}
	wideSwap = reg.Z15
)

// Truth tables.
const (
	xor3     = fips180.TableXor
	choose   = fips180.TableChoose
	majority = fips180.TableMajority
)

const wideSize = 64 // bytes of a register

// state16 is the state of sixteen hashes: registers for a to h, which move from round to
// round.
type state16 [8]reg.VecPhysical

func word(t int) reg.VecPhysical { return wideWords[t%16] }

// rotations sets to to the exclusive or of three rotations of from.
func rotations(from, to reg.VecPhysical, a, b, c int) {
	x, y := reg.Z8, reg.Z9
	VPRORD(Imm(uint64(a)), from, to)
	VPRORD(Imm(uint64(b)), from, x)
	VPRORD(Imm(uint64(c)), from, y)
	VPTERNLOGD(Imm(xor3), x, y, to)
}

// sigma sets to to two rotations and a shift of from, all exclusive-or'ed.
func wideSigma(from, to reg.VecPhysical, a, b, shift int) {
	x, y := reg.Z8, reg.Z9
	VPRORD(Imm(uint64(a)), from, to)
	VPRORD(Imm(uint64(b)), from, x)
	VPSRLD(Imm(uint64(shift)), from, y)
	VPTERNLOGD(Imm(xor3), x, y, to)
}

// round does round t; sum is where its constant is, with the message word in it if w is
// nil.
func (s *state16) round(sum Mem, w reg.VecPhysical) {
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	t, u := reg.Z10, reg.Z11
	VPADDD_BCST(sum, h, h)
	if w != nil {
		VPADDD(w, h, h)
	}
	VMOVDQA32(e, u)
	VPTERNLOGD(Imm(choose), g, f, u)
	VPADDD(u, h, h)
	rotations(e, t, 6, 11, 25)
	VPADDD(t, h, h)
	VPADDD(h, d, d)
	VMOVDQA32(a, u)
	VPTERNLOGD(Imm(majority), c, b, u)
	VPADDD(u, h, h)
	rotations(a, t, 2, 13, 22)
	VPADDD(t, h, h)
	*s = state16{h, a, b, c, d, e, f, g}
}

// schedule computes word t in the place of word t-16.
func wideSchedule(t int) {
	w, x := word(t), reg.Z12
	wideSigma(word(t-15), x, 7, 18, 3)
	VPADDD(word(t-7), w, w)
	VPADDD(x, w, w)
	wideSigma(word(t-2), x, 17, 19, 10)
	VPADDD(x, w, w)
}

// rounds does all rounds of a block whose words are in their registers.
func (s *state16) rounds() {
	for t := range 16 {
		s.round(k.Offset(4*t), word(t))
	}
	loop(k.Offset(4*16), 16, roundCount/16-1, func(k Mem) {
		for t := range 16 {
			wideSchedule(16 + t)
			s.round(k.Offset(4*t), word(t))
		}
	})
}

// knownRounds does all rounds of a block whose words are in the sums already.
func (s *state16) knownRounds(sums Mem) {
	loop(sums, 8, roundCount/8, func(sums Mem) {
		for t := range 8 {
			s.round(sums.Offset(4*t), nil)
		}
	})
}

func (s *state16) begin() {
	*s = wideState
	for i, r := range s {
		VPBROADCASTD(iv.Offset(4*i), r)
	}
}

// message ends a block of a hash that began with it: the state, made a digest, becomes
// the first half of a message.
func (s *state16) message() {
	for i, r := range s {
		VPADDD_BCST(iv.Offset(4*i), r, word(i))
	}
}

// pad makes the digests that are the first half of the message all of it.
func pad() {
	for t := 8; t < 16; t++ {
		switch t {
		case 8:
			VPBROADCASTD(padQuads[0], word(t))
		case 15:
			VPBROADCASTD(padQuads[1].Offset(12), word(t))
		default:
			VPXORD(word(t), word(t), word(t))
		}
	}
}

// wideFunctions writes the functions for AVX-512. Their states are in memory as eight
// words a to h of sixteen lanes each.
func wideFunctions() {
	s := new(state16)

	TEXT("wideBlock", NOSPLIT, "func(state *[8][16]uint32, block *[16][16]uint32)")
	Pragma("noescape")
	state := Mem{Base: Load(Param("state"), GP64())}
	block := Mem{Base: Load(Param("block"), GP64())}
	for t := range 16 {
		VMOVDQU32(block.Offset(wideSize*t), word(t))
	}
	*s = wideState
	for i, r := range s {
		VMOVDQU32(state.Offset(wideSize*i), r)
	}
	s.rounds()
	for i, r := range s {
		VPADDD(state.Offset(wideSize*i), r, r)
		VMOVDQU32(r, state.Offset(wideSize*i))
	}
	VZEROUPPER()
	RET()

	// The code of a block is there once: pair says whether its message is one of 64 bytes, whose
	// digest is then hashed, or a digest.
	TEXT("wideHash", NOSPLIT, "func(state *[8][16]uint32, block *[16][16]uint32, branch *[32]byte, steps int)")
	Pragma("noescape")
	state = Mem{Base: Load(Param("state"), GP64())}
	block = Mem{Base: Load(Param("block"), GP64())}
	branch := Mem{Base: Load(Param("branch"), GP64())}
	steps, pair := Load(Param("steps"), GP64()), GP64()
	VBROADCASTI32X4(swap, wideSwap)
	for i := range 8 {
		VMOVDQU32(state.Offset(wideSize*i), word(i))
	}
	CMPQ(block.Base, Imm(0))
	JE(LabelRef("digest"))
	for t := range 16 {
		VMOVDQU32(block.Offset(wideSize*t), word(t))
	}
	JMP(LabelRef("pair"))

	Label("step")
	for i := range 8 {
		VPBROADCASTD(branch.Offset(4*i), word(8+i))
		VPSHUFB(wideSwap, word(8+i), word(8+i))
	}
	ADDQ(Imm(32), branch.Base)
	DECQ(steps)
	Label("pair")
	MOVQ(U32(1), pair)
	JMP(LabelRef("message"))

	Label("digest")
	pad()
	MOVQ(U32(0), pair)
	Label("message")
	s.begin()
	s.rounds()
	CMPQ(pair, Imm(0))
	JE(LabelRef("done"))
	for i, r := range s { // the block that pads 64 bytes
		VPADDD_BCST(iv.Offset(4*i), r, r)
		VMOVDQU32(r, state.Offset(wideSize*i))
	}
	s.knownRounds(pad64)
	for i, r := range s {
		VPADDD(state.Offset(wideSize*i), r, word(i))
	}
	JMP(LabelRef("digest"))

	Label("done")
	s.message()
	CMPQ(steps, Imm(0))
	JNE(LabelRef("step"))
	for i := range 8 {
		VMOVDQU32(word(i), state.Offset(wideSize*i))
	}
	VZEROUPPER()
	RET()
}
