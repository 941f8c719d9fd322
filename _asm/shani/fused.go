package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
	"lode/_asm/weave"
)

// fusedRoll writes the kernel that shares the message schedule of a nonce between
// versions. A block of it does the second hashes of n versions and in the same time
// the first hashes of the next n, which need no instructions for a schedule.
func fusedRoll(n int) {
	TEXT(fmt.Sprintf("shaniRoll%d", n), NOSPLIT,
		"func(tables *byte, nonces int, records *byte, groups int, scratch *byte, mask uint32, out *byte)")
	Pragma("noescape")
	table := Mem{Base: Load(Param("tables"), GP64())}
	blocks := Load(Param("nonces"), GP64())
	record := Mem{Base: Load(Param("records"), GP64())}
	groups := Load(Param("groups"), GP64())
	scratch := Mem{Base: Load(Param("scratch"), GP64())}
	mask := Load(Param("mask"), GP32())
	out := Mem{Base: Load(Param("out"), GP64())}
	IMULQ(groups, blocks)
	left := GP64() // groups of the table
	MOVQ(groups, left)

	free := allRegisters()
	var first, second []*stream
	for i := range n {
		slot := scratch.Offset(64 * i)
		first = append(first, &stream{abef: free.take(), cdgh: free.take()})
		second = append(second, &stream{abef: free.take(), cdgh: free.take(), memory: &slot})
	}
	firstHash := func() (pieces []weave.Piece) {
		for i, s := range first {
			pieces = append(pieces, func() {
				VMOVDQU(table.Offset(tableNonce), s.abef)
				VPADDD(record.Offset(recordSize*i+recordABEF), s.abef, s.abef)
				VMOVDQU(record.Offset(recordSize*i+recordCDGH), s.cdgh)
			})
		}
		for t := 4; t < 64; t += 2 {
			pieces = append(pieces, func() { constantRounds(first, t, t+1, table.Offset(tableKW-4*4)) })
		}
		return pieces
	}
	// digests puts the results where the second hash expects its message.
	digests := func() {
		for i, s := range first {
			t := free.take()
			s.message(t)
			VPADDD(record.Offset(recordSize*i+recordMidABCD), t, t)
			VPADDD(record.Offset(recordSize*i+recordMidEFGH), s.cdgh, s.cdgh)
			VMOVDQU(t, second[i].slot(0))
			VMOVDQU(s.cdgh, second[i].slot(1))
			free.free(t)
		}
		ADDQ(U32(recordSize*n), record.Base)
		DECQ(left)
	}
	nextTable := func(label string) {
		JNZ(LabelRef(label))
		Load(Param("records"), record.Base)
		MOVQ(groups, left)
		ADDQ(U32(tableSize), table.Base)
		Label(label)
	}

	weave.Write(firstHash())
	digests()
	nextTable("begun")

	data.Align()
	Label("block")
	weave.Write(secondPieces(second, &free, mask, out), firstHash())
	digests()
	nextTable("done")
	ADDQ(Imm(uint64(n)), out.Base)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	RET()
}

// message sets t to the words a to d of a state and the register of c, d, g and h
// to e to h.
func (s *stream) message(t reg.VecPhysical) {
	// abef is [f e b a], cdgh [h g d c].
	VSHUFPS(Imm(0xbb), s.cdgh, s.abef, t)
	VSHUFPS(Imm(0x11), s.cdgh, s.abef, s.cdgh)
}

// slot is where quad q of the message is in memory.
func (s *stream) slot(q int) Mem { return s.memory.Offset(16 * (q % 4)) }

// secondPieces is the second hash of streams whose messages are in memory.
func secondPieces(streams []*stream, free *registers, mask Op, out Mem) (pieces []weave.Piece) {
	add := func(p weave.Piece) { pieces = append(pieces, p) }
	for _, s := range streams {
		add(func() {
			VMOVDQU(quads.Offset(qABEF), s.abef)
			VMOVDQU(quads.Offset(qCDGH), s.cdgh)
			for q := range 2 {
				slot := s.slot(q)
				s.quads[q] = quad{memory: &slot}
			}
			s.quads[2] = quad{constant: &[4]uint32{fips180.Pad}}
			s.quads[3] = quad{constant: &[4]uint32{3: fips180.DigestBits}}
		})
	}
	for q := range 2 {
		for _, s := range streams {
			add(func() {
				VMOVDQU(s.slot(q), kw)
				VPADDD(kQuads.Offset(16*q), kw, kw)
				s.rounds2()
				VPSHUFD(Imm(0x0e), kw, kw)
				s.rounds2()
			})
		}
	}
	for t := 8; t < 16; t += 2 {
		add(func() { constantRounds(streams, t, t+1, kwDigest) })
	}
	for q := 4; q < 16; q++ {
		for _, s := range streams {
			one := []*stream{s}
			add(func() { s.schedule(q, free) })
			add(func() {
				if q == 15 {
					// The last word, h after round 63, is e after round 60.
					firstRound2(one, q)
				} else {
					rounds(one, q)
				}
			})
		}
	}
	for i, s := range streams {
		add(func() {
			h := GP32()
			VMOVD(s.abef, h) // f now: e of round 60
			ADDL(U32(fips180.IV[7]), h)
			TESTL(mask, h)
			SETEQ(out.Offset(i))
			s.dropQuads(free)
		})
	}
	return pieces
}
