package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"lode/plot"
)

// benchCompareCmd is `lode bench compare`.
type benchCompareCmd struct {
	Before string `arg:"" help:"Output of lode bench --json." placeholder:"FILE"`
	After  string `arg:"" help:"Another one." placeholder:"FILE"`
}

// Help is shown by lode bench compare --help.
func (benchCompareCmd) Help() string {
	return `Says how many times as fast the second measurement was as the first, by kernel and number of threads: the ratio of the medians, and
between which ratios it is by the slowest and the fastest tenths of each. Where 1 is among these, the measurements do not differ.`
}

// benchRatio is one line of a comparison.
type benchRatio struct {
	Kernel  string  `json:"kernel"`
	Threads int     `json:"threads"`
	Before  float64 `json:"before_hashes_per_second"` // median
	After   float64 `json:"after_hashes_per_second"`
	Ratio   float64 `json:"ratio"`
	// Least and Greatest are the ratios of the slowest sample to the fastest one before,
	// and the other way round.
	Least    float64  `json:"least"`
	Greatest *float64 `json:"greatest,omitempty"` // nil: a sample before had no hashes
	// Cycles is the ratio of cycles a hash; 0: not known.
	Cycles float64 `json:"cycles_ratio,omitempty"`
}

// benchComparison is the JSON of lode bench compare.
type benchComparison struct {
	CPUs    [2]string    `json:"cpus"`
	Ratios  []benchRatio `json:"ratios"`
	Missing []string     `json:"missing"` // what only one of them has measured
}

// Run is called by execute.
func (cmd *benchCompareCmd) Run(env *environment, bench *benchCmd) error {
	before, err := readBench(cmd.Before)
	if err != nil {
		return err
	}
	after, err := readBench(cmd.After)
	if err != nil {
		return err
	}
	c := compareBench(before, after)
	if len(c.Ratios) == 0 {
		return fmt.Errorf("%s and %s have no kernel with the same number of threads in common", cmd.Before, cmd.After)
	}
	if bench.JSON {
		return printJSON(env.stdout, c)
	}
	return c.table(env.stdout)
}

