package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// A step is a few instructions for one or more hashes on the SHA instructions that
// stay together: a load of the sums for two rounds and the rounds.
type step []instruction

// fixed is an instruction whose registers are given.
func fixed(write func()) instruction {
	return instruction{write: func([]Op, Op) { write() }}
}

// hash is one hash on its way: abef = [f e b a] and cdgh = [h g d c], lowest word
// first.
type hash struct{ abef, cdgh reg.VecPhysical }

// kw is the operand that SHA256RNDS2 does not name.
var kw = reg.X0

// hashes are the registers from X4 on, a pair for each.
func hashes(first, n int) (list []*hash) {
	x := []reg.VecPhysical{
		reg.X4, reg.X5, reg.X6, reg.X7, reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15,
	}
	for i := first; i < first+n; i++ {
		list = append(list, &hash{x[2*i], x[2*i+1]})
	}
	return list
}

// rounds2 does two rounds with the sums in kw.
func (h *hash) rounds2() instruction {
	a, c := h.abef, h.cdgh
	h.abef, h.cdgh = c, a // what was abef is the new cdgh
	return instruction{class: rounds, write: func([]Op, Op) { SHA256RNDS2(kw, a, c) }}
}

// loadSums loads two words; VMOVQ would be a byte longer.
func loadSums(m Mem) instruction { return fixed(func() { VMOVSD(m, kw) }) }

// sameRounds does two rounds of all hashes with the same sums.
func sameRounds(list []*hash, sums Mem) step {
	s := step{loadSums(sums)}
	for _, h := range list {
		s = append(s, h.rounds2())
	}
	return s
}

// ownRounds does two rounds of each hash with sums of its own.
func ownRounds(list []*hash, sums func(i int) Mem) (s step) {
	for i, h := range list {
		s = append(s, loadSums(sums(i)), h.rounds2())
	}
	return s
}

// state says where a hash's registers are in memory.
type state func(i int) (abef, cdgh Mem)

func load(list []*hash, from state) (steps []step) {
	for i, h := range list {
		a, c := from(i)
		x, y := h.abef, h.cdgh
		steps = append(steps, step{fixed(func() { VMOVDQA(a, x) }), fixed(func() { VMOVDQA(c, y) })})
	}
	return steps
}

func save(list []*hash, to state) (steps []step) {
	for i, h := range list {
		a, c := to(i)
		x, y := h.abef, h.cdgh
		steps = append(steps, step{fixed(func() { VMOVDQA(x, a) }), fixed(func() { VMOVDQA(y, c) })})
	}
	return steps
}

// beginFirst sets hashes to their states after round 3. A record has them with nonce 0,
// nonce is what is to be added to abef.
func beginFirst(list []*hash, record, nonce func(i int) Mem) (steps []step) {
	for i, h := range list {
		x, y := h.abef, h.cdgh
		r, n := record(i), nonce(i)
		steps = append(steps, step{
			fixed(func() { VMOVDQA(r, x) }),
			fixed(func() { VPADDD(n, x, x) }),
			fixed(func() { VMOVDQA(r.Offset(16), y) }),
		})
	}
	return steps
}

// firstHash does rounds 4 to 63 of the first hash with the sums of a table.
func firstHash(list []*hash, record func(i int) Mem, table Mem, to state) []step {
	steps := beginFirst(list, record, func(int) Mem { return table.Offset(tableNonce) })
	for t := 4; t < 64; t += 2 {
		steps = append(steps, sameRounds(list, table.Offset(tableKW+4*(t-4))))
	}
	return append(steps, save(list, to)...)
}

// digestHead makes sums of the digests and does rounds 0 to 15 of the second hash.
// The digest from is [f e b a] and [h g d c], the midstate in a record
// [e f a b] and [g h c d] with the constants of the rounds that these words are
// for: turned round, the sum is what rounds 4, 5, 0 and 1, and 6, 7, 2 and 3 add.
func digestHead(list []*hash, from state, record func(i int) Mem, sums func(i int) Mem, to state) (steps []step) {
	for i, h := range list {
		a, c := from(i)
		for half, x := range []reg.VecPhysical{h.abef, h.cdgh} {
			digest, mid := []Mem{a, c}[half], record(i).Offset(16*half)
			sum := sums(i).Offset(sumsHalf * half)
			steps = append(steps, step{
				fixed(func() { VPSHUFD(Imm(0xb1), digest, x) }),
				fixed(func() { VPADDD(mid, x, x) }),
				fixed(func() { VMOVDQA(x, sum) }),
				fixed(func() { VMOVDQA(initial.Offset(16*half), x) }),
			})
		}
	}
	for _, offset := range []int{8, sumsHalf + 8, 0, sumsHalf} { // rounds 0, 2, 4 and 6
		steps = append(steps, ownRounds(list, func(i int) Mem { return sums(i).Offset(offset) }))
	}
	for t := 8; t < 16; t += 2 {
		steps = append(steps, sameRounds(list, padding.Offset(4*(t-8))))
	}
	return append(steps, save(list, to)...)
}

// place gives steps times between from and to, in blocks that follow each other, in
// proportion to their lengths, and returns their instructions. Those of the next
// blocks are of earlier groups.
func place(steps []step, from, to int) (list []instruction) {
	total, done := 0, 0
	for _, s := range steps {
		total += len(s)
	}
	for _, s := range steps {
		at := from + (to-from)*(2*done+len(s))/(2*total)
		for _, x := range s {
			x.at = at % block
			list = append(list, x)
		}
		done += len(s)
	}
	return list
}

// Offsets in a record of eight versions. The halves of 32 bytes are those of one
// version.
const (
	recordRound3 = 0   // abef and cdgh after round 3, with nonce 0
	recordMid    = 256 // midstate and constants, see digestHead
	recordSize   = 512
)

// Offsets in a table, the data of one nonce; it is extensionTable in Go.
const (
	tableNonce = 0  // [0 w 0 w]: what the nonce word adds to abef
	tableKW    = 16 // K[t]+W[t] for t = 4 … 63
	tableSize  = 256
)

// The sums of rounds 0 to 7 of eight hashes lie so that unpacking makes rows of
// them: the 16 bytes of hash j are at lanes(j), those of its second half sumsHalf
// after them. States lie in the same way where they are made rows too.
const sumsHalf = 128

func lanes(j int) int { return j%4*32 + j/4*16 }

// pairOf is where the sums of two rounds of hash j are when the rows of the first and of
// the second round have been interleaved: the first result holds hashes 0, 1, 4 and 5,
// the second one the others.
func pairOf(j int) int { return j%4/2*row + j/4*16 + j%2*8 }

const lanesPerGroup = 8

// sumOrder are the words of a digest in the order of those rows.
var sumOrder = [8]int{4, 5, 0, 1, 6, 7, 2, 3}

var (
	initial   Mem // the initial state as registers hold it
	swapBytes Mem // reverses the bytes of each word
	padding   Mem // K[t]+W[t] of rounds 8 … 15 of the second hash
)

func constants() {
	iv := fips180.IV
	initial = data.Words("hybridInitial", iv[5], iv[4], iv[1], iv[0], iv[7], iv[6], iv[3], iv[2])
	var sums []uint32
	for t := 8; t < 16; t++ {
		sums = append(sums, fips180.K[t]+tail.DigestPadding[t])
	}
	padding = data.Words("hybridPadding", sums...)
	swapBytes = data.SwapBytes("hybridSwap", row)
}
