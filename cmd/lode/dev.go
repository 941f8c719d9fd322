package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lode/devcluster"
	"lode/miner"
	"lode/pool/node"
	"lode/scheduler"
	"lode/scheduler/api"
)

// devCmd is `lode dev`.
type devCmd struct {
	Agents           *int          `help:"Number of Mesos agents; default: 2, or one for each proxy." placeholder:"N"`
	CPUs             float64       `name:"cpus" help:"Cpus of each agent; they may be more than this machine has." default:"2"`
	Proxies          int           `help:"Number of pool-proxies." default:"1"`
	Blocks           int           `help:"End with exit code 0 when so many blocks are confirmed; 0: go on until Ctrl-C." default:"0"`
	JSON             bool          `name:"json" help:"Print one JSON object on standard output at the end, progress on standard error."`
	MinBlockInterval time.Duration `help:"Least time between two blocks, so that the chain's clock cannot run away." default:"2s"`
	StateDir         string        `help:"Folder that keeps chain and sandboxes; default: a temporary one." placeholder:"DIR"`
	Listen           string        `help:"Address of the scheduler's API; default: port 8650 or, if that is taken, any free one." placeholder:"HOST:PORT"`
	Kernel           string        `help:"SHA-256d kernel of the miners; default: the fastest." placeholder:"NAME"`
	Executor         string        `help:"Executor binary; default: lode-executor beside this program." placeholder:"PROGRAM"`
	Btcd             string        `help:"btcd binary; default: beside this program or in PATH." placeholder:"PROGRAM"`

	nodeFlags     `embed:""`
	PayoutAddress string `help:"Address for the rewards; needed with --node." placeholder:"ADDRESS"`
}

// Help is shown by lode dev --help.
func (devCmd) Help() string {
	return `Starts btcd on a private chain (simnet), an embedded Mesos with real executor processes, and the scheduler; then mines.
Everything ends, and nothing is left, with Ctrl-C.

  lode dev                     mine until Ctrl-C
  lode dev --blocks 3 --json   mine three blocks and print what happened`
}

// mostCPUs bounds an agent's: each is a thread of a miner.
const mostCPUs = miner.MostThreads

// agents is how many there are.
func (cmd *devCmd) agents() int {
	if cmd.Agents != nil {
		return *cmd.Agents
	}
	return max(devcluster.DefaultAgents, cmd.Proxies)
}

// Run is called by execute.
func (cmd *devCmd) Run(env *environment) error {
	switch {
	case cmd.Proxies < 1:
		return usagef("--proxies=%d: want at least one", cmd.Proxies)
	case cmd.Agents != nil && *cmd.Agents < 1:
		return usagef("--agents=%d: want at least one", *cmd.Agents)
	case cmd.Proxies > mostAgents:
		return usagef("--proxies=%d: want at most %d, each has an agent of its own", cmd.Proxies, mostAgents)
	case cmd.agents() > mostAgents:
		return usagef("--agents=%d: want at most %d, each is a host of 127.0.0.0/24", cmd.agents(), mostAgents)
	case cmd.CPUs > mostCPUs:
		return usagef("--cpus=%g: want at most %d", cmd.CPUs, mostCPUs)
	case cmd.CPUs > 0 && float64(cmd.agents())*cmd.CPUs <= float64(cmd.Proxies):
		return usagef("--cpus=%g: each proxy takes one cpu, so no miner would fit; want more cpus or --agents", cmd.CPUs)
	case cmd.CPUs <= 0:
		return usagef("--cpus=%g: want more than 0", cmd.CPUs)
	case cmd.Blocks < 0:
		return usagef("--blocks=%d: want 0 or more", cmd.Blocks)
	}
	if cmd.Btcd != "" { // exec takes a name without a slash for one in PATH
		absolute, err := filepath.Abs(cmd.Btcd)
		if err != nil {
			return fmt.Errorf("--btcd: %w", err)
		}
		cmd.Btcd = absolute
	}
	start := time.Now()
	progress := &devProgress{out: env.stdout, start: start, states: map[string]string{}}
	if cmd.JSON {
		progress.out = env.stderr
	}
	config := devcluster.Config{
		Agents: cmd.agents(), CPUs: cmd.CPUs, Proxies: cmd.Proxies,
		BlockInterval: cmd.MinBlockInterval,
		PayoutAddress: cmd.PayoutAddress,
		StateDir:      cmd.StateDir,
		Btcd:          cmd.Btcd, Executor: cmd.Executor,
		Listen:   cmd.Listen,
		Kernel:   cmd.Kernel,
		Launcher: "/proc/self/exe",
		OnEvent:  progress.event,
		Logger:   env.quiet,
	}
	if cmd.MinBlockInterval == 0 {
		config.BlockInterval = -1
	}
	upstream, err := cmd.nodeFlags.upstream()
	if err != nil {
		return err
	}
	w := work{payout: cmd.PayoutAddress, kernel: cmd.Kernel, minBlockInterval: cmd.MinBlockInterval}
	if upstream.URL != "" {
		config.Node = &upstream
		w.take([]scheduler.Upstream{upstream}, "--node")
	}
	if err := w.check(); err != nil {
		return err
	}
	if err := cmd.checkNetwork(env, config.Node); err != nil {
		return err
	}

	remove := func() error { return nil }
	if config.StateDir == "" {
		if config.StateDir, remove, err = env.folders.make("lode-dev-"); err != nil {
			return err
		}
	}
	cluster, err := devcluster.Start(env.ctx, config)
	if err != nil {
		err = errors.Join(err, remove())
		if env.ctx.Err() != nil {
			return context.Canceled // what did not come up was ended
		}
		return err
	}
	progress.line("dev", "running; Ctrl-C ends it, `lode status --scheduler %s` shows more", cluster.SchedulerURL)
	err = cluster.WaitBlocks(env.ctx, cmd.Blocks)
	status := cluster.Status()
	if env.ctx.Err() != nil {
		err = nil // the exit code says so
	}
	progress.line("dev", "ending")
	err = errors.Join(err, cluster.Close(), remove())
	if cmd.JSON {
		err = errors.Join(err, writeDevResult(env.stdout, status, time.Since(start)))
	}
	return err
}

