package main

// SHA256RNDS2 does two rounds on a state that is kept in two registers,
// abef = [f e b a] and cdgh = [h g d c] (lowest word first); the sum of message words
// and round constants of the two rounds is in the low half of X0. One hash alone
// waits for the instruction's latency of four cycles most of the time. So everything
// that can be known ahead is kept out of the chain of rounds, and where there are two
// hashes to do they are done as two streams, instruction by instruction.

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
)

// kw is the operand that SHA256RNDS2 does not name.
var kw = reg.X0

// stream is one hash on its way.
type stream struct {
	abef, cdgh reg.VecPhysical
	quads      [4]reg.VecPhysical // message words W[4q] … W[4q+3], the last four
	spare      reg.VecPhysical
	before     [2]Mem // the state at the block's start, for its end
}

// newStreams gives streams their registers and their places on the stack.
func newStreams(n int) (streams []*stream) {
	free := []reg.VecPhysical{
		reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7, reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14,
	}
	for range n {
		s := &stream{abef: free[0], cdgh: free[1], quads: [4]reg.VecPhysical(free[2:6]), spare: free[6]}
		free = free[7:]
		frame := AllocLocal(32)
		s.before = [2]Mem{frame, frame.Offset(16)}
		streams = append(streams, s)
	}
	return streams
}

// begin sets the state at the start of a hash.
func (s *stream) begin() {
	VMOVDQU(initial[0], s.abef)
	VMOVDQU(initial[1], s.cdgh)
}

// save keeps the state for add.
func (s *stream) save() {
	VMOVDQU(s.abef, s.before[0])
	VMOVDQU(s.cdgh, s.before[1])
}

// add ends a block: the state at its start is added.
func (s *stream) add(before [2]Mem) {
	VPADDD(before[0], s.abef, s.abef)
	VPADDD(before[1], s.cdgh, s.cdgh)
}

// load reads message words from memory.
func (s *stream) load(q int, from Mem) {
	VMOVDQU(from, s.quads[q])
	VPSHUFB(swap, s.quads[q], s.quads[q])
}

// message makes the digest that is in the state the first half of a message.
func (s *stream) message() {
	// abef is [f e b a], cdgh [h g d c].
	VSHUFPS(Imm(0xbb), s.cdgh, s.abef, s.quads[0])
	VSHUFPS(Imm(0x11), s.cdgh, s.abef, s.quads[1])
}

// rounds2 does two rounds; the sum of their constants and words is in kw.
func (s *stream) rounds2() {
	SHA256RNDS2(kw, s.abef, s.cdgh)
	s.abef, s.cdgh = s.cdgh, s.abef // what was abef is the new cdgh
}

// constantRounds does rounds whose sums are known, the same for all streams.
func constantRounds(streams []*stream, first, last int, sums Mem) {
	for t := first; t < last; t += 4 {
		VMOVDQU(sums.Offset(4*t), kw)
		for _, s := range streams {
			s.rounds2()
		}
		VPSHUFD(Imm(0x0e), kw, kw)
		for _, s := range streams {
			s.rounds2()
		}
	}
}

// quadRounds does the four rounds of quad q, whose constants are at k.
func (s *stream) quadRounds(q int, k Mem) {
	VPADDD(k, s.quads[q%4], kw)
	s.rounds2()
	VPSHUFD(Imm(0x0e), kw, kw)
	s.rounds2()
}

// schedule computes quad q of the four before it, in the place of the first:
// msg2(msg1(q-4, q-3) + the four words that begin one after q-2's first, q-1).
func (s *stream) schedule(q int) {
	a, b, c, d := s.quads[q%4], s.quads[(q+1)%4], s.quads[(q+2)%4], s.quads[(q+3)%4]
	SHA256MSG1(b, a)
	VPALIGNR(Imm(4), c, d, s.spare)
	VPADDD(s.spare, a, a)
	SHA256MSG2(d, a)
}

// scheduledRounds does rounds from those of quad q, 0 or 4, to the last.
func scheduledRounds(streams []*stream, q int) {
	for ; q < 4; q++ {
		for _, s := range streams {
			s.quadRounds(q, k.Offset(16*q))
		}
	}
	loop(k.Offset(16*4), 16, roundCount/16-1, func(k Mem) {
		for q := range 4 {
			for _, s := range streams {
				s.schedule(q)
				s.quadRounds(q, k.Offset(16*q))
			}
		}
	})
}

// digestHash hashes the digests that are in the states.
func digestHash(streams []*stream) {
	for _, s := range streams {
		s.message()
		s.begin()
	}
	for q := range 2 {
		for _, s := range streams {
			s.quadRounds(q, k.Offset(16*q))
		}
	}
	constantRounds(streams, 8, 16, padDigest)
	for _, s := range streams {
		VMOVDQU(padQuads[0], s.quads[2])
		VMOVDQU(padQuads[1], s.quads[3])
	}
	scheduledRounds(streams, 4)
	for _, s := range streams {
		s.add(initial)
	}
}

