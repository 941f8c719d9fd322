package emulate

import (
	"encoding/binary"
	"math/bits"
)

var vectors = map[string]action{
	"VMOVDQA32": move(true),
	"VMOVDQA":   move(true),
	"VMOVDQU32": move(false),
	"VMOVDQU":   move(false),
	"VMOVD":     func(m *Machine, o []operand) { m.moveLow(o, 4) },
	"VMOVQ":     func(m *Machine, o []operand) { m.moveLow(o, 8) },
	"VMOVSD":    func(m *Machine, o []operand) { m.moveLow(o, 8) }, // from or to memory
	"VPBROADCASTD": func(m *Machine, o []operand) {
		word := uint32(0)
		if o[0].kind == vectorRegister {
			word = m.quad(o[0])[0]
		} else {
			word = uint32(m.read(o[0], 4))
		}
		var v vector
		for i := 0; i < o[1].bytes; i += 4 {
			binary.LittleEndian.PutUint32(v[i:], word)
		}
		m.vectors[o[1].number] = v
	},
	"VPUNPCKLDQ":  interleave(4, 0),
	"VPUNPCKHDQ":  interleave(4, 8),
	"VPUNPCKLQDQ": interleave(8, 0),
	"VPUNPCKHQDQ": interleave(8, 8),
	"VBROADCASTI32X4": func(m *Machine, o []operand) {
		var v vector
		for i := 0; i < o[1].bytes; i += 16 {
			copy(v[i:], m.at(o[0], 16))
		}
		m.vectors[o[1].number] = v
	},
	"VPSHUFB": func(m *Machine, o []operand) {
		var v, control vector
		copy(control[:], m.at(o[0], o[2].bytes))
		source := m.vectors[o[1].number]
		for i := range o[2].bytes {
			if c := control[i]; c&0x80 == 0 {
				v[i] = source[i&^15|int(c&15)] // within each 16 bytes
			}
		}
		m.vectors[o[2].number] = v
	},
	"VPTESTNMD": func(m *Machine, o []operand) { // with a broadcast first operand
		word := binary.LittleEndian.Uint32(m.memory(m.address(o[0]), 4))
		result := uint64(0)
		for i := range o[1].bytes / 4 {
			if binary.LittleEndian.Uint32(m.vectors[o[1].number][4*i:])&word == 0 {
				result |= 1 << i
			}
		}
		m.masks[o[2].number] = result
	},
	"KMOVW": func(m *Machine, o []operand) { m.write(o[1], 2, m.read(o[0], 2)) },
	"KMOVB": func(m *Machine, o []operand) { m.write(o[1], 1, m.read(o[0], 1)) },
	"VMOVMSKPS": func(m *Machine, o []operand) {
		result := uint64(0)
		for i := range o[0].bytes / 4 {
			result |= uint64(m.vectors[o[0].number][4*i+3]>>7) << i
		}
		m.write(o[1], 4, result)
	},

	"VPSHUFD": func(m *Machine, o []operand) {
		s, c := m.quad(o[1]), o[0].value
		m.setQuad(o[2], [4]uint32{s[c&3], s[c>>2&3], s[c>>4&3], s[c>>6&3]})
	},
	"VSHUFPS": func(m *Machine, o []operand) {
		s, d, c := m.quad(o[1]), m.quad(o[2]), o[0].value
		m.setQuad(o[3], [4]uint32{d[c&3], d[c>>2&3], s[c>>4&3], s[c>>6&3]})
	},
	"VPALIGNR": func(m *Machine, o []operand) {
		if o[0].value != 4 {
			panic(fault("VPALIGNR by other than 4 is not known"))
		}
		low, high := m.quad(o[1]), m.quad(o[2])
		m.setQuad(o[3], [4]uint32{low[1], low[2], low[3], high[0]})
	},
	"VPSLLDQ": func(m *Machine, o []operand) {
		if o[0].value != 12 {
			panic(fault("VPSLLDQ by other than 12 is not known"))
		}
		m.setQuad(o[2], [4]uint32{3: m.quad(o[1])[0]})
	},

	// The SHA extensions; the pseudocode is in volume 2 of Intel's manual. They
	// leave the upper parts of their registers.
	"SHA256RNDS2": func(m *Machine, o []operand) {
		kw, abef, cdgh := m.quad(o[0]), m.quad(o[1]), m.quad(o[2])
		a, b, e, f := abef[3], abef[2], abef[1], abef[0]
		c, d, g, h := cdgh[3], cdgh[2], cdgh[1], cdgh[0]
		for i := range 2 {
			r := func(x uint32, n int) uint32 { return bits.RotateLeft32(x, -n) }
			t := h + (r(e, 6) ^ r(e, 11) ^ r(e, 25)) + (e&f ^ ^e&g) + kw[i]
			u := (r(a, 2) ^ r(a, 13) ^ r(a, 22)) + (a&b ^ a&c ^ b&c)
			a, b, c, d, e, f, g, h = t+u, a, b, c, d+t, e, f, g
		}
		m.setLow(o[2], [4]uint32{f, e, b, a})
	},
	"SHA256MSG1": func(m *Machine, o []operand) {
		b, a := m.alignedQuad(o[0]), m.quad(o[1])
		next := [4]uint32{a[1], a[2], a[3], b[0]}
		for i, x := range next {
			a[i] += bits.RotateLeft32(x, -7) ^ bits.RotateLeft32(x, -18) ^ x>>3
		}
		m.setLow(o[1], a)
	},
	"SHA256MSG2": func(m *Machine, o []operand) {
		b, a := m.alignedQuad(o[0]), m.quad(o[1])
		for i := range a {
			x := b[2+i%2]
			if i >= 2 {
				x = a[i-2]
			}
			a[i] += bits.RotateLeft32(x, -17) ^ bits.RotateLeft32(x, -19) ^ x>>10
		}
		m.setLow(o[1], a)
	},
}