// checkNetwork makes sure that the payout address is of the node's network, or else
// of the private chain that is begun.
func (cmd *devCmd) checkNetwork(env *environment, upstream *scheduler.Upstream) error {
	if upstream != nil {
		submitter, err := newBlockSubmitter([]scheduler.Upstream{*upstream}, env.quiet)
		if err != nil {
			return &usageError{err}
		}
		defer submitter.close()
		return checkNetwork(env.ctx, submitter.nodes, cmd.PayoutAddress)
	}
	if cmd.PayoutAddress == "" {
		return nil
	}
	for _, n := range node.Networks() {
		if n.Name == "simnet" {
			if _, err := n.PayoutScript(cmd.PayoutAddress); err != nil {
				return usagef("--payout-address: %w", err)
			}
		}
	}
	return nil
}

func writeDevResult(w io.Writer, status api.Status, elapsed time.Duration) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		api.Status
		ElapsedSeconds float64 `json:"elapsed_seconds"`
	}{status, elapsed.Seconds()})
}

// devProgress prints what happens, a line each.
type devProgress struct {
	out   io.Writer
	start time.Time

	mu       sync.Mutex // guards what follows, and the order of lines
	states   map[string]string
	reported time.Time
	totals   map[string]api.Task
}

// reportEvery is the pace of the lines that tell the hashrate.
const reportEvery = 5 * time.Second

func (p *devProgress) line(part, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(part, format, args...)
}

func (p *devProgress) print(part, format string, args ...any) {
	fmt.Fprintf(p.out, "%6.1fs  %-9s  %s\n", time.Since(p.start).Seconds(), part, fmt.Sprintf(format, args...))
}

func (p *devProgress) event(e devcluster.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Scheduler == nil {
		p.print(e.Part, "%s", e.Text)
		return
	}
	p.scheduler(e.Scheduler)
}

func (p *devProgress) scheduler(e *scheduler.Event) {
	switch e.Type {
	case scheduler.EventSubscribed:
		p.print("scheduler", "subscribed to %s as framework %s", e.Master, e.FrameworkID)
	case scheduler.EventLost:
		p.print("scheduler", "lost the master: %s", e.Message)
	case scheduler.EventOffer:
		p.print("offer", "%s: %s → %s", e.Decision.Hostname, e.Decision.Resources, strings.Join(e.Decision.Tasks, ", "))
	case scheduler.EventFetched:
		p.print("fetch", "the agent at %s fetched lode-executor", e.Agent)
	case scheduler.EventTask:
		p.task(e.Task)
	case scheduler.EventEnded:
		delete(p.totals, e.Ended.ID)
		p.print("task", "%s %s %s", e.Ended.ID, e.Ended.State, e.Ended.Message)
	case scheduler.EventReport:
		p.report(e.Task)
	case scheduler.EventProxies:
		p.print("proxy", "%s", e.Message)
	case scheduler.EventBlock:
		p.block(e.Block)
	case scheduler.EventNotice:
		p.print("notice", "%s", e.Message)
	}
}

func (p *devProgress) task(t *api.Task) {
	if p.states[t.ID] == t.State || t.State == "TASK_STAGING" { // the offer's line says it
		return
	}
	p.states[t.ID] = t.State
	p.print("task", "%s %s on %s", t.ID, t.State, t.Hostname)
}

func (p *devProgress) block(b *api.Block) {
	if p.states[b.Hash] == b.State {
		return
	}
	p.states[b.Hash] = b.State
	p.print("block", "%d %s %s, found by %s", b.Height, b.Hash, b.State, b.Finder)
}

func (p *devProgress) report(t *api.Task) {
	if p.totals == nil {
		p.totals = map[string]api.Task{}
	}
	p.totals[t.ID] = *t
	if time.Since(p.reported) < reportEvery || t.Kind != "miner" {
		return
	}
	p.reported = time.Now()
	var hashrate float64
	var miners, threads int
	var shares api.Shares
	for _, t := range p.totals {
		if t.Kind != "miner" {
			continue
		}
		miners++
		hashrate += t.Hashrate
		threads += t.Threads
		shares.Accepted += t.Shares.Accepted
		shares.Rejected += t.Shares.Rejected
		shares.Stale += t.Shares.Stale
	}
	p.print("hashrate", "%s from %s with %s (%s); shares: %d accepted, %d rejected, %d stale",
		formatHashrate(hashrate), counted(miners, "miner"), counted(threads, "thread"), t.Kernel, shares.Accepted, shares.Rejected, shares.Stale)
}

func formatHashrate(h float64) string {
	for _, unit := range []string{"H/s", "kH/s", "MH/s", "GH/s", "TH/s"} {
		if h < 1000 {
			return fmt.Sprintf("%.3g %s", h, unit)
		}
		h /= 1000
	}
	return fmt.Sprintf("%.4g PH/s", h)
}
