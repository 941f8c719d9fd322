package neighbour

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"lode/internal/sleep"
	"lode/miner"
)

// bench is one run of the benchmark.
type bench struct {
	options Options
	cpu     int
	places  map[string][]int // cpus of what is beside, by placement
	turns   float64          // of spin in a microsecond
	taken   map[*measurement][]sample
}

// sample is one measurement.
type sample struct {
	outcome
	job    time.Duration // cpu time of the job's process
	done   uint64        // hashes of the miner beside it, or turns of the yardstick
	spent  time.Duration // cpu time of either
	window time.Duration // from before the job's start to its end
	others time.Duration // of strangers on the job's cpu; less than 0: not known
}

func newBench(ctx context.Context, o Options) (*bench, error) {
	b := &bench{options: o, taken: make(map[*measurement][]sample)}
	var err error
	if b.cpu, b.places, err = choosePlaces(miner.Cores(), miner.SocketOf, o.CPU); err != nil {
		return nil, err
	}
	got, err := b.run(ctx, job{Kind: calibrateKind, CPUs: []int{b.cpu}})
	if err != nil {
		return nil, fmt.Errorf("neighbour: measure the core: %w", err)
	}
	b.turns = got.Turns
	return b, nil
}

// choosePlaces gives the job's cpu, and the cpus for what is beside it by placement, if
// there are any.
func choosePlaces(cores [][]int, socketOf func(int) []int, wanted int) (cpu int, places map[string][]int, err error) {
	all := slices.Concat(cores...)
	if len(all) == 0 {
		return 0, nil, errors.New("neighbour: this system does not say which cpus there are: measure on Linux")
	}
	cpu = slices.Max(all)
	if wanted >= 0 {
		if cpu = wanted; !slices.Contains(all, cpu) {
			return 0, nil, &OptionError{"CPU", fmt.Sprintf("cpu %d is none of those that this process may use: %v", cpu, all)}
		}
	}
	places = map[string][]int{Same: {cpu}}
	var core []int
	for _, c := range cores {
		if slices.Contains(c, cpu) {
			core = c
		}
	}
	for _, c := range core {
		if c != cpu {
			places[Sibling] = append(places[Sibling], c)
		}
	}
	for _, c := range socketOf(cpu) {
		if slices.Contains(all, c) && !slices.Contains(core, c) {
			places[Socket] = append(places[Socket], c)
		}
	}
	return cpu, places, nil
}

// checkPlacements says whether all placements that were asked for are there.
func (b *bench) checkPlacements() error {
	var there []string
	for _, place := range []string{Same, Sibling, Socket} {
		if len(b.places[place]) > 0 {
			there = append(there, place)
		}
	}
	for _, p := range b.options.Placements {
		if !slices.Contains(there, p) {
			return &OptionError{"Placement", fmt.Sprintf("beside cpu %d there is none that counts as %q; there are %s", b.cpu, p, strings.Join(there, ", "))}
		}
	}
	return nil
}

// plan lists what is done in a round: the jobs, and the server at the harvest's loads.
func (b *bench) plan() (jobs []*measurement, harvests []harvest) {
	o := &b.options
	for _, kind := range o.jobs {
		jobs = append(jobs, &measurement{job: kind, load: o.Load})
		for _, place := range []string{Same, Sibling, Socket} {
			cpus := b.places[place]
			if len(cpus) == 0 || o.Placements != nil && !slices.Contains(o.Placements, place) {
				continue
			}
			jobs = append(jobs, &measurement{job: kind, placement: place, load: o.Load, beside: b.lode(cpus)})
			for _, c := range o.Beside {
				jobs = append(jobs, &measurement{
					job: kind, placement: place, load: o.Load,
					beside: &beside{c, job{Kind: commandKind, CPUs: cpus, Command: c}},
				})
			}
		}
	}
	for _, load := range harvestLoads {
		m := measurement{job: Server, placement: Same, load: load, beside: b.lode(b.places[Same])}
		if load == 0 {
			m.job = ""
		}
		loop := m
		loop.beside = &beside{"a loop", job{Kind: yardstickKind, CPUs: b.places[Same]}}
		harvests = append(harvests, harvest{load, &m, &loop})
	}
	return jobs, harvests
}

func (b *bench) lode(cpus []int) *beside {
	return &beside{Lode, job{Kind: Lode, CPUs: cpus, Yield: b.options.Yield, Kernel: b.options.Kernel}}
}

// job is what the measurement's process is told.
func (b *bench) job(m *measurement) job {
	j := job{Kind: m.job, CPUs: []int{b.cpu}, Time: b.options.Time, Load: m.load, Seed: m.seed}
	switch m.job {
	case Server:
		j.Turns = int(b.turns * float64(serviceTime/time.Microsecond))
	case Batch:
		j.Turns = int(b.turns * 1000)
	}
	return j
}