func move(aligned bool) action {
	return func(m *Machine, o []operand) {
		n := max(o[0].bytes, o[1].bytes)
		for _, x := range o {
			if aligned && x.kind != vectorRegister && m.address(x)%uint64(n) != 0 {
				panic(fault("the address is not aligned"))
			}
		}
		var v vector
		copy(v[:], m.at(o[0], n))
		if o[1].kind == vectorRegister {
			m.vectors[o[1].number] = v
		} else {
			copy(m.at(o[1], n), v[:n])
		}
	}
}

func (m *Machine) moveLow(o []operand, n int) {
	if o[1].kind == vectorRegister {
		var v vector
		binary.LittleEndian.PutUint64(v[:], m.read(o[0], n))
		m.vectors[o[1].number] = v
		return
	}
	m.write(o[1], n, binary.LittleEndian.Uint64(m.vectors[o[0].number][:])&(1<<(8*n)-1))
}

func (m *Machine) quad(o operand) (q [4]uint32) {
	b := m.at(o, 16)
	for i := range q {
		q[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return q
}

// alignedQuad is for instructions that want memory operands aligned.
func (m *Machine) alignedQuad(o operand) [4]uint32 {
	if o.kind != vectorRegister && o.kind != static && m.address(o)%16 != 0 {
		panic(fault("the address is not aligned"))
	}
	return m.quad(o)
}

// setLow writes the low 16 bytes of a register and leaves the rest.
func (m *Machine) setLow(o operand, q [4]uint32) {
	for i, x := range q {
		binary.LittleEndian.PutUint32(m.vectors[o.number][4*i:], x)
	}
}

// setQuad writes the low 16 bytes of a register and clears the rest.
func (m *Machine) setQuad(o operand, q [4]uint32) {
	m.vectors[o.number] = vector{}
	m.setLow(o, q)
}

// interleave takes elements of n bytes in turn from the second and the first operand,
// from byte on of each 16 bytes.
func interleave(n, from int) action {
	return func(m *Machine, o []operand) {
		var v, second vector
		copy(second[:], m.at(o[0], o[2].bytes))
		first := m.vectors[o[1].number]
		for i := 0; i < o[2].bytes; i += 2 * n {
			source := i&^15 + from + i&15/2
			copy(v[i:], first[source:source+n])
			copy(v[i+n:], second[source:source+n])
		}
		m.vectors[o[2].number] = v
	}
}
