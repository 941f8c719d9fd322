package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"lode/miner"
	"lode/plot"
)

// benchCmd is `lode bench`.
type benchCmd struct {
	Kernel  []string      `help:"Kernel to measure; repeatable. Default: all that run here, but for the portable ones." placeholder:"NAME"`
	Threads []string      `help:"Number of threads, or all: the cpus that this process may use; repeatable. Default: 1 and all." placeholder:"N"`
	Time    time.Duration `help:"Length of each measurement." default:"2s"`
	Pin     bool          `help:"Pin each thread to a cpu."`
	Compare bool          `help:"Also run the miners cpuminer and minerd where they are on PATH, one after the other."`
	JSON    bool          `name:"json" help:"Print one JSON object instead of a table."`
	Plot    string        `help:"Draw what was measured into a file, .svg." placeholder:"FILE.svg"`

	Measure benchMeasureCmd `cmd:"" default:"withargs" help:"Measure (the default)."`
	Between benchCompareCmd `cmd:"" name:"compare" help:"Compare two outputs of lode bench --json."`
}

// Help is shown by lode bench --help.
func (benchCmd) Help() string {
	return `Measures how fast this machine hashes, with each kernel, and how near that is to the limit of its cores.

  lode bench
  lode bench --kernel shani-roll --threads 1 --threads 4 --time 10s
  lode bench --json > before.json
  lode bench compare before.json after.json`
}

// benchOutput is the JSON of lode bench.
type benchOutput struct {
	*miner.BenchReport
	Peers []peerResult `json:"peers,omitempty"`
}

// benchMeasureCmd is `lode bench` without a further word.
type benchMeasureCmd struct{}

// Run is called by execute.
func (benchMeasureCmd) Run(env *environment, cmd *benchCmd) error {
	if cmd.Time < 10*time.Millisecond {
		return usagef("--time=%v is too short to measure anything: give 10ms or more", cmd.Time)
	}
	for _, name := range cmd.Kernel {
		if !miner.KnownKernel(name) {
			return unknownKernel(name)
		}
	}
	threads, err := cmd.threads()
	if err != nil {
		return err
	}
	begin := time.Now()
	report, err := miner.Bench(env.ctx, miner.BenchOptions{
		Kernels: cmd.Kernel,
		Threads: threads,
		Time:    cmd.Time,
		Engine:  miner.Options{Pin: cmd.Pin, Log: env.log},
		Progress: func(s miner.BenchStep) {
			if s.Index == 0 {
				fmt.Fprintln(env.stderr, "measuring the limits of a core")
				return
			}
			fmt.Fprintf(env.stderr, "%4.0fs %d of %d: %s with %s\n",
				time.Since(begin).Seconds(), s.Index, s.Count, s.Kernel, counted(s.Threads, "thread"))
		},
	})
	if report == nil {
		return usagef("--kernel: %w", err)
	}
	out := benchOutput{BenchReport: report}
	if cmd.Compare && err == nil {
		out.Peers, err = comparePeers(env, report, cmd.Time, begin)
	}
	// What was measured before an interruption is still worth printing.
	if cmd.JSON {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(out))
	} else {
		err = errors.Join(err, out.table(env.stdout))
	}
	if cmd.Plot != "" && len(report.Results) > 0 {
		err = errors.Join(err, plot.Save(cmd.Plot, out.panels()...))
	}
	if env.ctx.Err() != nil {
		return context.Canceled
	}
	return err
}

// threads reads --threads.
func (cmd *benchCmd) threads() (list []int, err error) {
	for _, text := range cmd.Threads {
		n := miner.AvailableCPUs()
		if text != "all" {
			if n, err = strconv.Atoi(text); err != nil || n < 1 {
				return nil, usagef("--threads=%s: want a number from 1 on, or all", text)
			}
			if n > miner.MostThreads {
				return nil, usagef("--threads=%d: want at most %d; this process may use %s", n, miner.MostThreads, counted(miner.AvailableCPUs(), "cpu"))
			}
		}
		list = append(list, n)
	}
	return list, nil
}

// scaling says what several threads make of one: how much of the loss is the clock, and
// how much the core that two of them share.
func (o *benchOutput) scaling() (lines []string) {
	one := make(map[string]*miner.BenchResult)
	for i := range o.Results {
		if r := &o.Results[i]; r.Threads == 1 {
			one[r.Kernel] = r
		}
	}
	for i := range o.Results {
		r := &o.Results[i]
		alone := one[r.Kernel]
		if r.Threads == 1 || alone == nil || alone.HashesPerSecond == 0 {
			continue
		}
		line := fmt.Sprintf("%s: %d threads make %.2f times the hashes of one", r.Kernel, r.Threads, r.HashesPerSecond/alone.HashesPerSecond)
		if r.CyclesPerHash > 0 && alone.CyclesPerHash > 0 {
			line += fmt.Sprintf("; each needs %.2f times the cycles, at %.2f times the clock",
				r.CyclesPerHash/alone.CyclesPerHash, r.ClockHz/alone.ClockHz)
		}
		lines = append(lines, line)
	}
	if cores := len(miner.Cores()); cores > 0 && lines != nil {
		lines = append(lines, fmt.Sprintf("this process may use %s on %s", counted(miner.AvailableCPUs(), "cpu"), counted(cores, "core")))
	}
	return lines
}

// counted is a number of things, for people.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// table writes the report for people.
func (o *benchOutput) table(w io.Writer) error {
	fmt.Fprintf(w, "%s", o.CPU)
	if o.Core.ClockHz > 0 {
		fmt.Fprintf(w, ", %.2f GHz", o.Core.ClockHz/1e9)
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kernel\tthreads\tversions\tMH/s\tleast\tgreatest\tcycles/hash\tGHz\tbound\tmachine\tof the bound\t")
	for i := range o.Results {
		r := &o.Results[i]
		versions, cycles, clock, bound, machine, share := "fixed", "-", "-", "-", "-", "-"
		if r.VersionRolling {
			versions = "rolled"
		}
		if r.CyclesPerHash > 0 {
			cycles = fmt.Sprintf("%.1f", r.CyclesPerHash)
		}
		if r.ClockHz > 0 {
			clock = fmt.Sprintf("%.2f", r.ClockHz/1e9)
		}
		if r.BoundCycles > 0 {
			bound = fmt.Sprintf("%.1f", r.BoundCycles)
		}
		if r.MachineBoundCycles > 0 {
			machine = fmt.Sprintf("%.1f", r.MachineBoundCycles)
		}
		if s := r.ShareOfBound(); s > 0 {
			share = fmt.Sprintf("%.0f %%", 100*s)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%.2f\t%.2f\t%.2f\t%s\t%s\t%s\t%s\t%s\t\n", r.Kernel, r.Threads, versions,
			r.HashesPerSecond/1e6, r.Least/1e6, r.Greatest/1e6, cycles, clock, bound, machine, share)
	}
	for _, p := range o.Peers {
		fmt.Fprintf(t, "%s\t%d\tfixed\t%.2f\t\t\t\t\t\t\t\t\n", p.Program, p.Threads, p.HashesPerSecond/1e6)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, line := range o.scaling() {
		fmt.Fprintln(w, line)
	}
	for _, k := range o.Skipped {
		fmt.Fprintf(w, "not measured: %s, %s\n", k.Name, k.Missing)
	}
	for _, p := range o.Peers {
		fmt.Fprintf(w, "%s with %s: lode is %.2f times as fast\n", p.Program, counted(p.Threads, "thread"), p.Ratio)
	}
	return nil
}
