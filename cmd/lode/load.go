package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"lode/internal/terminal"
	"lode/load"
	"lode/stratum"
)

// loadCmd is `lode load`.
type loadCmd struct {
	Pool         string `help:"Pool to put load on: host:port, stratum+tcp://host:port or stratum+tls://host:port." required:"" placeholder:"URL"`
	PoolCA       string `name:"pool-ca" help:"PEM certificates to trust for stratum+tls; default: the system's." placeholder:"FILE"`
	User         string `help:"User, account.worker or address.worker, of all miners." required:"" placeholder:"NAME"`
	Password     string `help:"Password; other users of this machine can see it, see --password-file." default:"x" empty:"" placeholder:"TEXT"`
	PasswordFile string `help:"File whose first line is the password." placeholder:"FILE"`

	Connections int           `help:"Miners." default:"100" placeholder:"N"`
	Ramp        time.Duration `help:"Time over which they connect, evenly; 0: as fast as they can." default:"5s" placeholder:"DURATION"`
	Opening     int           `help:"How many may be connecting at once." default:"256" placeholder:"N"`
	Duration    time.Duration `help:"Time to measure, after the ramp." default:"30s" placeholder:"DURATION"`
	Shares      float64       `help:"Shares per second of all miners together; 0: none." default:"20" placeholder:"RATE"`
	Difficulty  float64       `help:"Share difficulty to ask the pool for; 0: none." default:"0.000001" placeholder:"D"`

	SlowReaders int      `help:"Further miners that do not read what they are sent." default:"0" placeholder:"N"`
	Garbage     int      `help:"Further connections that send what is no Stratum." default:"0" placeholder:"N"`
	Hostile     []string `help:"Attacks by name, or all: see below. Attackers of each kind are at work one after the other, each for --duration, with a --duration without any between; if miners feel them, the exit code is 1." placeholder:"NAME"`
	Attackers   int      `help:"Attackers of each kind." default:"10" placeholder:"N"`
	AttackRate  float64  `help:"What they do, times per second, all of a kind together; to connect is the first of it." default:"1000" placeholder:"RATE"`
	API         string   `name:"pool-api" help:"The pool's HTTP API, for attacks on it." placeholder:"HOST:PORT"`
	Control     string   `help:"Another pool on these machines that is not attacked, with as many miners: what a submit takes is judged by what it takes there at the same time, not before and after." placeholder:"URL"`
	MaxRatio    float64  `help:"How many times the p99 of a submit may be that without attackers, or at the control." default:"2" placeholder:"X"`

	Storm            string `help:"Reconnect storms: every INTERVAL, N miners lose their connection at once and come back, such as 500@10s." placeholder:"N@INTERVAL"`
	NoVersionRolling bool   `help:"Do not ask for version rolling (BIP 310)."`

	Watch     int    `help:"Process whose memory (as a curve) and processors are told, a pool on this machine." placeholder:"PID" default:"0"`
	JSON      bool   `name:"json" help:"Print one JSON object instead of a table."`
	Plot      string `help:"Draw the latencies into a file, .svg." placeholder:"FILE.svg"`
	MayAttack bool   `name:"i-may-load-this-pool" help:"Allow a pool on another machine: its owner has agreed to this load."`
}

// Help is shown by lode load --help.
func (loadCmd) Help() string {
	var list strings.Builder
	for _, a := range load.Attacks() {
		fmt.Fprintf(&list, "\n  %-13s %s", a.Name, a.Help)
	}
	return `Connects many miners to a Stratum v1 pool, has them submit real shares, and measures connecting, the way of new jobs to all miners, submitting, and shares refused without a reason. Exits with 1 if there were any of those, or no miner got work.

  lode load --pool stratum+tcp://127.0.0.1:3333 --user me --connections 1000 --shares 200
  lode load --pool stratum+tcp://127.0.0.1:3333 --user me --connections 10000 --ramp 30s --shares 2000 --storm 1000@20s --garbage 20 --slow-readers 20 --plot load.svg
  lode load --pool stratum+tcp://127.0.0.1:3333 --user me --connections 1000 --shares 250 --duration 10s --hostile all --attackers 500

Latencies of jobs need new blocks in that time: on a test network shares that are blocks make them (see lode proxy --min-block-interval). Shares are solved by this machine's CPUs, so the pool must give a low difficulty; if it does not, that is said, and none are sent. Load on a pool whose owner has not agreed is an attack: only pools on this machine are loaded, unless --i-may-load-this-pool.

Attacks (--hostile):
` + list.String()[1:]
}

// Run is called by execute.
func (cmd *loadCmd) Run(env *environment) error {
	options, err := cmd.options()
	if err != nil {
		return err
	}
	bar := newLoadProgress(env.stderr)
	options.Progress = bar.show
	options.Notice = bar.notice
	report, err := load.Run(env.ctx, options)
	bar.close()
	if report == nil {
		if bad := new(load.OptionError); errors.As(err, &bad) {
			return cmd.explain(bad)
		}
		return err
	}
	err = errors.Join(err, cmd.print(env.stdout, report))
	switch {
	case env.ctx.Err() != nil:
		return context.Canceled
	case err != nil:
		return err
	case report.Felt() || report.Shares.FalseRejects > 0 || report.Connections.AtEnd == 0:
		return exitStatus(1)
	}
	return nil
}

