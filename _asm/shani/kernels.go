package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
)

// Offsets in a record, the data of one version.
const (
	recordABEF    = 0  // state after round 3 of the tail, with nonce 0
	recordCDGH    = 16 //
	recordMidABCD = 32 // midstate in order
	recordMidEFGH = 48
	recordSize    = 64
)

// Offsets in a table, the data of one nonce.
const (
	tableNonce = 0  // [0 w 0 w]: what the nonce word adds to abef
	tableKW    = 16 // K[t]+W[t] for t = 4 … 63
	tableSize  = 256
)

func allRegisters() registers {
	return registers{
		reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7, reg.X8,
		reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15,
	}
}

// plainKernel writes the kernel whose streams are consecutive nonces of one
// version.
func plainKernel(n int) {
	TEXT(fmt.Sprintf("shaniPlain%d", n), NOSPLIT,
		"func(record *byte, tail *byte, scratch *byte, nonce uint32, groups int, mask uint32, out *byte)")
	Pragma("noescape")
	record := Mem{Base: Load(Param("record"), GP64())}
	tail := Mem{Base: Load(Param("tail"), GP64())}
	scratch := Mem{Base: Load(Param("scratch"), GP64())}
	nonce := Load(Param("nonce"), GP32())
	groups := Load(Param("groups"), GP64())
	mask := Load(Param("mask"), GP32())
	out := Mem{Base: Load(Param("out"), GP64())}

	data.Align()
	Label("group")
	free := allRegisters()
	streams := make([]*stream, n)
	for i := range streams {
		s := &stream{abef: free.take(), cdgh: free.take()}
		if n > 2 {
			slot := scratch.Offset(64 * i)
			s.memory = &slot
		}
		streams[i] = s
		w := GP32()
		MOVL(nonce, w)
		INCL(nonce)
		BSWAPL(w)
		x, y := free.take(), free.take()
		VMOVD(w, x)
		VPSHUFD(Imm(0x11), x, y)
		VPADDD(record.Offset(recordABEF), y, s.abef)
		VMOVDQU(record.Offset(recordCDGH), s.cdgh)
		VPSLLDQ(Imm(12), x, x)
		VPADDD(tail, x, x)
		free.free(y)
		s.begin(0, x, &free)
		s.quads[1] = quad{constant: &[4]uint32{fips180.Pad}}
		s.quads[2] = quad{constant: &[4]uint32{}}
		s.quads[3] = quad{constant: &[4]uint32{3: fips180.HeaderBits}}
		if s.memory != nil {
			free.free(x)
			s.quads[0].register = nil
		}
	}
	constantRounds(streams, 4, 15, kwHeader)
	for q := 4; q < 16; q++ {
		for _, s := range streams {
			s.schedule(q, &free)
		}
		rounds(streams, q)
	}
	for _, s := range streams {
		s.dropQuads(&free)
	}
	secondHash(streams, &free, func(int) Mem { return record }, mask, out)
	ADDQ(Imm(uint64(n)), out.Base)
	DECQ(groups)
	JNZ(LabelRef("group"))
	RET()
}

// tableKernel writes the function that fills the sums of a table for rounds 16 to 63
// from the tail with its nonce.
func tableKernel() {
	TEXT("shaniTable", NOSPLIT, "func(table *byte, message *byte)")
	Pragma("noescape")
	table := Mem{Base: Load(Param("table"), GP64())}
	message := Mem{Base: Load(Param("message"), GP64())}
	free := allRegisters()
	s := &stream{}
	s.begin(0, free.take(), &free)
	VMOVDQU(message, s.quads[0].register)
	s.quads[1] = quad{constant: &[4]uint32{fips180.Pad}}
	s.quads[2] = quad{constant: &[4]uint32{}}
	s.quads[3] = quad{constant: &[4]uint32{3: fips180.HeaderBits}}
	for q := 4; q < 16; q++ {
		s.schedule(q, &free)
		VPADDD(kQuads.Offset(16*q), s.quads[q].register, kw)
		VMOVDQU(kw, table.Offset(tableKW+16*(q-1)))
	}
	RET()
}

// begin puts quad q, which is in a register, at its place.
func (s *stream) begin(q int, x reg.VecPhysical, free *registers) {
	s.quads[q] = quad{register: x}
	if s.memory != nil {
		slot := s.memory.Offset(16 * q)
		VMOVDQU(x, slot)
		s.quads[q].memory = &slot
	}
}

// dropQuads frees the registers of a message that was hashed.
func (s *stream) dropQuads(free *registers) {
	for q := range s.quads {
		if r := s.quads[q].register; r != nil {
			free.free(r)
		}
		s.quads[q] = quad{}
	}
}

// secondHash turns the states of the streams into digests, hashes these, and
// writes to out a byte 1 for each stream whose last word passes the mask, 0 for
// the others. All registers of the streams are free afterwards.
func secondHash(streams []*stream, free *registers, record func(int) Mem, mask Op, out Mem) {
	for i, s := range streams {
		t := free.take()
		s.message(t)
		VPADDD(record(i).Offset(recordMidABCD), t, t)
		VPADDD(record(i).Offset(recordMidEFGH), s.cdgh, s.cdgh)
		efgh := s.cdgh
		s.cdgh = free.take()
		s.begin(0, t, free)
		s.begin(1, efgh, free)
		VMOVDQU(quads.Offset(qABEF), s.abef)
		VMOVDQU(quads.Offset(qCDGH), s.cdgh)
		s.quads[2] = quad{constant: &[4]uint32{fips180.Pad}}
		s.quads[3] = quad{constant: &[4]uint32{3: fips180.DigestBits}}
		for q := range 2 {
			one := []*stream{s}
			rounds(one, q)
			if s.memory != nil {
				free.free(s.quads[q].register)
				s.quads[q].register = nil
			}
		}
	}
	constantRounds(streams, 8, 15, kwDigest)
	for q := 4; q < 15; q++ {
		for _, s := range streams {
			s.schedule(q, free)
		}
		rounds(streams, q)
	}
	// The last word, h after round 63, is e after round 60.
	for _, s := range streams {
		s.schedule(15, free)
	}
	firstRound2(streams, 15)
	for i, s := range streams {
		h := GP32()
		VMOVD(s.abef, h) // f now: e of round 60
		ADDL(U32(fips180.IV[7]), h)
		TESTL(mask, h)
		SETEQ(out.Offset(i))
		s.dropQuads(free)
		free.free(s.abef)
		free.free(s.cdgh)
	}
}
