package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// The kernel for AVX-512VL and a fixed version. The eight hashes of a group are nonces;
// each has a message schedule of its own for the first hash too, which vectors make. For
// group g, in blocks:
//
//   - vectors make the schedule of the first hash from g on, before g+scheduled;
//   - X4 to X11 do the first hash from g+1/2 to g+3/2, four nonces after four;
//   - X12 to X15 do rounds 0 to 15 of the second hash from g+plain2 to g+plainEnd2;
//   - vectors do the rest from g+2 to g+3.
const (
	scheduled = 90 * block / 100
	plain2    = 104 * block / 100
	plainEnd2 = 197 * block / 100
	ownFirst  = 18 // the first round of the first hash whose word depends on the nonce
)

// Offsets in the buffer. The sums of the first hash are there twice, for a group's
// second half does its rounds while those of the next group are made; pSums and
// pSumsBefore point to them.
const (
	plainRing   = wideDigests + 256
	plainNonces = plainRing + 16*row // the nonces of the next group, as numbers
)

// General registers, of those that the other kernels use for other things.
var (
	pSums       = pRoom[2]
	pSumsBefore = pRoom[3]
	pJob        = pRoom[4] // a vectorRecord
)

// Offsets in the room for the sums of a group's first hashes.
const (
	sumsNonce = 0   // what is added to abef: [0 w 0 w], as lanes says
	sumsPairs = 256 // of rounds from ownFirst on
)

func sumsOf(sums reg.Register, offset int) Mem { return Mem{Base: sums, Disp: offset} }

// schedule makes what the first hashes of a group need: the nonce words that are added
// to abef and the sums of rounds 18 to 63.
func (s *wide) schedule() {
	word := func(t int) Mem { return buffer(plainRing + row*(t%16)) }
	nonces := buffer(plainNonces)
	n := s.load(nonces)
	s.store(s.addConstant(n, lanesPerGroup), nonces)
	w := s.do(other, func(in []Op, out Op) { VPSHUFB(swapBytes, in[0], out) }, n)
	s.store(w, word(3))
	zero := s.do(other, func(_ []Op, out Op) { VPXORD(out, out, out) })
	low, high := s.unpackWords(zero, w)
	for i, v := range []*value{low, high} {
		s.store(s.unpackLowPairs(v, v), sumsOf(pSums, sumsNonce+2*i*row))
		s.store(s.unpackHighPairs(v, v), sumsOf(pSums, sumsNonce+(2*i+1)*row))
	}
	for i, offset := range []int{tail.W16, tail.W17} {
		v := s.do(other, func(in []Op, out Op) { VPBROADCASTD(in[0], out) }, Mem{Base: pJob, Disp: offset})
		s.store(v, word(16+i))
	}
	var even *value
	for t := ownFirst; t < 64; t++ {
		sum := tail.HeaderWord(t)
		var w *value
		if sum.Sigma1 {
			w = s.sigma(s.load(word(t-2)), 17, 19, 10)
		}
		for _, u := range sum.Words {
			if w == nil {
				w = s.load(word(u))
			} else {
				w = s.add(w, word(u))
			}
		}
		if sum.Sigma0 != 0 {
			x := s.sigma(s.load(word(sum.Sigma0)), 7, 18, 3)
			if w == nil {
				w = x
			} else {
				w = s.add(w, x)
			}
		}
		if sum.Job != 0 {
			w = s.do(other, func(in []Op, out Op) { VPADDD_BCST(in[1], in[0], out) }, w, Mem{Base: pJob, Disp: sum.Job})
		}
		if sum.Constant != 0 {
			w = s.addConstant(w, sum.Constant)
		}
		if t < 62 {
			s.store(w, word(t))
		}
		kw := s.addConstant(w, fips180.K[t])
		if t%2 == 0 {
			even = kw
			continue
		}
		low, high := s.unpackWords(even, kw)
		pair := sumsPairs + (t-ownFirst)/2*2*row
		s.store(low, sumsOf(pSums, pair))
		s.store(high, sumsOf(pSums, pair+row))
	}
}

// ownFirstHash is firstHash of hashes j and following with sums of their own.
func ownFirstHash(list []*hash, j int, sums reg.Register, to state) []step {
	steps := beginFirst(list, func(int) Mem { return Mem{Base: pRecord} },
		func(i int) Mem { return sumsOf(sums, sumsNonce+lanes(i+j)) })
	for t := 4; t < ownFirst; t += 2 {
		steps = append(steps, sameRounds(list, Mem{Base: pTable, Disp: tableKW + 4*(t-4)}))
	}
	for t := ownFirst; t < 64; t += 2 {
		steps = append(steps, ownRounds(list, func(i int) Mem {
			return sumsOf(sums, sumsPairs+(t-ownFirst)/2*2*row+pairOf(i+j))
		}))
	}
	return append(steps, save(list, later(j, to))...)
}

// plainAVX512 writes the kernel.
func plainAVX512() {
	TEXT("hybridPlainAVX512", NOSPLIT,
		"func(record *byte, table *byte, job *byte, blocks int, buffer *byte, mask *uint32, out *byte)")
	Pragma("noescape")
	Load(Param("record"), pRecord)
	Load(Param("table"), pTable)
	Load(Param("job"), pJob)
	Load(Param("blocks"), left)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)
	MOVQ(buffer(bufRooms), pSums)
	MOVQ(buffer(bufRooms+8), pSumsBefore)

	var first, second wide
	first.schedule()
	second.secondHash()
	evenly(second.stream)
	evenly(first.stream)
	for i := range first.stream {
		first.stream[i].at = first.stream[i].at / 100 * (scheduled * 100 / block)
	}
	four := hashes(0, 4)
	sha := place(ownFirstHash(four, 0, pSums, wideDigest), block/2, block)
	sha = append(sha, place(ownFirstHash(four, 4, pSumsBefore, wideDigest), block, block*3/2)...)
	sha = merge(sha, heads(plain2, plainEnd2, func(int) func(int) Mem {
		return func(int) Mem { return Mem{Base: pRecord, Disp: recordMid} }
	}))
	wideBlocks(merge(second.stream, first.stream), sha, func() {
		XCHGQ(pSums, pSumsBefore)
	}, func() {
		MOVQ(pSums, buffer(bufRooms))
		MOVQ(pSumsBefore, buffer(bufRooms+8))
	})
}
