package emulate

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

type action func(m *Machine, o []operand)

// lookup finds what an instruction does. Operands are in Go's order: the
// destination is last.
func lookup(name string, o []operand) (action, bool) {
	if a, ok := scalar[name]; ok {
		return a, true
	}
	name, broadcast := strings.CutSuffix(name, ".BCST")
	if f, ok := perWord[name]; ok {
		return wordwise(f, broadcast), true
	}
	a, ok := vectors[name]
	if broadcast && name != "VPTESTNMD" {
		ok = false
	}
	return a, ok
}

var scalar = map[string]action{
	"VZEROUPPER": func(m *Machine, _ []operand) {
		for i := range 16 {
			clear(m.vectors[i][16:])
		}
	},
	"RET":   func(m *Machine, _ []operand) { m.next = -1 },
	"MOVQ":  func(m *Machine, o []operand) { m.write(o[1], 8, m.read(o[0], 8)) },
	"MOVL":  func(m *Machine, o []operand) { m.write(o[1], 4, m.read(o[0], 4)) },
	"LEAQ":  func(m *Machine, o []operand) { m.write(o[1], 8, m.address(o[0])) },
	"ADDQ":  func(m *Machine, o []operand) { m.result(o[1], 8, m.read(o[1], 8)+m.read(o[0], 8)) },
	"ADDL":  func(m *Machine, o []operand) { m.result(o[1], 4, m.read(o[1], 4)+m.read(o[0], 4)) },
	"SUBQ":  func(m *Machine, o []operand) { m.result(o[1], 8, m.read(o[1], 8)-m.read(o[0], 8)) },
	"INCL":  func(m *Machine, o []operand) { m.result(o[0], 4, m.read(o[0], 4)+1) },
	"DECQ":  func(m *Machine, o []operand) { m.result(o[0], 8, m.read(o[0], 8)-1) },
	"INCQ":  func(m *Machine, o []operand) { m.result(o[0], 8, m.read(o[0], 8)+1) },
	"DECL":  func(m *Machine, o []operand) { m.result(o[0], 4, m.read(o[0], 4)-1) },
	"MOVB":  func(m *Machine, o []operand) { m.write(o[1], 1, m.read(o[0], 1)) },
	"IMULQ": func(m *Machine, o []operand) { m.write(o[1], 8, m.read(o[1], 8)*m.read(o[0], 8)) },
	"DECB":  func(m *Machine, o []operand) { m.result(o[0], 1, m.read(o[0], 1)-1) },
	"CMPQ":  func(m *Machine, o []operand) { m.compare(m.read(o[0], 8), m.read(o[1], 8)) },
	"CMPL":  func(m *Machine, o []operand) { m.compare(m.read(o[0], 4), m.read(o[1], 4)) },
	"TESTL": func(m *Machine, o []operand) { m.compare(m.read(o[0], 4)&m.read(o[1], 4), 0) },
	"BSWAPL": func(m *Machine, o []operand) {
		m.write(o[0], 4, uint64(bits.ReverseBytes32(uint32(m.read(o[0], 4)))))
	},
	"XCHGQ": func(m *Machine, o []operand) {
		a, b := m.read(o[0], 8), m.read(o[1], 8)
		m.write(o[0], 8, b)
		m.write(o[1], 8, a)
	},
	"SETEQ": func(m *Machine, o []operand) {
		v := uint64(0)
		if m.zero {
			v = 1
		}
		m.write(o[0], 1, v)
	},
	"CMOVQEQ": func(m *Machine, o []operand) {
		if v := m.read(o[0], 8); m.zero { // it reads in any case
			m.write(o[1], 8, v)
		}
	},
	"BYTE": func(_ *Machine, o []operand) {
		const nop = 0x90
		if o[0].value != nop {
			panic(fault("a byte of code other than NOP is not known"))
		}
	},
	"JMP": func(m *Machine, _ []operand) { m.jump(true) },
	"JNZ": func(m *Machine, _ []operand) { m.jump(!m.zero) },
	"JNE": func(m *Machine, _ []operand) { m.jump(!m.zero) },
	"JZ":  func(m *Machine, _ []operand) { m.jump(m.zero) },
	"JE":  func(m *Machine, _ []operand) { m.jump(m.zero) },
	"JB":  func(m *Machine, _ []operand) { m.jump(m.carry) },
}