func (cmd *loadCmd) print(w io.Writer, report *load.Report) error {
	var err error
	if cmd.JSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteTable(w)
	}
	if cmd.Plot != "" {
		err = errors.Join(err, report.SavePlot(cmd.Plot))
	}
	return err
}

func (cmd *loadCmd) options() (load.Options, error) {
	o := load.Options{
		Pool: poolURL(cmd.Pool), AllowRemote: cmd.MayAttack, User: cmd.User, Password: cmd.Password,
		Connections: cmd.Connections, Ramp: cmd.Ramp, Opening: cmd.Opening, Duration: cmd.Duration,
		Shares: cmd.Shares, Difficulty: stratum.Difficulty(cmd.Difficulty), NoVersionRolling: cmd.NoVersionRolling,
		SlowReaders: cmd.SlowReaders, Garbage: cmd.Garbage,
		Hostile: cmd.Hostile, Attackers: cmd.Attackers, AttackRate: cmd.AttackRate, API: cmd.API, Control: poolURL(cmd.Control), MaxRatio: cmd.MaxRatio,
		Watch: cmd.Watch,
	}
	attacks := []string{"all"}
	for _, a := range load.Attacks() {
		attacks = append(attacks, a.Name)
	}
	for _, name := range cmd.Hostile {
		if !slices.Contains(attacks, name) {
			return o, usagef("--hostile: unknown attack %q%s: there are %s", name, didYouMean(name, attacks), strings.Join(attacks, ", "))
		}
	}
	for _, f := range []struct {
		name string
		n    int
	}{{"connections", cmd.Connections}, {"opening", cmd.Opening}} {
		if f.n < 1 {
			return o, usagef("--%s=%d: want 1 or more", f.name, f.n)
		}
	}
	if cmd.Duration <= 0 {
		return o, usagef("--duration=%v: want more than 0", cmd.Duration)
	}
	var err error
	if cmd.Storm != "" {
		if o.StormSize, o.StormInterval, err = parseStorm(cmd.Storm); err != nil {
			return o, err
		}
	}
	if o.Password, err = poolPassword(cmd.Password, cmd.PasswordFile); err != nil {
		return o, err
	}
	if o.CA, _, err = readCertificates("--pool-ca", cmd.PoolCA); err != nil {
		return o, err
	}
	if err := o.Check(); err != nil {
		bad := new(load.OptionError)
		if errors.As(err, &bad) {
			return o, cmd.explain(bad)
		}
		return o, err
	}
	return o, nil
}

// explain names the flag of an option.
func (cmd *loadCmd) explain(bad *load.OptionError) error {
	flag := map[string]string{
		"Pool": "--pool", "User": "--user", "Connections": "--connections", "Opening": "--opening", "Duration": "--duration", "Shares": "--shares",
		"Difficulty": "--difficulty", "Garbage": "--garbage, --slow-readers", "StormSize": "--storm", "StormInterval": "--storm",
		"CA": "--pool-ca", "AllowRemote": "--i-may-load-this-pool",
		"Hostile": "--hostile", "Attackers": "--attackers", "AttackRate": "--attack-rate", "Control": "--control", "MaxRatio": "--max-ratio", "Watch": "--watch",
	}[bad.Option]
	return usagef("%s: %w", flag, bad)
}

func parseStorm(text string) (int, time.Duration, error) {
	size, interval, ok := strings.Cut(text, "@")
	n, err := strconv.Atoi(size)
	every, durationErr := time.ParseDuration(interval)
	if !ok || err != nil || durationErr != nil || n < 1 {
		return 0, 0, usagef("--storm=%s: want N@INTERVAL, such as 500@10s", text)
	}
	return n, every, nil
}

// loadProgress shows how far a load is: a line that is drawn anew on a terminal, else a
// line now and then.
type loadProgress struct {
	w     io.Writer
	live  bool // w is a terminal
	drawn bool // its line is not empty
	phase load.Phase
	next  time.Time // of the next line
}

// lineInterval is the time between two lines of progress.
const lineInterval = 5 * time.Second

func newLoadProgress(w io.Writer) *loadProgress {
	return &loadProgress{w: w, live: terminal.Is(w)}
}

func (l *loadProgress) show(p load.Progress) {
	text := fmt.Sprintf("%-7s %4.0fs  %d of %d mining", p.Phase, p.Done.Seconds(), p.Mining, p.Wanted)
	if p.Phase != load.Ramping {
		text += fmt.Sprintf("  %d shares, %d accepted, %d false rejects  %d clean jobs", p.Submitted, p.Accepted, p.FalseRejects, p.Broadcasts)
	}
	if l.live {
		part := float64(p.Mining) / float64(p.Wanted)
		if p.Phase != load.Ramping {
			part = float64(p.Done) / max(float64(p.Of), 1)
		}
		text = fmt.Sprintf("%3.0f%%  %s", 100*min(part, 1), text)
		look := terminal.LookOf(l.w, os.Getenv) // it may have another size by now
		fmt.Fprintf(l.w, "\r%s\x1b[K", look.Line(text, terminal.Plain))
		l.drawn = true
		return
	}
	if now := time.Now(); p.Phase != l.phase || now.After(l.next) {
		l.phase, l.next = p.Phase, now.Add(lineInterval)
		fmt.Fprintln(l.w, text)
	}
}

// notice prints a sentence that cannot wait.
func (l *loadProgress) notice(text string) {
	l.close()
	fmt.Fprintln(l.w, "note:", text)
}

// close empties the line.
func (l *loadProgress) close() {
	if l.drawn {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.drawn = false
	}
}
