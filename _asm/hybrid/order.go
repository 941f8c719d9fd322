package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

// byClass orders code by class: of the next instructions, as many as window says, all
// shifts that can be done, then all ternary logic, then the rest, and so on. Zen 4 cannot
// start a SHA256RNDS2 in a cycle in which ternary logic starts, so that is to come in
// groups. It returns also where these begin. No more values are alive at once than there
// are registers.
func byClass(list stream, registers, window int) (ordered stream, begins []int) {
	d := dependencies(list)
	uses := map[*value]int{} // that are still to come
	for _, x := range list {
		for _, v := range values(x) {
			uses[v]++
		}
	}
	alive := 0
	growth := func(x instruction) (n int) { // of alive, by x
		if x.out != nil {
			n++
		}
		for _, v := range values(x) {
			if uses[v] == 1 {
				n--
			}
		}
		return n
	}
	done := make([]bool, len(list))
	oldest := 0
	take := func(i int) {
		alive += growth(list[i])
		for _, v := range values(list[i]) {
			uses[v]--
		}
		done[i] = true
		ordered = append(ordered, list[i])
		for _, j := range d.after[i] {
			d.before[j]--
		}
		for oldest < len(list) && done[oldest] {
			oldest++
		}
	}
	next := func(c class) (int, bool) {
		for i := oldest; i < min(oldest+window, len(list)); i++ {
			if !done[i] && d.before[i] == 0 && list[i].class == c {
				if g := growth(list[i]); g <= 0 || alive+g <= registers {
					return i, true
				}
			}
		}
		return 0, false
	}
	for len(ordered) < len(list) {
		before := len(ordered)
		for _, c := range []class{shift, ternary, other} {
			if c == ternary {
				begins = append(begins, len(ordered))
			}
			for i, ok := next(c); ok; i, ok = next(c) {
				take(i)
			}
		}
		if len(ordered) == before {
			take(oldest)
		}
	}
	return ordered, begins
}

// graph says which instructions wait for which.
type graph struct {
	after  [][]int // the instructions that wait for this one
	before []int   // the number of those that this one waits for
}

// dependencies are those through values and memory. An address is always written in the
// same way.
func dependencies(list stream) graph {
	g := graph{make([][]int, len(list)), make([]int, len(list))}
	edge := func(a, b int) {
		g.after[a] = append(g.after[a], b)
		g.before[b]++
	}
	maker := map[*value]int{}
	stored := map[string]int{}
	read := map[string][]int{} // since it was stored
	for i, x := range list {
		for _, v := range values(x) {
			edge(maker[v], i)
		}
		for j, in := range x.in {
			m, ok := in.(Mem)
			if !ok {
				continue
			}
			address := m.Asm()
			if at, ok := stored[address]; ok {
				edge(at, i)
			}
			if !x.store || j == 0 {
				read[address] = append(read[address], i)
				continue
			}
			for _, r := range read[address] {
				edge(r, i)
			}
			stored[address], read[address] = i, nil
		}
		if x.out != nil {
			maker[x.out] = i
		}
	}
	return g
}

// evenly spreads instructions over a block.
func evenly(list stream) {
	for i := range list {
		list[i].at = (2*i + 1) * (block / 2) / len(list)
	}
}

// snap moves instructions to the next of the places in a list of n that is spread
// evenly.
func snap(list []instruction, places []int, n int) {
	for i := range list {
		at := block - 1
		for _, p := range places {
			if q := p * block / n; q >= list[i].at {
				at = q
				break
			}
		}
		list[i].at = at
	}
}