// run does a job in a process of its own, to its end.
func (b *bench) run(ctx context.Context, j job) (s sample, err error) {
	c, err := command(j)
	if err != nil {
		return s, err
	}
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.start(); err != nil {
		return s, err
	}
	stop := context.AfterFunc(ctx, c.end)
	<-c.done
	stop()
	if ctx.Err() != nil {
		c.end() // it may be doing so in the other goroutine
		return s, context.Cause(ctx)
	}
	if c.err != nil {
		return s, c.err
	}
	if err := json.Unmarshal(out.Bytes(), &s.outcome); err != nil {
		return s, fmt.Errorf("the process said %q: %w", out.String(), err)
	}
	s.job = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	return s, nil
}

// measure does one measurement.
func (b *bench) measure(ctx context.Context, m *measurement) (s sample, err error) {
	var p *partner
	if m.beside != nil {
		if p, err = startPartner(ctx, m.beside); err != nil {
			return s, err
		}
		defer p.end()
		if err := sleep.For(ctx, settleTime); err != nil {
			return s, err
		}
	}
	before, err := p.ask()
	if err != nil {
		return s, err
	}
	if err := p.runs(); err != nil {
		return s, err
	}
	began, busy := clock(), busyTime(b.cpu)
	if m.job == "" {
		err = sleep.For(ctx, b.options.Time)
	} else {
		s, err = b.run(ctx, b.job(m))
	}
	if err != nil {
		return s, err
	}
	after, err := p.ask()
	if err != nil {
		return s, err
	}
	if err := p.runs(); err != nil {
		return s, err
	}
	s.window = clock() - began
	s.done, s.spent = after.Done-before.Done, after.CPU-before.CPU
	s.others = -1
	if m.beside == nil || m.beside.job.answers() && m.placement == Same {
		s.others = max(0, busyTime(b.cpu)-busy-s.job-s.spent)
	}
	return s, nil
}

// partner is a process beside a job.
type partner struct {
	*child
	name    string
	answers bool
	in      io.WriteCloser
	out     *bufio.Reader
	stop    func() bool
}

func startPartner(ctx context.Context, b *beside) (*partner, error) {
	c, err := command(b.job)
	if err != nil {
		return nil, err
	}
	p := &partner{child: c, name: b.name, answers: b.job.answers()}
	if p.answers {
		if p.in, err = c.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := c.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.out = bufio.NewReader(out)
	}
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", b.name, err)
	}
	p.stop = context.AfterFunc(ctx, c.end)
	// A miner hashes when it has chosen its kernels.
	for p.answers {
		got, err := p.ask()
		if err != nil {
			p.end()
			return nil, err
		}
		if got.Done > 0 {
			break
		}
		if err := sleep.For(ctx, 10*time.Millisecond); err != nil {
			p.end()
			return nil, err
		}
	}
	return p, nil
}

// ask returns what a miner or the yardstick did so far; nothing of what cannot answer.
func (p *partner) ask() (o outcome, err error) {
	if p == nil || !p.answers {
		return o, nil
	}
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		return o, fmt.Errorf("it has ended: %w", err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return o, fmt.Errorf("it has ended: %w", err)
	}
	return o, json.Unmarshal(line, &o)
}

// runs says whether it still does. Beside what has ended a job is alone.
func (p *partner) runs() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		how := "exit status 0"
		if p.err != nil {
			how = p.err.Error()
		}
		return fmt.Errorf("%s has ended by itself (%s): a command to compare with has to run in the foreground until it is ended", shorten(p.name), how)
	default:
		return nil
	}
}

func (p *partner) end() {
	p.stop()
	p.child.end()
}

// child is a process of the benchmark, with all processes that it starts.
type child struct {
	*exec.Cmd
	mark string // in the environment of all of them
	done chan struct{}
	err  error // of Wait; valid after done
}

// parseBusy returns for how long a cpu was not idle, in USER_HZ, from /proc/stat; see
// proc_stat(5). Stolen time counts: somebody else had it.
func parseBusy(text string, cpu int) (ticks uint64, ok bool) {
	for line := range strings.Lines(text) {
		var name string
		var user, nice, system, idle, wait, irq, soft, steal uint64
		n, _ := fmt.Sscan(line, &name, &user, &nice, &system, &idle, &wait, &irq, &soft, &steal)
		if n == 9 && name == fmt.Sprintf("cpu%d", cpu) {
			return user + nice + system + irq + soft + steal, true
		}
	}
	return 0, false
}
