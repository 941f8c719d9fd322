package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/tail"
)

// The kernel for AVX2. All rounds are SHA instructions. In block b
//
//   - X4 to X11, four hashes at once, do rounds 16 to 61 of the second hash of hashes 0
//     to 3 of group b-4, then the first hash of group b in two batches of four;
//   - X12 to X15, two hashes at once, do the same rounds for hashes 4 to 7 of group b-4
//     in two batches, then rounds 0 to 15 of the second hash of hashes 4 to 7 of group
//     b-1 and 0 to 3 of group b;
//   - Y0 to Y3 make the message words up to middle of group b-2 and those from
//     middle on of group b-3: two chains, for one would be bound by its latency.
//
// Zen 3 takes hundreds of cycles for each change between instructions without VEX, as
// the SHA instructions are, and others while the upper half of any register is not zero.
// So vector code comes in pieces that leave nothing in registers, and VZEROUPPER, which
// is almost free, ends each of them.

// When things happen. These figures are the best of some hundred that were tried on
// Zen 3; they matter by a few percent.
const (
	middle = 38
	// The last rounds of a group end at these times.
	endFour = 276 * block / 1000 // of X4 to X11
	endTwo  = 273 * block / 1000 // of each batch of X12 to X15
	// What vector code comes later than evenly spread.
	late = 3 * block / 1000
)

// Rooms hold the data of one group in progress. There are five, used in turn.
const (
	row        = 32
	roomSums   = 0              // sums of rounds 0 to 7, see digestHead
	roomPairs  = 256            // sums of rounds 16 … 60: a row for hashes 0, 1, 4, 5, one for 2, 3, 6, 7
	roomRing   = 256 + 23*2*row // the last 16 message words
	roomStates = roomRing + 16*row
	roomSize   = roomStates + 256
	rooms      = 5
)

// Offsets in the buffer, which is hybridBuffer in Go.
const (
	bufDigests = rooms * roomSize // of the first hashes of a group, as they come
	bufLast    = bufDigests + 256 // the last words of the eight hashes
	bufEven    = bufLast + row    // sums of an even round, until those of the odd one
	bufHalves  = bufEven + 2*row  // of a transposition
	bufRooms   = bufHalves + 4*row
	bufStates  = bufRooms + 64 // X4 … X15 between calls
)

// General registers. Those whose name has no number make shorter instructions. pRoom
// point into the middle of the rings of groups b, b-1, b-2, b-3 and b-4, so that half of
// a ring is within the reach of short offsets.
var (
	pRoom   = [rooms]reg.GPPhysical{reg.R8, reg.R9, reg.RAX, reg.RCX, reg.RDX}
	pBuffer = reg.RBX
	pTable  = reg.RSI
	pRecord = reg.RDI // of group b; before the first hash begins, of group b-1
	pMask   = reg.R10 // eight times the mask
	pOut    = reg.R11
	left    = reg.R12
	pEnd    = reg.R13 // of the records
	pBefore = reg.R14 // record of the group before
	spare   = reg.R15
)

const roomMiddle = roomRing + 4*row

func buffer(offset int) Mem      { return Mem{Base: pBuffer, Disp: offset} }
func room(age, offset int) Mem   { return Mem{Base: pRoom[age], Disp: offset - roomMiddle} }
func ring(age, t int) Mem        { return room(age, roomRing+row*(t%16)) }
func digest(j int) (Mem, Mem)    { return buffer(bufDigests + 32*j), buffer(bufDigests + 32*j + 16) }
func later(j int, s state) state { return func(i int) (Mem, Mem) { return s(i + j) } }
func middleState(age int) state {
	return func(j int) (Mem, Mem) { return room(age, roomStates+32*j), room(age, roomStates+32*j+16) }
}

