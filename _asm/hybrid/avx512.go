package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// The kernel for AVX-512VL. The SHA instructions do the first hash and rounds 0 to 15 of
// the second; the rest of it is done in vectors. These are 256 bits wide, for wider ones
// leave the SHA instructions too little room on Zen 4. For group g, in blocks:
//
//   - X4 to X11 do the first hash, two batches of four, from g+begin to g+begin+1;
//   - X12 to X15 do rounds 0 to 15 of the second hash, two at a time, from g+begin2 to
//     g+end2;
//   - vectors do the rest from g+2 to g+3.
//
// The figures are the best that were found on Zen 4, where mixing these instructions needs
// no VZEROUPPER.
const (
	begin  = 466 * block / 1000
	begin2 = 996 * block / 1000
	end2   = 1945 * block / 1000
	window = 18 // of byClass
)

// Offsets in the buffer; see also bufStates.
const (
	wideRing    = 0
	wideSums    = 16 * row
	wideStates  = wideSums + 256
	wideDigests = wideStates + 256
)

func wideWord(t int) Mem { return buffer(wideRing + row*(t%16)) }
func wideSum(j int) Mem  { return buffer(wideSums + lanes(j)) }
func wideState(j int) (Mem, Mem) {
	return buffer(wideStates + lanes(j)), buffer(wideStates + lanes(j) + sumsHalf)
}

func wideDigest(j int) (Mem, Mem) {
	return buffer(wideDigests + 32*j), buffer(wideDigests + 32*j + 16)
}

// single holds constants that are broadcast.
var single = data.NewPool("hybridWords", 1)

// wide is a stream for AVX-512VL.
type wide struct{ stream }

func (s *wide) load(m Mem) *value {
	return s.do(other, func(in []Op, out Op) { VMOVDQA32(in[0], out) }, m)
}

func (s *wide) copy(v Op) *value {
	return s.do(other, func(in []Op, out Op) { VMOVDQA32(in[0], out) }, v)
}

func (s *wide) store(v Op, m Mem) {
	s.stream = append(s.stream, instruction{
		write: func(in []Op, _ Op) { VMOVDQA32(in[0], in[1]) }, in: []Op{v, m}, store: true,
	})
}

// addConstant adds c to all lanes.
func (s *wide) addConstant(v Op, c uint32) *value {
	return s.do(other, func(in []Op, out Op) { VPADDD_BCST(in[1], in[0], out) }, v, single.At(c))
}

// logic is ternary logic in the place of a.
func (s *wide) logic(truth uint64, a, b, c Op) *value {
	v := s.do(ternary, func(in []Op, out Op) { VPTERNLOGD(Imm(truth), in[0], in[1], out) }, c, b, a)
	s.stream[len(s.stream)-1].tied = true
	return v
}

func (s *wide) rotate(v Op, n uint64) *value {
	return s.do(shift, func(in []Op, out Op) { VPRORD(Imm(n), in[0], out) }, v)
}

const (
	xor3     = fips180.TableXor
	choose   = fips180.TableChoose
	majority = fips180.TableMajority
)

// sum is the xor of three rotations.
func (s *wide) sum(v Op, a, b, c uint64) *value {
	x, y, z := s.rotate(v, a), s.rotate(v, b), s.rotate(v, c)
	return s.logic(xor3, z, y, x)
}

// sigma is the xor of two rotations and a shift.
func (s *wide) sigma(v Op, a, b, c uint64) *value {
	x, y := s.rotate(v, a), s.rotate(v, b)
	z := s.do(shift, func(in []Op, out Op) { VPSRLD(Imm(c), in[0], out) }, v)
	return s.logic(xor3, z, y, x)
}

// lanesOf makes rows of four words of eight hashes, which lie as lanes says, and calls
// use with each.
func (s *wide) lanesOf(at func(i int) Mem, use func(i int, row *value)) {
	low0, high0 := s.unpackWords(s.load(at(0)), at(1))
	low1, high1 := s.unpackWords(s.load(at(2)), at(3))
	for i, halves := range [][2]*value{{low0, low1}, {high0, high1}} {
		use(2*i, s.unpackLowPairs(halves[0], halves[1]))
		use(2*i+1, s.unpackHighPairs(halves[0], halves[1]))
	}
}

