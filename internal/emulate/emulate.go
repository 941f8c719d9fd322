// Package emulate runs Go assembly for amd64 on a model of the processor, so that
// kernels can be tested on machines that lack their instructions. It reads the text
// that the assembler reads; what it does not test is the encoding.
//
//	p, err := emulate.Parse(text)
//	m := p.NewMachine()
//	m.Map(memory)                        // all that the code may touch
//	err = m.Call("function", args)       // the arguments as they lie on the stack
//
// It knows the instructions that the kernels use and no others. Each access to
// memory is checked against what was mapped.
package emulate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// Program is the text of one assembly file.
type Program struct {
	code    []instruction
	entries map[string]int // of functions
	data    map[string][]byte
}

type instruction struct {
	line     int
	text     string
	run      func(m *Machine, o []operand)
	operands []operand
	target   int // of a jump
}

// Parse reads an assembly file.
func Parse(text string) (*Program, error) {
	p := &Program{entries: map[string]int{}, data: map[string][]byte{}}
	labels := map[string]int{} // of the function at hand
	jumps := map[int]string{}  // instructions of it that jump
	finish := func() error {
		for at, label := range jumps {
			target, ok := labels[label]
			if !ok {
				return fmt.Errorf("line %d: no label %q", p.code[at].line, label)
			}
			p.code[at].target = target
		}
		clear(labels)
		clear(jumps)
		return nil
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimSpace(line)
		name, rest, _ := strings.Cut(line, " ")
		fields := splitOperands(rest)
		var err error
		switch {
		case line == "" || line[0] == '#' || name == "PCALIGN" || name == "GLOBL":
		case name == "DATA":
			err = p.addData(rest)
		case name == "TEXT":
			if err = finish(); err == nil {
				function, _, _ := strings.Cut(strings.TrimPrefix(fields[0], "·"), "(")
				p.entries[function] = len(p.code)
			}
		case strings.HasSuffix(line, ":"):
			labels[strings.TrimSuffix(line, ":")] = len(p.code)
		default:
			i := instruction{line: number, text: line}
			if name[0] == 'J' {
				jumps[len(p.code)] = strings.TrimSpace(rest)
				fields = nil
			}
			for _, f := range fields {
				o, e := parseOperand(f)
				err = errors.Join(err, e)
				i.operands = append(i.operands, o)
			}
			var known bool
			if i.run, known = lookup(name, i.operands); !known {
				err = errors.Join(err, fmt.Errorf("instruction %s is not known", name))
			}
			p.code = append(p.code, i)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", number, line, err)
		}
	}
	return p, finish()
}

// addData reads "name<>+offset(SB)/width, $value".
func (p *Program) addData(s string) error {
	place, value, _ := strings.Cut(s, ",")
	place, width, _ := strings.Cut(place, "/")
	o, err := parseOperand(place)
	if err != nil {
		return err
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(value), "$"), 0, 64)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(width))
	if err != nil {
		return err
	}
	b := p.data[o.symbol]
	for len(b) < o.offset+n {
		b = append(b, 0)
	}
	var all [8]byte
	binary.LittleEndian.PutUint64(all[:], v)
	copy(b[o.offset:], all[:n])
	p.data[o.symbol] = b
	return nil
}

// Machine is the state of the processor and the memory that it may use.
type Machine struct {
	program *Program
	regions []region
	symbols map[string]uint64
	kept    int // regions that Unmap leaves: data and stack
	stack   uint64

	general   [16]uint64
	vectors   [32]vector
	masks     [8]uint64
	zero      bool // flags
	carry     bool
	arguments []byte
	next      int
	// Executed counts instructions.
	Executed int
}

type vector [64]byte

type region struct {
	base  uint64
	bytes []byte
}

// stackSize is the most that the locals of a function may need.
const stackSize = 4096

// NewMachine returns a machine whose memory holds only the program's data and a stack.
func (p *Program) NewMachine() *Machine {
	m := &Machine{program: p, symbols: map[string]uint64{}}
	for name, bytes := range p.data {
		m.symbols[name] = m.Map(bytes)
	}
	m.stack = m.Map(make([]byte, stackSize))
	m.kept = len(m.regions)
	return m
}

// Map lets the program use memory and returns its address.
func (m *Machine) Map(bytes []byte) uint64 {
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(bytes))))
	m.regions = append(m.regions, region{base, bytes})
	return base
}

// Unmap forgets all memory but the program's data and the stack.
func (m *Machine) Unmap() { m.regions = m.regions[:m.kept] }

// fault is what a wrong access panics with inside of Call.
type fault string

// Call runs a function until it returns. It leaves registers as they are, so that
// the next call finds rubbish in them, as on a real machine.
func (m *Machine) Call(function string, arguments []byte) (err error) {
	at, ok := m.program.entries[function]
	if !ok {
		return fmt.Errorf("emulate: no function %s", function)
	}
	defer func() {
		if f, ok := recover().(fault); ok {
			i := m.program.code[m.next-1]
			err = fmt.Errorf("emulate: line %d, %q: %s", i.line, i.text, string(f))
		}
	}()
	m.arguments = arguments
	m.general[stackPointer] = m.stack
	for m.next = at; m.next >= 0; {
		if m.next >= len(m.program.code) {
			return errors.New("emulate: ran past the end of the code")
		}
		i := &m.program.code[m.next]
		m.next++
		m.Executed++
		i.run(m, i.operands)
	}
	return nil
}

// memory is the n bytes at an address.
func (m *Machine) memory(address uint64, n int) []byte {
	for i := range m.regions {
		r := &m.regions[i]
		if address >= r.base && address-r.base+uint64(n) <= uint64(len(r.bytes)) {
			return r.bytes[address-r.base:][:n]
		}
	}
	panic(fault(fmt.Sprintf("access to %d bytes at %#x, which are not mapped", n, address)))
}