// sigma is the xor of x rotated by a and by b and shifted by c. The order says which
// instruction is next, a shift (s) or the xor of the two oldest results (x).
func (s *stream) sigma(x Op, a, b, c uint64, order string) *value {
	right := func(n uint64) func([]Op, Op) {
		return func(in []Op, out Op) { VPSRLD(Imm(n), in[0], out) }
	}
	left := func(n uint64) func([]Op, Op) {
		return func(in []Op, out Op) { VPSLLD(Imm(n), in[0], out) }
	}
	shifts := []func([]Op, Op){right(c), right(a), right(b), left(32 - a), left(32 - b)}
	var parts []Op
	for _, kind := range order {
		if kind == 's' {
			parts = append(parts, s.do(shift, shifts[0], x))
			shifts = shifts[1:]
			continue
		}
		sum := s.do(other, func(in []Op, out Op) { VPXOR(in[1], in[0], out) }, parts[0], parts[1])
		parts = append([]Op{sum}, parts[2:]...)
	}
	return parts[0].(*value)
}

// Orders of sigma for four registers, and for three because one is taken. Zen 3 deals
// instructions out to two schedulers by turns, and each of these has one unit for shifts:
// so shifts are at odd and at even places (67 cycles a hash in the prototype; the plain
// alternation of the two makes 69).
const (
	fourFree  = "sssxxssxx"
	threeFree = "ssxsxssxx"
)

// digestWords makes the words 0 to 7 of the second message from the sums of rounds 0
// to 7.
func (s *stream) digestWords(age int) {
	for half := range 2 {
		sums := func(i int) Mem { return room(age, roomSums+half*sumsHalf+row*i) }
		halves := func(i int) Mem { return buffer(bufHalves + row*i) }
		for p := range 2 {
			low, high := s.unpackWords(s.load(sums(2*p)), sums(2*p+1))
			s.store(low, halves(p))
			s.store(high, halves(2+p))
		}
		for p := range 2 {
			x, y := s.load(halves(2*p)), halves(2*p+1)
			for i, sum := range []*value{s.unpackLowPairs(x, y), s.unpackHighPairs(x, y)} {
				t := sumOrder[4*half+2*p+i]
				s.store(s.add(sum, pool.At(-fips180.K[t])), ring(age, t))
			}
		}
	}
}

// schedule makes the message words from first to end-1 of the second hash and the sums
// of their rounds.
func (s *stream) schedule(age, first, end int) {
	for t := first; t < end; t++ {
		sum := tail.DigestWord(t)
		var w *value
		if sum.Sigma0 != 0 {
			w = s.sigma(s.load(ring(age, sum.Sigma0)), 7, 18, 3, fourFree)
		}
		for _, u := range sum.Words {
			if w == nil {
				w = s.load(ring(age, u))
			} else {
				w = s.add(w, ring(age, u))
			}
		}
		if sum.Constant != 0 {
			w = s.add(w, pool.At(sum.Constant))
		}
		if sum.Sigma1 {
			w = s.add(s.sigma(s.load(ring(age, t-2)), 17, 19, 10, threeFree), w)
		}
		s.store(w, ring(age, t))

		// Sums of two rounds of a hash are to be neighbours.
		kw := s.add(w, pool.At(fips180.K[t]))
		even := buffer(bufEven + row*(age%2))
		if t%2 == 0 && t != lastRound {
			s.store(kw, even)
			continue
		}
		var low, high *value
		if t%2 == 0 {
			low, high = s.unpackWords(kw, kw)
		} else {
			low, high = s.unpackWords(s.load(even), kw)
		}
		pairs := roomPairs + (t-16)/2*2*row
		s.store(low, room(age, pairs))
		s.store(high, room(age, pairs+row))
	}
}

// lastRound of the second hash makes the e that is h, the last word, after round 63.
const lastRound = 60

