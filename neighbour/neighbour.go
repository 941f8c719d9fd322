// Package neighbour measures what a miner's neighbours on a machine feel: a server with
// open-loop load, a job that computes and one that walks through memory run alone, beside
// Lode's miner and beside any other command, in turn, several times. Call Run.
//
// All of them are processes of their own, each bound to its cpus: the program starts
// itself again, so its main has to call JobMain first.
package neighbour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Names of jobs, of placements of the miner, and of what is beside a job.
const (
	Server, Batch, Memory = "server", "batch", "memory"
	Same, Sibling, Socket = "same", "sibling", "socket"
	Nothing, Lode         = "nothing", "lode"
)

// Options say what Run measures.
type Options struct {
	Rounds int           // how often everything is measured
	Time   time.Duration // of each measurement
	Load   float64       // of the server, of one cpu, 0 < Load < 1
	CPU    int           // of the job; -1: the last one that the process may use
	// Placements of what is beside a job: Same, Sibling, Socket; nil: all that there are.
	Placements []string
	Beside     []string // shell commands to compare with
	Yield      string   // how the miner yields
	Kernel     string   // of the miner; "": the fastest
	jobs       []string // nil: all
	// Progress is told about each measurement when it begins.
	Progress func(step, steps int, what string)
}

// Report is what Run measured.
type Report struct {
	CPU           string    `json:"cpu"`
	KernelRelease string    `json:"kernel_release"`
	Rounds        int       `json:"rounds"`
	Noisy         bool      `json:"noisy"`
	Noise         Noise     `json:"noise"`
	Results       []Result  `json:"results"`
	Yield         Yield     `json:"yield"`
	Harvest       []Harvest `json:"harvest"`
}

// Noise says what made a machine noisy.
type Noise struct {
	// Others is the share of the job's cpu that strangers used, mean of all measurements.
	Others float64 `json:"others_share"`
	// Spread is that of the server's p99 and of the throughputs, alone, between rounds:
	// the greatest over the least, less one.
	Latency    float64 `json:"latency_spread"`
	Throughput float64 `json:"throughput_spread"`
	Why        string  `json:"why,omitempty"`
}

// Result is one job in one place, median of the rounds. What a job does not have is 0.
type Result struct {
	Job        string  `json:"job"`
	Placement  string  `json:"placement"` // of what is beside it
	Beside     string  `json:"beside"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Throughput float64 `json:"throughput"` // requests, pieces of work or millions of accesses a second
	// Between the rounds.
	LeastP99           float64 `json:"least_p99_us"`
	GreatestP99        float64 `json:"greatest_p99_us"`
	LeastThroughput    float64 `json:"least_throughput"`
	GreatestThroughput float64 `json:"greatest_throughput"`
	// Wake is how late the server ran after it slept.
	WakeP50 float64 `json:"wake_p50_us"`
	WakeP99 float64 `json:"wake_p99_us"`
}

// Yield is how long it took from the end of the server's sleep until it had the cpu that
// the miner was on; Alone is the same without a miner.
type Yield struct {
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	AloneP50 float64 `json:"alone_p50_us"`
	AloneP99 float64 `json:"alone_p99_us"`
}

// Harvest is what the miner made of the time that the server, at a load, and strangers left
// idle. To switch to the server and back, and to take its interrupts, costs some of that time
// whatever a program does in it: so Share compares with a yardstick, a loop of SCHED_IDLE
// that does nothing but count its turns, measured in turn at the same requests.
type Harvest struct {
	ForeignLoad float64 `json:"foreign_load"`
	Share       float64 `json:"share"` // hashes over turns, each of what a free cpu gives; median
	Least       float64 `json:"least"`
	Greatest    float64 `json:"greatest"`
	// Of the idle time: in how much of it a free cpu does as many hashes, and as many turns.
	OfTime    float64 `json:"of_time"`
	Yardstick float64 `json:"yardstick_of_time"`
}

// OptionError is a mistake in the options.
type OptionError struct {
	Option string // the field's name
	Text   string
}

func (e *OptionError) Error() string { return "neighbour: " + e.Text }

// Bounds of what is measured, and kept.
const (
	mostRounds = 10_000
	mostTime   = time.Hour
)

func (o *Options) check() error {
	switch {
	case o.Rounds < 1:
		return &OptionError{"Rounds", fmt.Sprintf("%d rounds measure nothing: give 1 or more", o.Rounds)}
	case o.Time < 100*time.Millisecond:
		return &OptionError{"Time", fmt.Sprintf("%v is too short to measure anything: give 100ms or more", o.Time)}
	case o.Rounds > mostRounds:
		return &OptionError{"Rounds", fmt.Sprintf("%d rounds never end: give %d at most", o.Rounds, mostRounds)}
	case o.Time > mostTime:
		return &OptionError{"Time", fmt.Sprintf("%v is too long, each latency is kept: give %v at most", o.Time, mostTime)}
	case !(o.Load > 0 && o.Load < 1):
		return &OptionError{"Load", fmt.Sprintf("a load of %v of a cpu: want more than 0 and less than 1", o.Load)}
	}
	return nil
}

// harvestLoads are the server's loads at which the harvest is measured.
var harvestLoads = []float64{0, 0.2, 0.5, 0.8}

// beside is something that runs beside a job: the miner, or a command.
type beside struct {
	name string
	job  job
}

// harvest is what is measured at one load: the miner and the yardstick.
type harvest struct {
	load            float64
	lode, yardstick *measurement
}

// measurement is one job in one place, to be done once a round.
type measurement struct {
	job       string
	placement string
	beside    *beside // nil: nothing
	load      float64 // of a server
	seed      uint64
}

func (m *measurement) String() string {
	switch {
	case m.job == "":
		return m.beside.name + " alone"
	case m.beside == nil:
		return m.job + " alone"
	}
	return fmt.Sprintf("%s beside %s, %s cpu", m.job, m.beside.name, m.placement)
}

// Run measures. When ctx ends it returns ctx's error.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := b.checkPlacements(); err != nil {
		return nil, err
	}
	if o.jobs == nil {
		b.options.jobs = []string{Server, Batch, Memory}
	}
	jobs, harvests := b.plan()
	plan := slices.Clone(jobs)
	for _, h := range harvests {
		plan = append(plan, h.lode, h.yardstick)
	}
	steps := o.Rounds * len(plan)
	step := 0
	for round := range o.Rounds {
		for _, m := range plan {
			if o.Progress != nil {
				o.Progress(step+1, steps, m.String())
			}
			step++
			m.seed = uint64(round)
			got, err := b.measure(ctx, m)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("neighbour: %v: %w", m, err), context.Cause(ctx))
			}
			b.taken[m] = append(b.taken[m], got)
		}
	}
	return b.report(jobs, harvests), nil
}
