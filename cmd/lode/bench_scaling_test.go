package main

import (
	"strings"
	"testing"

	"lode/miner"
)

func TestScaling(t *testing.T) {
	o := benchOutput{BenchReport: &miner.BenchReport{Results: []miner.BenchResult{
		{Kernel: "a-roll", Threads: 1, HashesPerSecond: 10e6, CyclesPerHash: 80, ClockHz: 3e9},
		{Kernel: "b", Threads: 1},
		{Kernel: "a-roll", Threads: 4, HashesPerSecond: 30e6, CyclesPerHash: 100, ClockHz: 2.7e9},
		{Kernel: "b", Threads: 4, HashesPerSecond: 30e6}, // a first one that never ran
		{Kernel: "c", Threads: 4, HashesPerSecond: 30e6}, // none to compare with
	}}}
	lines := o.scaling()
	if len(lines) == 0 || lines[0] != "a-roll: 4 threads make 3.00 times the hashes of one; each needs 1.25 times the cycles, at 0.90 times the clock" {
		t.Errorf("%q", lines)
	}
	if text := strings.Join(lines, "\n"); strings.Contains(text, "b:") || strings.Contains(text, "c:") {
		t.Errorf("%s", text)
	}
	if lines := (&benchOutput{BenchReport: &miner.BenchReport{}}).scaling(); lines != nil {
		t.Errorf("%q of nothing", lines)
	}
}