// verdict writes a bit for each hash whose last word passes the mask.
func (s *stream) verdict() {
	last := s.add(s.load(buffer(bufLast)), pool.At(fips180.IV[7]))
	last = s.do(other, func(in []Op, out Op) { VPAND(in[1], in[0], out) }, last, Mem{Base: pMask})
	zero := s.do(other, func(_ []Op, out Op) { VPXOR(out, out, out) })
	last = s.do(other, func(in []Op, out Op) { VPCMPEQD(in[0], in[1], out) }, last, zero)
	*s = append(*s, instruction{write: func(in []Op, _ Op) {
		VMOVMSKPS(in[0], spare.As32())
		MOVB(spare.As8(), Mem{Base: pOut})
	}, in: []Op{last}, wide: true})
}

// vectorsAVX2 is the vector code of a block, with more streams if need be.
func vectorsAVX2(more ...stream) []instruction {
	var young, old, end stream
	young.digestWords(2)
	young.schedule(2, 16, middle)
	old.schedule(3, middle, lastRound+1)
	end.verdict()
	list := []instruction{}
	for _, s := range append([]stream{young, old}, more...) {
		spread(s)
		list = merge(list, s)
	}
	// The streams need not be of one length, the code is to be even.
	all := stream(list)
	spread(all)
	for i := range all {
		all[i].at += late
	}
	for i := range end {
		end[i].at = 2 * block
	}
	return append(all, end...)
}

// lastRounds does rounds 16 to 61 of the second hash of hashes j and following.
func lastRounds(list []*hash, j int) []step {
	const age = 4
	steps := load(list, later(j, middleState(age)))
	for t := 16; t <= lastRound; t += 2 {
		steps = append(steps, ownRounds(list, func(i int) Mem {
			return room(age, roomPairs+(t-16)/2*2*row+pairOf(i+j))
		}))
	}
	var last step
	for i, h := range list {
		abef := h.abef
		last = append(last, fixed(func() { VMOVD(abef, buffer(bufLast+4*(i+j))) })) // f now: e of round 60
	}
	return append(steps, last)
}

// nextRecord goes on to the next group: of the next nonce after the last version.
func nextRecord() step {
	return step{
		fixed(func() { LEAQ(Mem{Base: pTable, Disp: tableSize}, spare) }),
		fixed(func() { ADDQ(U32(recordSize), pRecord) }),
		fixed(func() { CMPQ(pRecord, pEnd) }),
		fixed(func() { CMOVQEQ(spare, pTable) }),
		fixed(func() { CMOVQEQ(Mem(NewParamAddr("records", 0)), pRecord) }),
	}
}

func records(base reg.Register, j int) func(i int) Mem {
	return func(i int) Mem { return Mem{Base: base, Disp: 32 * (i + j)} }
}

func sums(age, j int) func(i int) Mem {
	return func(i int) Mem { return room(age, roomSums+lanes(i+j)) }
}

// shaAVX2 is what the SHA instructions do in a block: the first hash of hashes j and
// following is what first says, and the records of a group are at mid, of this one or of the
// one before.
func shaAVX2(first func(four []*hash, j int) []step, mid func(before bool, j int) func(i int) Mem) []instruction {
	four, two := hashes(0, 4), hashes(4, 2)
	list := place(lastRounds(four, 0), 0, endFour)
	batch := (block - endFour) / 2
	for i := range 2 {
		list = append(list, place(first(four, 4*i), endFour+i*batch, endFour+(i+1)*batch)...)
	}
	var beside []instruction
	for i := range 2 {
		beside = append(beside, place(lastRounds(two, 4+2*i), i*endTwo, (i+1)*endTwo)...)
	}
	batch = (block - 2*endTwo) / 4
	for i := range 4 {
		j, age := 4+2*i, 1
		if i >= 2 {
			j, age = 2*i-4, 0
		}
		steps := digestHead(two, later(j, digest), mid(age == 1, j), sums(age, j), later(j, middleState(age)))
		beside = append(beside, place(steps, 2*endTwo+i*batch, 2*endTwo+(i+1)*batch)...)
	}
	return merge(list, beside)
}

