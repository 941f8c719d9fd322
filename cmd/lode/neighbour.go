package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"lode/miner"
	"lode/neighbour"
)

// neighbourCmd is `lode neighbour`.
type neighbourCmd struct {
	Rounds    int           `help:"How often everything is measured, in turn." default:"5"`
	Time      time.Duration `help:"Length of each measurement." default:"2s"`
	Load      float64       `help:"Load of the server, of one cpu." default:"0.5"`
	CPU       *int          `name:"cpu" help:"Cpu of the jobs; default: the last one that this process may use." placeholder:"N"`
	Placement []string      `help:"same, sibling or socket: the cpus of the miner; repeatable. Default: all that there are." enum:"same,sibling,socket" placeholder:"NAME"`
	Beside    []string      `help:"Shell command to compare with, such as another miner; repeatable." sep:"none" placeholder:"COMMAND"`
	Yield     string        `help:"How the miner yields, as lode mine --yield." enum:"none,nice,idle,sense" default:"sense"`
	Kernel    string        `help:"SHA-256d kernel; default: the fastest." placeholder:"NAME"`
	JSON      bool          `name:"json" help:"Print one JSON object instead of a table."`
	Plot      string        `help:"Draw the server's latencies into a file, .svg." placeholder:"FILE.svg"`
}

// Help is shown by lode neighbour --help.
func (neighbourCmd) Help() string {
	return `Measures what a miner's neighbours on this machine feel: a server with open-loop load (requests of 200 µs, at random), a job that computes and one that walks through memory, each alone, beside the miner of lode and beside the commands of --beside, on the same cpu, on the other cpu of the core, and on the rest of the socket; how fast the server had its cpu back; and how much of the idle time was harvested.

  lode neighbour
  lode neighbour --rounds 9 --beside 'cpuminer --benchmark' --json
  lode neighbour --beside 'nice -n 19 sh -c "while :; do :; done"'

It says when the machine is too noisy to tell: measure where nothing else runs.`
}

// Run is called by execute.
func (cmd *neighbourCmd) Run(env *environment) error {
	if cmd.Kernel != "" && !miner.KnownKernel(cmd.Kernel) {
		return unknownKernel(cmd.Kernel)
	}
	cpu := -1
	if cmd.CPU != nil {
		cpu = *cmd.CPU
	}
	begin := time.Now()
	report, err := neighbour.Run(env.ctx, neighbour.Options{
		Rounds: cmd.Rounds, Time: cmd.Time, Load: cmd.Load, CPU: cpu, Placements: cmd.Placement, Beside: cmd.Beside, Yield: cmd.Yield, Kernel: cmd.Kernel,
		Progress: func(step, steps int, what string) {
			fmt.Fprintf(env.stderr, "%4.0fs %d of %d: %s\n", time.Since(begin).Seconds(), step, steps, what)
		},
	})
	if env.ctx.Err() != nil {
		return context.Canceled
	}
	if bad := new(neighbour.OptionError); errors.As(err, &bad) {
		return usagef("--%s: %s", strings.ToLower(bad.Option), bad.Text)
	}
	if err != nil {
		return err
	}
	if cmd.JSON {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteTable(env.stdout)
	}
	if cmd.Plot != "" {
		err = errors.Join(err, report.SavePlot(cmd.Plot))
	}
	return err
}
