package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/tail"
	"lode/_asm/weave"
)

// headerStream is a stream of the kernel that does not roll: sixteen nonces in
// their first hash, with a message schedule of their own. It uses the registers
// and rows of the second hash that follows.
type headerStream struct {
	second
	nonces reg.VecPhysical // of the sixteen lanes, as numbers
}

// head is rounds 4 to 31.
func (s *headerStream) head(swap reg.VecPhysical) (pieces []piece) {
	add := func(p ...piece) { pieces = append(pieces, p...) }
	k := fips180.K
	r := s.state.at(4)
	add(func() {
		VPSHUFB(swap, s.nonces, t0)
		VMOVDQA32(t0, s.word(3))
		VPADDD_BCST(s.field(tail.E), t0, r[4])
		VPADDD_BCST(s.field(tail.A), t0, r[0])
	}, func() {
		for i, offset := range []int{1: tail.B, 2: tail.C, 3: tail.D, 5: tail.F, 6: tail.G} {
			if offset != 0 {
				VPBROADCASTD(s.field(offset), r[i])
			}
		}
	}, func() { // for rounds 31 to 33
		VPBROADCASTD(s.field(tail.W16), t0)
		VMOVDQA32(t0, s.word(16))
		VPBROADCASTD(s.field(tail.W17), t0)
		VMOVDQA32(t0, s.word(17))
	})
	for t := 4; t < 32; t++ {
		h := s.state.at(t)[7]
		switch {
		case t < 7:
			add(func() { VPBROADCASTD(s.field(tail.H+4*(t-4)), h) })
		case t < 15:
			add(func() { VPADDD_BCST(pooled(k[t]), h, h) })
		case t == 15:
			add(func() { VPADDD_BCST(pooled(k[t]+fips180.HeaderBits), h, h) })
		case t == 16:
			add(func() { VPADDD_BCST(s.field(tail.W16K), h, h) })
		case t == 17:
			add(func() { VPADDD_BCST(s.field(tail.W17K), h, h) })
		default:
			w := s.newest[t%2]
			add(func() {
				addUp(tail.HeaderWord(t), func(u int) Op { return s.word(u) }, w, s.record, w)
				VMOVDQA32(w, s.word(t))
			}, func() {
				VPADDD_BCST(pooled(k[t]), h, h)
				VPADDD(w, h, h)
			})
		}
		add(s.state.round(t, true)...)
	}
	return pieces
}

// end keeps the result for the second hash.
func (s *headerStream) end() (pieces []piece) {
	for t, r := range s.state.at(64) {
		pieces = append(pieces, func() { VMOVDQA32(r, s.result(t)) })
	}
	return pieces
}

// plainKernel writes the kernel whose lanes and streams are all nonces of one
// version, 32 at a time.
func plainKernel() {
	TEXT("avx512Plain", NOSPLIT,
		"func(record *byte, nonce uint32, groups int, buffer *byte, mask *uint32, out *uint16)")
	Pragma("noescape")
	Load(Param("record"), pRecord)
	Load(Param("groups"), pairs)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)
	loadPool()
	swapBytes := vector(22)
	VMOVDQU32(swap, swapBytes)

	var streams [2]*headerStream
	for i := range streams {
		s := &headerStream{nonces: vector(20 + i)}
		s.index, s.record = i, Mem{Base: pRecord}
		s.newest = [2]reg.VecPhysical{vector(16 + 2*i), vector(17 + 2*i)}
		for j := range s.state {
			s.state[j] = vector(8*i + j)
		}
		streams[i] = s
	}
	x, y := streams[0], streams[1]
	Load(Param("nonce"), count.As32())
	VPBROADCASTD(count.As32(), x.nonces)
	VPADDD(lanes, x.nonces, x.nonces)
	VPADDD_BCST(pooled(16), x.nonces, y.nonces)

	// One loop serves both hashes. The second byte of its counter says what comes
	// after it.
	const afterFirst, after24, after56 = 0, 1, 2
	enterLoop := func(t, times, after int) {
		MOVQ(pBuffer, pHalf)
		LEAQ(Mem{Base: pBuffer, Disp: 8 * row}, pOther)
		LEAQ(kTable.Offset(4*t), pK)
		MOVL(U32(after<<8|times), count.As32())
	}

	data.Align()
	Label("group")
	weave.Apart(ahead, x.head(swapBytes), y.head(swapBytes))
	enterLoop(32, 4, afterFirst)
	JMP(LabelRef("loop"))

	Label("digest")
	weave.Apart(ahead, x.end(), y.end())
	weave.Apart(ahead, x.second.head(), y.second.head())
	enterLoop(16, 1, after24)
	JMP(LabelRef("loop"))

	Label("special")
	weave.Apart(ahead, x.straight(24, 32), y.straight(24, 32))
	enterLoop(32, 3, after56)

	data.Align()
	Label("loop")
	weave.Apart(ahead, x.loop(16), y.loop(16))
	XCHGQ(pHalf, pOther)
	ADDQ(Imm(4*8), pK)
	DECB(count.As8())
	JNZ(LabelRef("loop"))
	CMPL(count.As32(), U32(after24<<8))
	JB(LabelRef("digest"))
	JE(LabelRef("special"))

	weave.Apart(ahead,
		append(x.straight(56, 61), x.verdict()...),
		append(y.straight(56, 61), y.verdict()...))
	VPADDD_BCST(pooled(32), x.nonces, x.nonces)
	VPADDD_BCST(pooled(32), y.nonces, y.nonces)
	ADDQ(Imm(4), pOut)
	DECQ(pairs)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}