// sharedFirst is the first hash with the sums of a table, of hashes j and following of a record.
func sharedFirst(four []*hash, j int) []step {
	steps := firstHash(four, records(pRecord, j), Mem{Base: pTable}, later(j, digest))
	if j == 0 {
		before := step{fixed(func() { MOVQ(pRecord, pBefore) })}
		steps = append([]step{append(before, nextRecord()...)}, steps...)
	}
	return steps
}

func mids(base reg.Register, j int) func(i int) Mem {
	return func(i int) Mem { return Mem{Base: base, Disp: recordMid + 32*(i+j)} }
}

// rollFunction begins a function. The work goes on after record previous, of the nonce of
// the table.
func rollFunction(name string) {
	TEXT(name, NOSPLIT,
		"func(records, end, previous *byte, table *byte, blocks int, buffer *byte, mask *uint32, out *byte)")
	Pragma("noescape")
	Load(Param("end"), pEnd)
	Load(Param("previous"), pRecord)
	Load(Param("table"), pTable)
	Load(Param("blocks"), left)
	Load(Param("buffer"), pBuffer)
	Load(Param("mask"), pMask)
	Load(Param("out"), pOut)
	MOVQ(pRecord, pBefore)
}

// rollAVX2 writes the kernel.
func rollAVX2() {
	rollFunction("hybridRollAVX2")
	sha := shaAVX2(sharedFirst, func(before bool, j int) func(i int) Mem {
		if before {
			return mids(pBefore, j)
		}
		return mids(pRecord, j)
	})
	nothing := func() {}
	blocksAVX2(merge(sha, vectorsAVX2()), nothing, nothing)
}

// blocksAVX2 writes the loop over blocks and the end of a function, with what is to be done
// at these two.
func blocksAVX2(list []instruction, atBlock, atEnd func()) {
	for i, r := range pRoom {
		MOVQ(buffer(bufRooms+8*i), r)
	}
	loadStates()

	data.Align()
	Label("block")
	write(oddDistances(cleanUppers(list)), []reg.VecPhysical{reg.Y1, reg.Y2, reg.Y3, reg.Y0})
	MOVQ(pRoom[rooms-1], spare)
	for i := rooms - 1; i > 0; i-- {
		MOVQ(pRoom[i-1], pRoom[i])
	}
	MOVQ(spare, pRoom[0])
	atBlock()
	INCQ(pOut)
	DECQ(left)
	JNZ(LabelRef("block"))

	for i, r := range pRoom {
		MOVQ(r, buffer(bufRooms+8*i))
	}
	atEnd()
	saveStates()
	VZEROUPPER()
	RET()
}

// eachState calls f for the registers of the hashes and where they are between calls.
func eachState(f func(x reg.VecPhysical, m Mem)) {
	for i, h := range hashes(0, 6) {
		f(h.abef, buffer(bufStates+32*i))
		f(h.cdgh, buffer(bufStates+32*i+16))
	}
}

func loadStates() { eachState(func(x reg.VecPhysical, m Mem) { VMOVDQA(m, x) }) }
func saveStates() { eachState(func(x reg.VecPhysical, m Mem) { VMOVDQA(x, m) }) }

// cleanUppers puts a VZEROUPPER between vector code and the SHA instruction that
// follows it.
func cleanUppers(list []instruction) (clean []instruction) {
	dirty := false
	for _, x := range list {
		if x.class == rounds && dirty {
			clean = append(clean, fixed(VZEROUPPER))
		}
		dirty = x.wide || dirty && x.class != rounds
		clean = append(clean, x)
	}
	return clean
}

// oddDistances puts NOPs in so that from each SHA256RNDS2 to the next it is an odd
// number of instructions, for the same reason (without: 72 cycles a hash and not 70).
func oddDistances(list []instruction) (odd []instruction) {
	distance := 0
	for _, x := range list {
		distance++
		if x.class == rounds {
			if distance%2 == 0 {
				odd = append(odd, fixed(func() { Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{Imm(0x90)}}) }))
			}
			distance = 0
		}
		odd = append(odd, x)
	}
	return odd
}

var pool = data.NewPool("hybridPool", 8)
