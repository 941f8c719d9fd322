package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
	"lode/_asm/tail"
)

var (
	sum0   = []uint64{2, 13, 22}
	sum1   = []uint64{6, 11, 25}
	sigma0 = []uint64{7, 18}
	sigma1 = []uint64{17, 19}
)

// rotations sets dst to the xor of rotations of x and, unless it is 0, of a shift.
func rotations(x reg.VecPhysical, r []uint64, shift uint64, dst reg.VecPhysical) {
	for i, n := range r {
		if i == 0 {
			VPSRLD(Imm(n), x, dst)
		} else {
			VPSRLD(Imm(n), x, t0)
			VPXOR(t0, dst, dst)
		}
		VPSLLD(Imm(32-n), x, t1)
		VPXOR(t1, dst, dst)
	}
	if shift != 0 {
		VPSRLD(Imm(shift), x, t0)
		VPXOR(t0, dst, dst)
	}
}

func addBroadcast(m Mem, dst reg.VecPhysical) {
	VPBROADCASTD(m, t0)
	VPADDD(t0, dst, dst)
}

// stateAt names the registers for round t: a, b, c, d, e, f, g, h.
func stateAt(t int) (r [8]reg.VecPhysical) {
	all := [8]reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7}
	for j := range r {
		r[j] = all[((j-t)%8+8)%8]
	}
	return r
}

// beginRounds prepares for rounds from t.
func beginRounds(t int) {
	r := stateAt(t)
	VPXOR(r[1], r[2], xors[t%2])
}

// round is round t. To h the caller has added the message word and the constant.
// Without the a-half only e is computed.
func round(t int, aHalf bool) {
	r := stateAt(t)
	a, b, d, e, f, g, h := r[0], r[1], r[3], r[4], r[5], r[6], r[7]
	VPXOR(f, g, t3) // choose: g xor (e and (f xor g))
	VPAND(e, t3, t3)
	VPXOR(g, t3, t3)
	VPADDD(t3, h, h)
	rotations(e, sum1, 0, t2)
	VPADDD(t2, h, h)
	VPADDD(h, d, d)
	if !aHalf {
		return
	}
	ab, bc := xors[(t+1)%2], xors[t%2]
	VPXOR(a, b, ab) // majority: b xor ((a xor b) and (b xor c))
	VPAND(ab, bc, bc)
	VPXOR(b, bc, bc)
	VPADDD(bc, h, h)
	rotations(a, sum0, 0, t2)
	VPADDD(t2, h, h)
}

// word is the row of W[t] in the ring.
func word(t int) Mem { return Mem{Base: pBuffer, Disp: bufRing + t%16*row} }

// wordInLoop is the row of W[t] in a loop whose first round is a multiple of 8,
// base, by the registers that point to the two halves of the ring.
func wordInLoop(base int) func(t int) Mem {
	return func(t int) Mem {
		half := pHalf
		if (t-base+16)/8%2 == 1 {
			half = pOther
		}
		return Mem{Base: half, Disp: (t - base + 16) % 8 * row}
	}
}

// addUp puts a sum into dst, which is W[t-2] before. word gives the row of a
// message word.
func addUp(s tail.Sum, word func(int) Mem, dst reg.VecPhysical) {
	if s.Sigma1 {
		rotations(dst, sigma1, 10, t3)
	}
	started := s.Sigma1
	for _, u := range s.Words {
		if started {
			VPADDD(word(u), t3, t3)
		} else {
			VMOVDQU(word(u), t3)
		}
		started = true
	}
	if s.Sigma0 != 0 {
		VMOVDQU(word(s.Sigma0), t2)
		to := dst
		rotations(t2, sigma0, 3, to)
		if started {
			VPADDD(to, t3, t3)
		} else {
			VMOVDQA(to, t3)
		}
	}
	if s.Job != 0 {
		addBroadcast(Mem{Base: pRecord, Disp: s.Job}, t3)
	}
	if s.Constant != 0 {
		VPADDD(pool.At(s.Constant), t3, t3)
	}
	VMOVDQA(t3, dst)
}

// scheduledRound computes W[t] and does round t.
func scheduledRound(t int, s tail.Sum, word func(int) Mem, k Mem, aHalf bool) {
	w := newest[t%2]
	addUp(s, word, w)
	if t < 56 { // the words from here on are used from newest only
		VMOVDQU(w, word(t))
	}
	h := stateAt(t)[7]
	VPADDD(k, h, h)
	VPADDD(w, h, h)
	round(t, aHalf)
}

