package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"lode/miner"
)

// peerResult is the speed of another program, and how many times as fast the best
// kernel of ours was with as many threads.
type peerResult struct {
	Program         string  `json:"program"`
	Threads         int     `json:"threads"`
	HashesPerSecond float64 `json:"hashes_per_second"`
	Ratio           float64 `json:"ratio"`
}

// peers are the programs that --compare looks for on PATH.
var peers = []peer{
	// It loses what it has printed to a pipe when a signal ends it.
	{"cpuminer", func(length time.Duration) []string {
		return []string{fmt.Sprintf("--time-limit=%d", int(length.Seconds()))}
	}},
	{"minerd", func(time.Duration) []string { return nil }}, // ends by a signal only
}

type peer struct {
	program string
	limit   func(length time.Duration) []string // arguments that make it end by itself
}

// comparePeers runs each peer with each number of threads that was measured.
func comparePeers(env *environment, report *miner.BenchReport, length time.Duration, begin time.Time) ([]peerResult, error) {
	best := map[int]float64{}
	for _, r := range report.Results {
		best[r.Threads] = max(best[r.Threads], r.HashesPerSecond)
	}
	var counts []int
	for n := range best {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	var results []peerResult
	for _, p := range peers {
		program := p.program
		path, err := exec.LookPath(program)
		if err != nil {
			fmt.Fprintf(env.stderr, "%s is not on PATH: nothing to compare with\n", program)
			continue
		}
		for _, n := range counts {
			fmt.Fprintf(env.stderr, "%4.0fs %s with %s\n", time.Since(begin).Seconds(), program, counted(n, "thread"))
			rate, err := p.run(env.ctx, path, n, length)
			switch {
			case env.ctx.Err() != nil:
				return results, err
			case err != nil: // no reason not to print the rest
				fmt.Fprintln(env.stderr, "lode:", err)
				continue
			}
			results = append(results, peerResult{program, n, rate, best[n] / rate})
		}
	}
	return results, nil
}

// peerWarmUp is added to the time of a peer: these programs print their first rates
// after some seconds, and the last line is the one that counts.
const peerWarmUp = 10 * time.Second

// run runs the benchmark of a program for a while and returns the last rate that it
// printed.
func (p *peer) run(ctx context.Context, path string, threads int, length time.Duration) (float64, error) {
	length += peerWarmUp
	const grace = 3 * time.Second // for it to end by itself
	limited, cancel := context.WithTimeout(ctx, length+grace)
	defer cancel()
	args := append([]string{"--benchmark", "-a", "sha256d", "-t", strconv.Itoa(threads)}, p.limit(length)...)
	cmd := exec.CommandContext(limited, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Second // then it is killed
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	rate := peerRate(output)
	if rate == 0 {
		if limited.Err() != nil {
			err = errors.New("it printed no rate")
		}
		last := output[bytes.LastIndexByte(bytes.TrimSpace(output), '\n')+1:]
		return 0, fmt.Errorf("compare with %s: %w; its last line was %q", path, err, bytes.TrimSpace(last))
	}
	return rate, nil
}

var (
	// "Total: 22734.12 khash/s", "Benchmark: 43.21 MH/s"
	totalRate = regexp.MustCompile(`(?i)(?:total|benchmark)[^\n]*?([0-9.]+) *([kMGT]?)(?:h|hash)/s`)
	// "thread 1: 23068672 hashes, 11367.06 khash/s"
	threadRate = regexp.MustCompile(`(?i)thread (\d+)[^\n]*?([0-9.]+) *([kMGT]?)(?:h|hash)/s`)
)

// peerRate finds the rate in what a peer printed: the last total, or else the sum of
// the last rate of each thread. 0: there is none.
func peerRate(output []byte) float64 {
	if all := totalRate.FindAllSubmatch(output, -1); all != nil {
		last := all[len(all)-1]
		return scaledRate(last[1], last[2])
	}
	rates := map[string]float64{}
	for _, m := range threadRate.FindAllSubmatch(output, -1) {
		rates[string(m[1])] = scaledRate(m[2], m[3])
	}
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}

func scaledRate(number, prefix []byte) float64 {
	v, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		return 0
	}
	factors := map[string]float64{"": 1, "k": 1e3, "K": 1e3, "m": 1e6, "M": 1e6, "g": 1e9, "G": 1e9, "t": 1e12, "T": 1e12}
	return v * factors[string(prefix)]
}