// pairHash hashes, twice, the 64 bytes whose words are in the quads.
func pairHash(streams []*stream) {
	for _, s := range streams {
		s.begin()
	}
	scheduledRounds(streams, 0)
	for _, s := range streams {
		s.add(initial)
		s.save()
	}
	loop(pad64, 16, roundCount/16, func(sums Mem) { constantRounds(streams, 0, 16, sums) })
	for _, s := range streams {
		s.add(s.before)
	}
	digestHash(streams)
}

// store writes the digest that is in the state.
func (s *stream) store(to Mem) {
	s.message()
	for q := range 2 {
		VPSHUFB(swap, s.quads[q], s.quads[q])
		VMOVDQU(s.quads[q], to.Offset(16*q))
	}
}

// blocks writes the loop over whole blocks of memory.
func blocks(streams []*stream, from []Mem, left Op) {
	data.Align()
	Label("block")
	for i, s := range streams {
		s.save()
		for q := range 4 {
			s.load(q, from[i].Offset(16*q))
		}
	}
	scheduledRounds(streams, 0)
	for i, s := range streams {
		s.add(s.before)
		ADDQ(Imm(64), from[i].Base)
	}
	DECQ(left)
	JNZ(LabelRef("block"))
}

// blocksFunction writes the function that takes whole blocks into a state.
func blocksFunction() {
	TEXT("shaBlocks", NOSPLIT, "func(state *[8]uint32, p *byte, count int)")
	Pragma("noescape")
	state := Mem{Base: Load(Param("state"), GP64())}
	p := Mem{Base: Load(Param("p"), GP64())}
	count := Load(Param("count"), GP64())
	streams := newStreams(1)
	VMOVDQU(state, streams[0].abef)
	VMOVDQU(state.Offset(16), streams[0].cdgh)
	blocks(streams, []Mem{p}, count)
	VMOVDQU(streams[0].abef, state)
	VMOVDQU(streams[0].cdgh, state.Offset(16))
	RET()
}

// digestFunction writes the function that hashes n messages of one length, which
// begin with one state, twice.
func digestFunction(n int) {
	TEXT(fmt.Sprintf("shaDigest%d", n), NOSPLIT, "func(state *[8]uint32, p *byte, stride, count int, out *[32]byte)")
	Pragma("noescape")
	state := Mem{Base: Load(Param("state"), GP64())}
	p := Mem{Base: Load(Param("p"), GP64())}
	count := Load(Param("count"), GP64())
	out := Mem{Base: Load(Param("out"), GP64())}
	streams := newStreams(n)
	from := []Mem{p}
	if n == 2 {
		second := Load(Param("stride"), GP64())
		ADDQ(p.Base, second)
		from = append(from, Mem{Base: second})
	}
	for _, s := range streams {
		VMOVDQU(state, s.abef)
		VMOVDQU(state.Offset(16), s.cdgh)
	}
	blocks(streams, from, count)
	digestHash(streams)
	for i, s := range streams {
		s.store(out.Offset(32 * i))
	}
	RET()
}

// foldFunction writes the function that joins n hashes with the steps of one branch.
func foldFunction(n int) {
	TEXT(fmt.Sprintf("shaFold%d", n), NOSPLIT, "func(hashes, branch *[32]byte, steps int)")
	Pragma("noescape")
	hashes := Mem{Base: Load(Param("hashes"), GP64())}
	branch := Mem{Base: Load(Param("branch"), GP64())}
	steps := Load(Param("steps"), GP64())
	streams := newStreams(n)
	for i, s := range streams {
		for q := range 2 {
			s.load(q, hashes.Offset(32*i+16*q))
		}
	}
	data.Align()
	Label("step")
	for _, s := range streams {
		for q := range 2 {
			s.load(2+q, branch.Offset(16*q))
		}
	}
	pairHash(streams)
	for _, s := range streams {
		s.message()
	}
	ADDQ(Imm(32), branch.Base)
	DECQ(steps)
	JNZ(LabelRef("step"))
	for i, s := range streams {
		for q := range 2 {
			VPSHUFB(swap, s.quads[q], s.quads[q])
			VMOVDQU(s.quads[q], hashes.Offset(32*i+16*q))
		}
	}
	RET()
}

// pairsFunction writes the function that makes a level of a tree, two pairs at once.
func pairsFunction() {
	TEXT("shaPairs", NOSPLIT, "func(to, from *[32]byte, twos int)")
	Pragma("noescape")
	to := Mem{Base: Load(Param("to"), GP64())}
	from := Mem{Base: Load(Param("from"), GP64())}
	twos := Load(Param("twos"), GP64())
	streams := newStreams(2)
	data.Align()
	Label("two")
	for i, s := range streams {
		for q := range 4 {
			s.load(q, from.Offset(64*i+16*q))
		}
	}
	pairHash(streams)
	for i, s := range streams {
		s.store(to.Offset(32 * i))
	}
	ADDQ(Imm(128), from.Base)
	ADDQ(Imm(64), to.Base)
	DECQ(twos)
	JNZ(LabelRef("two"))
	RET()
}