// result writes the result of an operation that sets the zero flag.
func (m *Machine) result(o operand, n int, v uint64) {
	m.write(o, n, v)
	m.zero = v&(1<<(8*n)-1) == 0
}

// compare sets the flags of a comparison in Go's order: a with b.
func (m *Machine) compare(a, b uint64) { m.zero, m.carry = a == b, a < b }

func (m *Machine) jump(taken bool) {
	if taken {
		m.next = m.program.code[m.next-1].target
	}
}

// perWord are instructions that do the same to each 32-bit word: last, first and
// second are the operands from the back, last being the destination's old value.
var perWord = map[string]func(imm uint64, first, second, last uint32) uint32{
	"VPADDD": func(_ uint64, b, a, _ uint32) uint32 { return a + b },
	"VPXOR":  func(_ uint64, b, a, _ uint32) uint32 { return a ^ b },
	"VPXORD": func(_ uint64, b, a, _ uint32) uint32 { return a ^ b },
	"VPAND":  func(_ uint64, b, a, _ uint32) uint32 { return a & b },
	"VPOR":   func(_ uint64, b, a, _ uint32) uint32 { return a | b },
	"VPCMPEQD": func(_ uint64, b, a, _ uint32) uint32 {
		if a == b {
			return ^uint32(0)
		}
		return 0
	},
	"VPRORD": func(imm uint64, _, a, _ uint32) uint32 { return bits.RotateLeft32(a, -int(imm)) },
	"VPSRLD": func(imm uint64, _, a, _ uint32) uint32 { return a >> imm },
	"VPSLLD": func(imm uint64, _, a, _ uint32) uint32 { return a << imm },
	"VPTERNLOGD": func(imm uint64, c, b, a uint32) (r uint32) {
		for index := range 8 { // each combination of a, b and c that gives a 1
			if imm>>index&1 != 0 {
				r |= same(a, index>>2) & same(b, index>>1) & same(c, index)
			}
		}
		return r
	},
}

// same has a 1 where the bits of x are the lowest bit of index.
func same(x uint32, index int) uint32 {
	if index&1 == 0 {
		return ^x
	}
	return x
}

// wordwise applies f to all words of the destination. Sources are, in Go's order:
// [immediate,] [first,] second, destination; the first may be in memory, as may
// the only source of a shift.
func wordwise(f func(imm uint64, first, second, last uint32) uint32, broadcast bool) action {
	return func(m *Machine, o []operand) {
		dst := o[len(o)-1]
		var imm uint64
		if o[0].kind == immediate {
			imm, o = o[0].value, o[1:]
		}
		sources := [2]vector{}
		for i, s := range o[:len(o)-1] {
			to := &sources[i]
			if len(o) == 2 {
				to = &sources[1]
			}
			if broadcast && i == 0 {
				word := m.memory(m.address(s), 4)
				for j := range 16 {
					copy(to[4*j:], word)
				}
			} else {
				copy(to[:], m.at(s, dst.bytes))
			}
		}
		var result vector
		old := &m.vectors[dst.number]
		for i := 0; i < dst.bytes; i += 4 {
			word := func(v *vector) uint32 { return binary.LittleEndian.Uint32(v[i:]) }
			binary.LittleEndian.PutUint32(result[i:], f(imm, word(&sources[0]), word(&sources[1]), word(old)))
		}
		m.vectors[dst.number] = result // the bytes above are cleared
	}
}