// readBench reads the output of lode bench --json, and nothing else.
func readBench(file string) (*benchOutput, error) {
	b, err := readFile(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	out := new(benchOutput)
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(out); err != nil {
		return nil, usagef("%s is no output of lode bench --json: %w", file, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, usagef("%s is no output of lode bench --json: something follows the object", file)
	}
	if out.BenchReport == nil || len(out.Results) == 0 {
		return nil, usagef("%s is no output of lode bench --json: it has no results", file)
	}
	seen := map[benchKey]bool{}
	for i := range out.Results {
		r := &out.Results[i]
		key := benchKey{r.Kernel, r.Threads}
		if r.Kernel == "" || r.Threads < 1 || !(r.HashesPerSecond > 0) || !(r.Least >= 0) || r.Greatest < r.HashesPerSecond || r.Least > r.HashesPerSecond || seen[key] {
			return nil, usagef("%s is no output of lode bench --json: result %d makes no sense", file, i+1)
		}
		seen[key] = true
	}
	return out, nil
}

type benchKey struct {
	kernel  string
	threads int
}

func (k benchKey) String() string {
	return fmt.Sprintf("%s with %s", k.kernel, counted(k.threads, "thread"))
}

func compareBench(before, after *benchOutput) benchComparison {
	c := benchComparison{CPUs: [2]string{before.CPU, after.CPU}, Ratios: []benchRatio{}, Missing: []string{}}
	known := map[benchKey]int{}
	for i := range before.Results {
		known[benchKey{before.Results[i].Kernel, before.Results[i].Threads}] = i
	}
	for i := range after.Results {
		b := &after.Results[i]
		key := benchKey{b.Kernel, b.Threads}
		at, ok := known[key]
		if !ok {
			c.Missing = append(c.Missing, key.String()+" in the first")
			continue
		}
		delete(known, key)
		a := &before.Results[at]
		ratio := benchRatio{
			Kernel: b.Kernel, Threads: b.Threads, Before: a.HashesPerSecond, After: b.HashesPerSecond,
			Ratio: b.HashesPerSecond / a.HashesPerSecond, Least: b.Least / a.Greatest,
		}
		if a.Least > 0 {
			greatest := b.Greatest / a.Least
			ratio.Greatest = &greatest
		}
		if a.CyclesPerHash > 0 {
			ratio.Cycles = b.CyclesPerHash / a.CyclesPerHash
		}
		c.Ratios = append(c.Ratios, ratio)
	}
	for i := range before.Results {
		key := benchKey{before.Results[i].Kernel, before.Results[i].Threads}
		if _, left := known[key]; left {
			c.Missing = append(c.Missing, key.String()+" in the second")
		}
	}
	return c
}

// verdict says in words what a ratio is worth.
func (r *benchRatio) verdict() string {
	switch {
	case r.Least > 1:
		return "faster"
	case r.Greatest != nil && *r.Greatest < 1:
		return "slower"
	}
	return "no difference"
}

func (c *benchComparison) table(w io.Writer) error {
	if c.CPUs[0] != c.CPUs[1] {
		fmt.Fprintf(w, "different processors: %s, then %s\n\n", c.CPUs[0], c.CPUs[1])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kernel\tthreads\tMH/s before\tafter\tratio\tleast\tgreatest\tcycles/hash\t\t")
	for i := range c.Ratios {
		r := &c.Ratios[i]
		cycles, greatest := "-", "-"
		if r.Greatest != nil {
			greatest = fmt.Sprintf("%.3f", *r.Greatest)
		}
		if r.Cycles > 0 {
			cycles = fmt.Sprintf("%.3f", r.Cycles)
		}
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%.2f\t%.3f\t%.3f\t%s\t%s\t%s\t\n",
			r.Kernel, r.Threads, r.Before/1e6, r.After/1e6, r.Ratio, r.Least, greatest, cycles, r.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range c.Missing {
		fmt.Fprintf(w, "not measured: %s\n", m)
	}
	return nil
}

// panels are the rates of the kernels, and what their hashes cost beside what they have to.
func (o *benchOutput) panels() []plot.Panel {
	var kernels []string
	place := map[string]int{}
	byThreads := map[int]*plot.Curve{}
	var order []int
	measured, bound := plot.Curve{Name: "measured", Points: true}, plot.Curve{Name: "at least, by the kernel's instructions", Points: true}
	for i := range o.Results {
		r := &o.Results[i]
		at, known := place[r.Kernel]
		if !known {
			at = len(kernels)
			place[r.Kernel] = at
			kernels = append(kernels, r.Kernel)
		}
		c := byThreads[r.Threads]
		if c == nil {
			c = &plot.Curve{Name: counted(r.Threads, "thread"), Points: true}
			byThreads[r.Threads] = c
			order = append(order, r.Threads)
		}
		x := float64(at)
		c.X, c.Y = append(c.X, x), append(c.Y, r.HashesPerSecond/1e6)
		c.Low, c.High = append(c.Low, r.Least/1e6), append(c.High, r.Greatest/1e6)
		if r.CyclesPerHash > 0 && r.Threads == order[0] {
			measured.X, measured.Y = append(measured.X, x), append(measured.Y, r.CyclesPerHash)
			if r.BoundCycles > 0 {
				bound.X, bound.Y = append(bound.X, x), append(bound.Y, r.BoundCycles)
			}
		}
	}
	rates := plot.Panel{Title: o.CPU, X: plot.Axis{Names: kernels}, Y: plot.Axis{Label: "MH/s"}}
	for _, n := range order {
		rates.Curves = append(rates.Curves, *byThreads[n])
	}
	panels := []plot.Panel{rates}
	if len(measured.X) > 0 {
		panels = append(panels, plot.Panel{
			Title: "Cycles a hash, " + counted(order[0], "thread"), X: plot.Axis{Names: kernels}, Y: plot.Axis{Label: "cycles"},
			Curves: []plot.Curve{measured, bound},
		})
	}
	return panels
}
