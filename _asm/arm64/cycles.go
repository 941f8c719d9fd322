package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// No ARM machine was at hand to measure on. What can be done is to compute how long the
// loops take on cores whose latencies are published, and to choose the number of streams
// by that: go run ./arm64 -cycles.

// core is a model of a core: the figures are those of Arm's software optimization guides,
// by way of the scheduling models of LLVM.
type core struct {
	name     string
	dispatch int // instructions a cycle
	window   int // instructions that are under way at once
	vectors  int // pipes for vectors; the first of them has the SHA-2 instructions too
}

var cores = []core{
	{"Neoverse N1", 4, 128, 2},
	{"Neoverse V1", 8, 256, 4},
	{"Neoverse V2", 8, 320, 4},
}

const (
	latencyHash     = 4 // SHA256H, SHA256H2
	latencySchedule = 2 // SHA256SU0, SHA256SU1
	latencyVector   = 2
	latencyLoad     = 6
	loads           = 2 // a cycle
)

// printCycles prints the cycles of a hash for each core, kernel and number of streams.
func printCycles() {
	fmt.Println("cycles/hash, computed       1 stream  2 streams 3 streams 4 streams  SHA-2 instructions")
	for _, c := range cores {
		for _, kernel := range []string{"arm64Roll", "arm64Plain"} {
			fmt.Printf("%-14s %-12s", c.name, kernel)
			needed := 0
			for streams = 1; streams <= 4; streams++ {
				w := &writer{}
				w.plainKernel()
				w.rollKernel()
				loop := loopOf(w.String(), kernel)
				fmt.Printf("%10.1f", c.cycles(loop)/float64(streams))
				needed = 0
				for _, line := range loop {
					if strings.HasPrefix(line, "SHA256") {
						needed++
					}
				}
			}
			fmt.Printf("%12d\n", needed/4)
		}
	}
}

// loopOf is the loop over groups of a function.
func loopOf(text, function string) []string {
	_, text, _ = strings.Cut(text, "TEXT ·"+function+"(")
	_, text, _ = strings.Cut(text, "group:\n")
	text, _, _ = strings.Cut(text, "\tBNE group")
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

var register = regexp.MustCompile(`\b[VFR](\d+)\b`)

// cycles is how long a turn of the loop takes in the long run: each instruction starts as
// soon as its operands are there and a pipe is free, the older ones first.
func (c core) cycles(loop []string) float64 {
	const turns = 40
	ready := map[string]int{}
	busy := map[string][]int{} // cycles in which a pipe starts something, by kind of pipe
	var started, half int
	var finished []int // times at which instructions leave the window, in order
	start := func(kind string, at, perCycle int) int {
		for {
			for len(busy[kind]) <= at {
				busy[kind] = append(busy[kind], 0)
			}
			if busy[kind][at] < perCycle {
				busy[kind][at]++
				return at
			}
			at++
		}
	}
	for turn := range turns {
		for _, line := range loop {
			name, rest, _ := strings.Cut(line, " ")
			at := started / c.dispatch
			if n := len(finished); n >= c.window {
				at = max(at, finished[n-c.window])
			}
			started = max(started, at*c.dispatch) + 1
			var names []string
			for _, m := range register.FindAllStringSubmatch(rest, -1) {
				kind := "V"
				if m[0][0] == 'R' {
					kind = "R"
				}
				names = append(names, kind+m[1])
			}
			zero := name == "VEOR" && names[0] == names[1] && names[1] == names[2]
			target := names[len(names)-1]
			reads := names[:len(names)-1]
			if strings.HasPrefix(name, "SHA256") || strings.Contains(rest, "].") || strings.Contains(rest, "S[") {
				reads = names // the target is changed, not set
			}
			if !zero {
				for _, r := range reads {
					at = max(at, ready[r])
				}
			}
			latency := 1
			switch {
			case strings.HasPrefix(name, "SHA256H"):
				at, latency = start("SHA", at, 1), latencyHash
			case strings.HasPrefix(name, "SHA256SU"):
				at, latency = start("SHA", at, 1), latencySchedule
			case name == "FMOVQ":
				at, latency = start("load", at, loads), latencyLoad
			case name[0] == 'V':
				at, latency = start("vector", at, c.vectors-1), latencyVector
			}
			if !strings.HasSuffix(rest, ")") && name != "TSTW" { // not a store
				ready[target] = at + latency
			}
			end := at + latency
			if n := len(finished); n > 0 {
				end = max(end, finished[n-1])
			}
			finished = append(finished, end)
		}
		if turn == turns/2-1 {
			half = slices.Max(finished)
		}
	}
	return float64(slices.Max(finished)-half) / (turns / 2)
}
