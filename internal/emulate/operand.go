package emulate

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

type kind int

const (
	immediate kind = iota
	general
	vectorRegister
	mask
	memory   // offset(base)
	static   // symbol<>+offset(SB)
	argument // name+offset(FP)
)

type operand struct {
	kind   kind
	value  uint64 // immediate
	number int    // of the register, or of the base
	bytes  int    // size of a vector register
	symbol string
	offset int
}

const stackPointer = 4

var generalNumbers = map[string]int{
	"AX": 0, "CX": 1, "DX": 2, "BX": 3, "SP": stackPointer, "SI": 6, "DI": 7, "BP": 5,
	"AL": 0, "CL": 1, "DL": 2, "BL": 3, "SIB": 6, "DIB": 7,
	"R8": 8, "R9": 9, "R10": 10, "R11": 11, "R12": 12, "R13": 13, "R14": 14, "R15": 15,
}

func splitOperands(s string) (list []string) {
	depth, from := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			list = append(list, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	if last := strings.TrimSpace(s[from:]); last != "" {
		list = append(list, last)
	}
	return list
}

func parseOperand(s string) (o operand, err error) {
	if n, ok := generalNumbers[s]; ok {
		return operand{kind: general, number: n}, nil
	}
	switch {
	case s[0] == '$':
		v, err := strconv.ParseInt(s[1:], 0, 64)
		return operand{kind: immediate, value: uint64(v)}, err
	case strings.HasSuffix(s, ")"):
		return parseAddress(s)
	}
	n, err := strconv.Atoi(s[1:])
	if err != nil {
		return o, fmt.Errorf("operand %q is not understood", s)
	}
	switch s[0] {
	case 'X':
		return operand{kind: vectorRegister, number: n, bytes: 16}, nil
	case 'Y':
		return operand{kind: vectorRegister, number: n, bytes: 32}, nil
	case 'Z':
		return operand{kind: vectorRegister, number: n, bytes: 64}, nil
	case 'K':
		return operand{kind: mask, number: n}, nil
	}
	return o, fmt.Errorf("operand %q is not understood", s)
}

func parseAddress(s string) (o operand, err error) {
	front, base, _ := strings.Cut(strings.TrimSuffix(s, ")"), "(")
	if n, ok := generalNumbers[base]; ok {
		o.kind, o.number = memory, n
		if front != "" {
			o.offset, err = strconv.Atoi(front)
		}
		return o, err
	}
	name, offset, _ := strings.Cut(front, "+")
	if o.offset, err = strconv.Atoi(offset); err != nil {
		return o, fmt.Errorf("operand %q is not understood", s)
	}
	switch base {
	case "SB":
		o.kind, o.symbol = static, strings.TrimSuffix(name, "<>")
	case "FP":
		o.kind = argument
	default:
		err = fmt.Errorf("operand %q is not understood", s)
	}
	return o, err
}

func (m *Machine) address(o operand) uint64 {
	switch o.kind {
	case memory:
		return m.general[o.number] + uint64(int64(o.offset))
	case static:
		base, ok := m.symbols[o.symbol]
		if !ok {
			panic(fault("no data " + o.symbol))
		}
		return base + uint64(o.offset)
	}
	panic(fault("an address was expected"))
}

// at is the n bytes that an operand in memory or a vector register names.
func (m *Machine) at(o operand, n int) []byte {
	switch o.kind {
	case vectorRegister:
		return m.vectors[o.number][:n]
	case argument:
		if o.offset+n > len(m.arguments) {
			panic(fault("an argument beyond those that were given"))
		}
		return m.arguments[o.offset:][:n]
	}
	return m.memory(m.address(o), n)
}

// read is an integer of n bytes.
func (m *Machine) read(o operand, n int) uint64 {
	var v uint64
	switch o.kind {
	case immediate:
		v = o.value
	case general:
		v = m.general[o.number]
	case mask:
		v = m.masks[o.number]
	default:
		var all [8]byte
		copy(all[:], m.at(o, n))
		v = binary.LittleEndian.Uint64(all[:])
	}
	return v & (1<<(8*n) - 1)
}

// write stores an integer of n bytes; a general register is changed as the
// processor does it: four bytes clear the rest, fewer leave it.
func (m *Machine) write(o operand, n int, v uint64) {
	switch o.kind {
	case general:
		switch n {
		case 8, 4:
			m.general[o.number] = v & (1<<(8*n) - 1)
		default:
			low := uint64(1)<<(8*n) - 1
			m.general[o.number] = m.general[o.number]&^low | v&low
		}
	case mask:
		m.masks[o.number] = v & (1<<(8*n) - 1)
	default:
		var all [8]byte
		binary.LittleEndian.PutUint64(all[:], v)
		copy(m.at(o, n), all[:n])
	}
}
