package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// second is a stream in its second hash: of a digest, so that the words 8 to 15 of
// the message are known and only the last word of the result matters. Its message
// words go through a ring of 16 rows in memory.
type second struct {
	index  int // of the stream: its place in the buffer
	record Mem
	state  state
	newest [2]reg.VecPhysical // W[t-1] and W[t-2], by parity of t
}

func (s *second) result(t int) Mem {
	return Mem{Base: pBuffer, Disp: bufResult + s.index*8*row + t*row}
}

// word is the row of W[t].
func (s *second) word(t int) Mem {
	return Mem{Base: pBuffer, Disp: bufRing + s.index*ringSize + t%16*row}
}

// wordInLoop is the row of W[t] in a loop whose first round is a multiple of 8,
// base, by the registers that point to the two halves of the ring.
func (s *second) wordInLoop(base int) func(t int) Mem {
	return func(t int) Mem {
		half := pHalf
		if (t-base+16)/8%2 == 1 {
			half = pOther
		}
		return Mem{Base: half, Disp: s.index*ringSize + (t-base+16)%8*row}
	}
}

// head is rounds 0 to 15.
func (s *second) head() (pieces []piece) {
	add := func(p ...piece) { pieces = append(pieces, p...) }
	iv, k := fips180.IV, fips180.K

	// The words 8 to 15 go to the ring for rounds 16 to 31.
	for _, v := range []uint32{fips180.Pad, 0, fips180.DigestBits} {
		add(func() {
			VPBROADCASTD(pooled(v), t0)
			for t := 8; t < 16; t++ {
				if tail.DigestPadding[t] == v {
					VMOVDQA32(t0, s.word(t))
				}
			}
		})
	}

	// Round 0 adds its message word to known values.
	known := iv[7] + fips180.Sum1(iv[4]) + fips180.Choose(iv[4], iv[5], iv[6]) + k[0]
	newE := iv[3] + known
	newA := known + fips180.Sum0(iv[0]) + fips180.Majority(iv[0], iv[1], iv[2])
	r := s.state.at(1)
	add(func() {
		VMOVDQA32(s.result(0), t0)
		VPADDD_BCST(s.field(tail.Mid), t0, t0)
		VMOVDQA32(t0, s.word(0))
		VPADDD_BCST(pooled(newA), t0, r[0])
		VPADDD_BCST(pooled(newE), t0, r[4])
	}, func() {
		// h of rounds 1 to 3 is in the record's tail.HKW.
		VPBROADCASTD(pooled(iv[0]), r[1])
		VPBROADCASTD(pooled(iv[1]), r[2])
		VPBROADCASTD(pooled(iv[2]), r[3])
		VPBROADCASTD(pooled(iv[4]), r[5])
		VPBROADCASTD(pooled(iv[5]), r[6])
	})
	for t := 1; t < 16; t++ {
		h := s.state.at(t)[7]
		switch {
		case t < 4:
			add(func() {
				VMOVDQA32(s.result(t), t0)
				VPADDD_BCST(s.field(tail.HKW+4*(t-1)), t0, h)
				VPADDD_BCST(s.field(tail.Mid+4*t), t0, t0)
				VMOVDQA32(t0, s.word(t))
			})
		case t < 8:
			add(func() {
				VMOVDQA32(s.result(t), t0)
				VPADDD_BCST(s.field(tail.Mid+4*t), t0, t0)
				VMOVDQA32(t0, s.word(t))
				VPADDD_BCST(pooled(k[t]), h, h)
				VPADDD(t0, h, h)
			})
		default:
			add(func() { VPADDD_BCST(pooled(k[t]+tail.DigestPadding[t]), h, h) })
		}
		add(s.state.round(t, true)...)
	}
	// Rounds 16 and 17 expect W[14] and W[15] here.
	add(func() {
		VPBROADCASTD(pooled(0), s.newest[0])
		VPBROADCASTD(pooled(fips180.DigestBits), s.newest[1])
	})
	return pieces
}

func (s *second) field(offset int) Mem { return s.record.Offset(offset) }

// loop is eight rounds from base, a multiple of 8, as the body of a loop.
func (s *second) loop(base int) (pieces []piece) {
	word := s.wordInLoop(base)
	for t := base; t < base+8; t++ {
		pieces = append(pieces, s.schedule(t, word, tail.AnyWord(t))...)
		pieces = append(pieces, s.round(t, Mem{Base: pK, Disp: 4 * (t - base)}, true)...)
	}
	return pieces
}

// straight is rounds first to last-1 outside of a loop; first is 24 or more.
func (s *second) straight(first, last int) (pieces []piece) {
	for t := first; t < last; t++ {
		pieces = append(pieces, s.schedule(t, s.word, tail.DigestWord(t))...)
		// Round 60 makes the result's last word of A[56], so that is the last
		// a that is needed.
		pieces = append(pieces, s.round(t, pooled(fips180.K[t]), t <= 56)...)
	}
	return pieces
}

func (s *second) round(t int, k Mem, aHalf bool) []piece {
	h := s.state.at(t)[7]
	return append([]piece{func() {
		VPADDD_BCST(k, h, h)
		VPADDD(s.newest[t%2], h, h)
	}}, s.state.round(t, aHalf)...)
}

// schedule computes W[t] into newest[t%2], where W[t-2] was, and into its row.
func (s *second) schedule(t int, word func(int) Mem, sum tail.Sum) []piece {
	w := s.newest[t%2]
	return []piece{func() {
		addUp(sum, func(u int) Op { return word(u) }, w, s.record, w)
		if t < 56 { // the words from here on are used from newest only
			VMOVDQA32(w, word(t))
		}
	}}
}

// verdict writes a bit for each lane whose last word passes the mask.
func (s *second) verdict() []piece {
	e := s.state.at(61)[4]
	mask := []reg.OpmaskPhysical{reg.K1, reg.K2}[s.index]
	return []piece{func() {
		VPADDD_BCST(pooled(fips180.IV[7]), e, e)
		VPTESTNMD_BCST(Mem{Base: pMask}, e, mask)
		KMOVW(mask, Mem{Base: pOut, Disp: 2 * s.index})
	}}
}
