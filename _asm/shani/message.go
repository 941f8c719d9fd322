package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/fips180"
)

// A quad is four message words W[4q] … W[4q+3]: known now (a constant), in a
// register, in memory, or both.
type quad struct {
	constant *[4]uint32
	register reg.VecPhysical // nil: none
	memory   *Mem            // nil: none
}

func (q quad) operand() Op {
	switch {
	case q.constant != nil:
		return vector(*q.constant)
	case q.register != nil:
		return q.register
	}
	return *q.memory
}

// registers that hold nothing at the moment.
type registers []reg.VecPhysical

func (r *registers) take() reg.VecPhysical {
	v := (*r)[0]
	*r = (*r)[1:]
	return v
}

func (r *registers) free(v reg.VecPhysical) { *r = append(*r, v) }

// stream is one hash on its way.
type stream struct {
	abef, cdgh reg.VecPhysical
	quads      [16]quad
	memory     *Mem // room for four quads; the newest is in its register as well; nil: all are in registers
}

// rounds2 does two rounds; the sum of their constants and words is in kw.
func (s *stream) rounds2() {
	SHA256RNDS2(kw, s.abef, s.cdgh)
	s.abef, s.cdgh = s.cdgh, s.abef // what was abef is the new cdgh
}

// constantRounds does rounds first to last with the same sums for all streams.
func constantRounds(streams []*stream, first, last int, sums Mem) {
	for t := first; t <= last; t += 2 {
		VMOVQ(sums.Offset(4*t), kw)
		for _, s := range streams {
			s.rounds2()
		}
	}
}

// rounds does the four rounds of quad q.
func rounds(streams []*stream, q int) {
	for _, s := range streams {
		VPADDD(kQuads.Offset(16*q), s.quads[q].register, kw)
		s.rounds2()
		VPSHUFD(Imm(0x0e), kw, kw)
		s.rounds2()
	}
}

// firstRound2 does the first two rounds of quad q only.
func firstRound2(streams []*stream, q int) {
	for _, s := range streams {
		VPADDD(kQuads.Offset(16*q), s.quads[q].register, kw)
		s.rounds2()
	}
}

// schedule computes quad q of a stream from the four before it:
// msg2(msg1(q-4, q-3) + (the four words that begin one after q-2), q-1).
func (s *stream) schedule(q int, free *registers) {
	a, b, c, d := s.quads[q-4], s.quads[q-3], s.quads[q-2], s.quads[q-1]
	t := free.take()

	first := "register"
	if a.constant != nil && b.constant != nil {
		sum := msg1(*a.constant, *b.constant)
		if sum == [4]uint32{} {
			first = "zero"
		} else {
			VMOVDQU(vector(sum), t)
		}
	} else {
		if a.register != nil && s.memory == nil {
			free.free(t) // q-4 is not needed any more: work in its place
			t = a.register
			s.quads[q-4].register = nil
		} else {
			VMOVDQU(a.operand(), t)
		}
		SHA256MSG1(b.operand(), t)
	}

	switch {
	case c.constant != nil && d.constant != nil:
		shifted := [4]uint32{c.constant[1], c.constant[2], c.constant[3], d.constant[0]}
		if shifted != [4]uint32{} {
			panic("a case that does not occur in these two messages")
		}
		if first == "zero" {
			panic("a case that does not occur in these two messages")
		}
	case first == "zero":
		VPALIGNR(Imm(4), c.operand(), d.register, t)
	default:
		u := free.take()
		VPALIGNR(Imm(4), c.operand(), d.register, u)
		VPADDD(u, t, t)
		free.free(u)
	}
	SHA256MSG2(d.operand(), t)

	s.quads[q] = quad{register: t}
	if s.memory != nil {
		slot := s.memory.Offset(16 * (q % 4))
		if q < 15 {
			VMOVDQU(t, slot)
		}
		s.quads[q].memory = &slot
		if d.register != nil {
			free.free(d.register)
			s.quads[q-1].register = nil
		}
	}
}

// msg1 is SHA256MSG1 on numbers.
func msg1(a, b [4]uint32) [4]uint32 {
	next := [4]uint32{a[1], a[2], a[3], b[0]}
	for i := range a {
		a[i] += fips180.Sigma0(next[i])
	}
	return a
}