// eightRounds is the body of the loop over rounds with a schedule of which nothing
// is known.
func eightRounds() {
	const base = 16
	for t := base; t < base+8; t++ {
		scheduledRound(t, tail.AnyWord(t), wordInLoop(base), Mem{Base: pK, Disp: row * (t - base)}, true)
	}
	XCHGQ(pHalf, pOther)
	ADDQ(U32(8*row), pK)
}

// enterLoop prepares for the loop from round t. The second byte of its counter says
// what comes after it.
func enterLoop(t, times, after int) {
	MOVQ(pBuffer, pHalf)
	LEAQ(Mem{Base: pBuffer, Disp: 8 * row}, pOther)
	LEAQ(kRows.Offset(row*t), pK)
	MOVL(U32(after<<8|times), count.As32())
}

// What comes after the loop.
const (
	afterFirst = iota // hash, at round 63
	after24           // rounds of the second hash
	after56
)

// firstState makes the state after round 3 from the nonce words.
func firstState(nonces reg.VecPhysical) {
	r := stateAt(4)
	for i, offset := range []int{tail.A, tail.B, tail.C, tail.D, tail.E, tail.F, tail.G} {
		VPBROADCASTD(Mem{Base: pRecord, Disp: offset}, r[i])
	}
	VPADDD(nonces, r[0], r[0])
	VPADDD(nonces, r[4], r[4])
	beginRounds(4)
}

// firstRounds is rounds 4 to 7.
func firstRounds() {
	for t := 4; t < 8; t++ {
		h := stateAt(t)[7]
		if t < 7 {
			VPBROADCASTD(Mem{Base: pRecord, Disp: tail.H + 4*(t-4)}, h)
		} else {
			VPADDD(pool.At(fips180.K[t]), h, h)
		}
		round(t, true)
	}
}

// digestHead is rounds 0 to 15 of the second hash, from the state after round 63 of
// the first.
func digestHead() {
	iv, k := fips180.IV, fips180.K
	mid := func(t int) Mem { return Mem{Base: pRecord, Disp: tail.Mid + 4*t} }
	for t, x := range stateAt(64) {
		VPBROADCASTD(mid(t), t0)
		VPADDD(x, t0, t0)
		VMOVDQU(t0, word(t))
	}
	for _, v := range []uint32{fips180.Pad, 0, fips180.DigestBits} {
		VMOVDQU(pool.At(v), newest[1])
		for t := 8; t < 16; t++ {
			if tail.DigestPadding[t] == v {
				VMOVDQU(newest[1], word(t))
			}
		}
	}
	VMOVDQU(pool.At(0), newest[0]) // W[14]; newest[1] is W[15] now

	// Round 0 adds its message word to known values.
	known := iv[7] + fips180.Sum1(iv[4]) + fips180.Choose(iv[4], iv[5], iv[6]) + k[0]
	newE := iv[3] + known
	newA := known + fips180.Sum0(iv[0]) + fips180.Majority(iv[0], iv[1], iv[2])
	r := stateAt(1)
	VMOVDQU(word(0), t0)
	VPADDD(pool.At(newA), t0, r[0])
	VPADDD(pool.At(newE), t0, r[4])
	for _, x := range []struct {
		register int
		value    uint32
	}{{1, iv[0]}, {2, iv[1]}, {3, iv[2]}, {5, iv[4]}, {6, iv[5]}, {7, iv[6]}} {
		VMOVDQU(pool.At(x.value), r[x.register])
	}
	beginRounds(1)
	for t := 1; t < 16; t++ {
		h := stateAt(t)[7]
		VPADDD(pool.At(k[t]+tail.DigestPadding[t]), h, h)
		if t < 8 {
			VPADDD(word(t), h, h)
		}
		round(t, true)
	}
}

// digestRounds is rounds first to last-1 of the second hash outside of the loop.
func digestRounds(first, last int) {
	for t := first; t < last; t++ {
		// Round 60 makes the result's last word of A[56], so that is the last a
		// that is needed.
		scheduledRound(t, tail.DigestWord(t), word, kRows.Offset(row*t), t <= 56)
	}
}

// verdict writes a bit for each lane whose last word passes the mask.
func verdict() {
	e := stateAt(61)[4]
	VPADDD(pool.At(fips180.IV[7]), e, e)
	VPBROADCASTD(Mem{Base: pMask}, t0)
	VPAND(t0, e, e)
	VPXOR(t1, t1, t1)
	VPCMPEQD(t1, e, e)
	VMOVMSKPS(e, bits.As32())
	MOVB(bits.As8(), Mem{Base: pOut})
}