// secondHash is the second hash from round 16 on.
func (s *wide) secondHash() {
	rows := func(offset int) func(i int) Mem {
		return func(i int) Mem { return buffer(offset + row*i) }
	}
	for half := range 2 {
		s.lanesOf(rows(wideSums+half*sumsHalf), func(i int, sum *value) {
			t := sumOrder[4*half+i]
			s.store(s.addConstant(sum, -fips180.K[t]), wideWord(t))
		})
	}
	var state [8]*value // abef and cdgh, lowest word first
	for half := range 2 {
		s.lanesOf(rows(wideStates+half*sumsHalf), func(i int, x *value) { state[4*half+i] = x })
	}
	f, e, b, a := state[0], state[1], state[2], state[3]
	h, g, d, c := state[4], state[5], state[6], state[7]

	newest := map[int]*value{} // message words in registers
	for t := 16; t <= lastRound; t++ {
		word := func(u int) Op {
			if v, ok := newest[u]; ok {
				return v
			}
			return wideWord(u)
		}
		inRegister := func(o Op) *value {
			if m, ok := o.(Mem); ok {
				return s.load(m)
			}
			return o.(*value)
		}
		sum := tail.DigestWord(t)
		var w *value
		if sum.Sigma0 != 0 {
			w = s.sigma(inRegister(word(t-15)), 7, 18, 3)
		}
		for _, u := range sum.Words {
			if w == nil {
				w = inRegister(word(u))
			} else {
				w = s.add(w, word(u))
			}
		}
		if sum.Constant != 0 {
			w = s.addConstant(w, sum.Constant)
		}
		if sum.Sigma1 {
			w = s.add(w, s.sigma(inRegister(word(t-2)), 17, 19, 10))
		}
		newest[t] = w
		delete(newest, t-2)
		if t+7 <= lastRound {
			s.store(w, wideWord(t))
		}

		u := s.add(s.addConstant(h, fips180.K[t]), w)
		u = s.add(u, s.logic(choose, s.copy(e), f, g))
		u = s.add(u, s.sum(e, 6, 11, 25))
		newE := s.add(u, d)
		var newA *value
		if t <= 56 { // round 60 makes the last word of A[56]: no a is needed after it
			m := s.logic(majority, s.copy(a), b, c)
			newA = s.add(u, s.add(s.sum(a, 2, 13, 22), m))
		}
		a, b, c, d, e, f, g, h = newA, a, b, c, newE, e, f, g
	}
	s.stream = append(s.stream, instruction{write: func(in []Op, _ Op) {
		VPTESTNMD_BCST(Mem{Base: pMask}, in[0], reg.K1)
		KMOVB(reg.K1, Mem{Base: pOut})
	}, in: []Op{s.addConstant(e, fips180.IV[7])}})
}

// shaAVX512 is what the SHA instructions do in a block.
func shaAVX512() []instruction {
	four := hashes(0, 4)
	var list []instruction
	for i := range 2 {
		steps := firstHash(four, records(pRecord, 4*i), Mem{Base: pTable}, later(4*i, wideDigest))
		if i == 0 {
			steps = append([]step{nextRecord()}, steps...)
		}
		list = append(list, place(steps, begin+i*block/2, begin+(i+1)*block/2)...)
	}
	record := place([]step{{fixed(func() { MOVQ(pRecord, pBefore) })}}, begin2, begin2)
	return merge(list, record, heads(begin2, end2, func(j int) func(i int) Mem { return mids(pBefore, j) }))
}

// heads is rounds 0 to 15 of the second hashes of a group, two at a time.
func heads(from, to int, mid func(j int) func(i int) Mem) (list []instruction) {
	two := hashes(4, 2)
	for i := range 4 {
		steps := digestHead(two, later(2*i, wideDigest), mid(2*i),
			func(k int) Mem { return wideSum(k + 2*i) }, later(2*i, wideState))
		list = append(list, place(steps, from+i*(to-from)/4, from+(i+1)*(to-from)/4)...)
	}
	return list
}

// wideRegisters are those that the SHA instructions leave.
var wideRegisters = []reg.VecPhysical{
	reg.Y31, reg.Y30, reg.Y29, reg.Y28, reg.Y27, reg.Y26, reg.Y25, reg.Y24,
	reg.Y23, reg.Y22, reg.Y21, reg.Y20, reg.Y19, reg.Y18, reg.Y17, reg.Y16,
	reg.Y3, reg.Y2, reg.Y1,
}

// wideBlocks writes the loop over blocks and the end of a function, with what is to be done
// at these two.
func wideBlocks(vectors stream, sha []instruction, atBlock, atEnd func()) {
	loadStates()
	data.Align()
	Label("block")
	vectors, begins := byClass(vectors, len(wideRegisters), window)
	evenly(vectors)
	snap(sha, begins, len(vectors))
	write(merge(sha, vectors), wideRegisters)
	atBlock()
	INCQ(pOut)
	DECQ(left)
	JNZ(LabelRef("block"))
	atEnd()
	saveStates()
	VZEROUPPER()
	RET()
}

// rollAVX512 writes the kernel.
func rollAVX512() {
	rollFunction("hybridRollAVX512")
	var s wide
	s.secondHash()
	nothing := func() {}
	wideBlocks(s.stream, shaAVX512(), nothing, nothing)
}
