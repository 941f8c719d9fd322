package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// The kernel for AVX2 and a fixed version. It is as the one for AVX2 that rolls, but
// the eight hashes of a group are nonces: vectors make the message schedule of the first
// hash too, in the block before the one that does its rounds.

// Offsets in the buffer, which is hybridPlainAVX2Buffer in Go.
const (
	bufOwnRing   = bufStates + 6*row       // the last 16 message words of the first hashes
	bufOwnNonces = bufOwnRing + 16*row     // the nonces of the next group, as numbers
	bufOwnEven   = bufOwnNonces + row      // sums of an even round, until those of the odd one
	bufOwnJob    = bufOwnEven + row        // rows of the words of ownJob
	bufOwnSums   = bufOwnJob + 5*row       // of the first hashes of two groups, by turns
	bufOwnOrder  = bufOwnSums + 2*ownRooms // where these are, that of the newest group first
	ownRooms     = sumsPairs + 23*2*row
)

// pOwn points to the sums of the group whose words are made, pOwnBefore to those of the group
// before.
var (
	pOwn       = pEnd
	pOwnBefore = pBefore
)

// ownJob are the words of a vectorRecord that a schedule needs.
var ownJob = []int{tail.W16, tail.W17, tail.C18, tail.C19, tail.C31}

func ownJobRow(offset int) Mem {
	for i, o := range ownJob {
		if o == offset {
			return buffer(bufOwnJob + row*i)
		}
	}
	panic("a word that is not in the buffer")
}

func ownWord(t int) Mem {
	switch t {
	case 16:
		return ownJobRow(tail.W16)
	case 17:
		return ownJobRow(tail.W17)
	}
	return buffer(bufOwnRing + row*(t%16))
}

// firstWords makes what the first hashes of a group need: the nonce words that are added
// to abef and the sums of rounds 18 to 63.
func (s *stream) firstWords() {
	nonces := buffer(bufOwnNonces)
	n := s.load(nonces)
	s.store(s.add(n, pool.At(lanesPerGroup)), nonces)
	w := s.do(other, func(in []Op, out Op) { VPSHUFB(swapBytes, in[0], out) }, n)
	s.store(w, ownWord(3))
	zero := s.do(other, func(_ []Op, out Op) { VPXOR(out, out, out) })
	low, high := s.unpackWords(zero, w)
	for i, v := range []*value{low, high} {
		s.store(s.unpackLowPairs(v, v), sumsOf(pOwn, sumsNonce+2*i*row))
		s.store(s.unpackHighPairs(v, v), sumsOf(pOwn, sumsNonce+(2*i+1)*row))
	}
	for t := ownFirst; t < 64; t++ {
		sum := tail.HeaderWord(t)
		var w *value
		plus := func(v Op) {
			if w == nil {
				w = v.(*value)
			} else {
				w = s.add(w, v)
			}
		}
		order := fourFree
		if sum.Sigma0 != 0 {
			plus(s.sigma(s.load(ownWord(sum.Sigma0)), 7, 18, 3, order))
			order = threeFree
		}
		if sum.Sigma1 {
			plus(s.sigma(s.load(ownWord(t-2)), 17, 19, 10, order))
		}
		for _, u := range sum.Words {
			if w == nil {
				w = s.load(ownWord(u))
			} else {
				w = s.add(w, ownWord(u))
			}
		}
		if sum.Job != 0 {
			w = s.add(w, ownJobRow(sum.Job))
		}
		if sum.Constant != 0 {
			w = s.add(w, pool.At(sum.Constant))
		}
		if t < 62 {
			s.store(w, ownWord(t))
		}
		kw := s.add(w, pool.At(fips180.K[t]))
		if t%2 == 0 {
			s.store(kw, buffer(bufOwnEven))
			continue
		}
		low, high := s.unpackWords(s.load(buffer(bufOwnEven)), kw)
		pair := sumsPairs + (t-ownFirst)/2*2*row
		s.store(low, sumsOf(pOwn, pair))
		s.store(high, sumsOf(pOwn, pair+row))
	}
}

// plainAVX2 writes the kernel.
func plainAVX2() {
	TEXT("hybridPlainAVX2", NOSPLIT, "func(record *byte, table *byte, blocks int, buffer *byte, mask *uint32, out *byte)")
	Pragma("noescape")
	Load(Param("record"), pRecord)
	Load(Param("table"), pTable)
	Load(Param("blocks"), left)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)
	order := func(each func(m Mem, p reg.Register)) {
		each(buffer(bufOwnOrder), pOwn)
		each(buffer(bufOwnOrder+8), pOwnBefore)
	}
	order(func(m Mem, p reg.Register) { MOVQ(m, p) })
	var first stream
	first.firstWords()
	sha := shaAVX2(func(four []*hash, j int) []step { return ownFirstHash(four, j, pOwnBefore, digest) },
		func(bool, int) func(i int) Mem {
			return func(int) Mem { return Mem{Base: pRecord, Disp: recordMid} }
		})
	blocksAVX2(merge(sha, vectorsAVX2(first)),
		func() { XCHGQ(pOwn, pOwnBefore) },
		func() { order(func(m Mem, p reg.Register) { MOVQ(p, m) }) })
}
