package main

import (
	"cmp"
	"fmt"
	"slices"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A kernel is written as a list of instructions that is put into an order first and
// given registers then.

// class is what the order goes by.
type class int

const (
	other   class = iota
	shift         // shifts and rotations
	ternary       // logic of three operands
	rounds        // SHA256RNDS2
)

type instruction struct {
	class class
	write func(in []Op, out Op)
	in    []Op   // values, registers, memory
	out   *value // nil: a register or memory that in names, or nothing
	tied  bool   // the last of in is overwritten: out gets its register
	wide  bool   // works on 256 bits
	store bool   // writes in[1], which is memory
	at    int    // when, in parts of a block
}

// block is the length of a block of code, the unit of time.
const block = 1_000_000

// value is a result that gets its register when the order is known. It is an Op so
// that it can stand where registers do.
type value struct{ _ byte } // pointers to things without size may be equal

func (*value) Asm() string { panic("a value has no register yet") }

// stream is the vector code of one chain of message words.
type stream []instruction

// do adds an instruction and returns its result.
func (s *stream) do(c class, write func(in []Op, out Op), in ...Op) *value {
	v := &value{}
	*s = append(*s, instruction{class: c, write: write, in: in, out: v, wide: true})
	return v
}

func (s *stream) add(a, b Op) *value {
	return s.do(other, func(in []Op, out Op) { VPADDD(in[1], in[0], out) }, a, b)
}

func (s *stream) load(m Mem) *value {
	return s.do(other, func(in []Op, out Op) { VMOVDQA(in[0], out) }, m)
}

func (s *stream) store(v Op, m Mem) {
	*s = append(*s, instruction{
		write: func(in []Op, _ Op) { VMOVDQA(in[0], in[1]) }, in: []Op{v, m}, wide: true, store: true,
	})
}

// unpackWords interleaves the low and the high words of each half of a and b.
func (s *stream) unpackWords(a, b Op) (low, high *value) {
	return s.do(other, func(in []Op, out Op) { VPUNPCKLDQ(in[1], in[0], out) }, a, b),
		s.do(other, func(in []Op, out Op) { VPUNPCKHDQ(in[1], in[0], out) }, a, b)
}

// unpackLowPairs joins the low halves of each half of a and b, unpackHighPairs the high
// ones.
func (s *stream) unpackLowPairs(a, b Op) *value {
	return s.do(other, func(in []Op, out Op) { VPUNPCKLQDQ(in[1], in[0], out) }, a, b)
}

func (s *stream) unpackHighPairs(a, b Op) *value {
	return s.do(other, func(in []Op, out Op) { VPUNPCKHQDQ(in[1], in[0], out) }, a, b)
}

// pieces cuts code where no value is alive.
func (s stream) pieces() (list [][]instruction) {
	last := lastUses(s)
	alive, from := 0, 0
	for i, x := range s {
		alive -= len(dying(x, last, i))
		if x.out != nil {
			alive++
		}
		if alive == 0 {
			list = append(list, s[from:i+1])
			from = i + 1
		}
	}
	if from < len(s) {
		panic("values are alive at the end")
	}
	return list
}

// spread gives the instructions of a stream, or of several, their times: evenly over
// a block, all of a piece at once.
func spread(s stream) {
	done := 0
	for _, p := range s.pieces() {
		for i := range p {
			p[i].at = (2*done + len(p)) * (block / 2) / len(s)
		}
		done += len(p)
	}
}

// merge puts lists together in the order of their times; what is at the same time
// stays in the order of the lists.
func merge(lists ...[]instruction) []instruction {
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b instruction) int { return cmp.Compare(a.at, b.at) })
	return all
}

func lastUses(list []instruction) map[*value]int {
	last := map[*value]int{}
	for i, x := range list {
		for _, v := range values(x) {
			last[v] = i
		}
	}
	return last
}

// dying are the values that instruction i uses and no later one.
func dying(x instruction, last map[*value]int, i int) []*value {
	return slices.DeleteFunc(values(x), func(v *value) bool { return last[v] != i })
}

// values are the different ones that an instruction reads.
func values(x instruction) (list []*value) {
	for _, in := range x.in {
		if v, ok := in.(*value); ok && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// write gives values registers and writes the code. The register that is free for the
// longest time is taken first.
func write(list []instruction, registers []reg.VecPhysical) {
	last := lastUses(list)
	free := slices.Clone(registers)
	of := map[*value]reg.VecPhysical{}
	for i, x := range list {
		in := slices.Clone(x.in)
		for j, o := range in {
			if v, ok := o.(*value); ok {
				in[j] = of[v]
			}
		}
		var heir *value
		if x.tied {
			heir = x.in[len(x.in)-1].(*value)
			if last[heir] != i {
				panic("a value is overwritten that is needed later")
			}
			of[x.out] = of[heir]
		}
		for _, v := range dying(x, last, i) {
			if v != heir {
				free = append(free, of[v])
			}
			delete(of, v)
		}
		var out Op
		if x.out != nil {
			if !x.tied {
				if len(free) == 0 {
					panic(fmt.Sprintf("out of registers at instruction %d of %d", i, len(list)))
				}
				of[x.out], free = free[0], free[1:]
			}
			out = of[x.out]
		}
		x.write(in, out)
	}
}
