package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"lode/executor/mining"
	"lode/miner"
	"lode/scheduler/api"
	"lode/stratum"
)

// mineCmd is `lode mine`.
type mineCmd struct {
	Pool             []string `help:"Pools to mine at, best first: stratum+tcp://host:port or stratum+tls://host:port. Repeatable." required:"" placeholder:"URL"`
	PoolCA           string   `name:"pool-ca" help:"PEM certificates to trust for stratum+tls; default: the system's." placeholder:"FILE"`
	User             string   `help:"User, account.worker or address.worker." required:"" placeholder:"NAME"`
	Password         string   `help:"Password; other users of this machine can see it, see --password-file." default:"x" placeholder:"TEXT"`
	PasswordFile     string   `help:"File whose first line is the password." placeholder:"FILE"`
	Threads          int      `help:"Hashing threads; 0: one for each cpu that this process may use." default:"0"`
	Kernel           string   `help:"SHA-256d kernel, see lode bench; default: the fastest." placeholder:"NAME"`
	Pin              bool     `help:"Pin each thread to a cpu, one thread a core first, keeping off those of other processes of lode."`
	Yield            string   `help:"How threads give their cpus to others: none, nice, idle (SCHED_IDLE) or sense (SCHED_IDLE, and they sleep while others want the core)." enum:"none,nice,idle,sense" default:"sense"`
	SMT              string   `name:"smt" help:"use: a thread on every cpu; avoid: one on each core, whose other cpu is left alone." enum:"use,avoid" default:"use"`
	Nice             *int     `help:"Niceness of the hashing threads, 0 to 19, instead of --yield." placeholder:"N"`
	Difficulty       float64  `help:"Share difficulty to suggest to the pool; 0: none." default:"0"`
	NoVersionRolling bool     `help:"Do not ask for version rolling (BIP 310)."`

	ReportInterval time.Duration `help:"Time between two lines of progress; 0: none." default:"10s"`
}

// Help is shown by lode mine --help.
func (mineCmd) Help() string {
	return `Mines at any Stratum v1 pool, without Mesos, until Ctrl-C. With several pools, the first one that has work is used;
it is gone back to when it returns.

  lode mine --pool stratum+tcp://127.0.0.1:3333 --user me.rig --threads 2`
}

// Run is called by kong.
func (cmd *mineCmd) Run(env *environment) error {
	options, err := cmd.clientOptions(env)
	if err != nil {
		return err
	}
	switch {
	case cmd.Nice != nil && *cmd.Nice > 19:
		return usagef("--nice=%d: want 0 to 19", *cmd.Nice)
	case cmd.ReportInterval > 0 && cmd.ReportInterval < 10*time.Millisecond:
		return usagef("--report-interval=%v: want 0, or 10ms or more", cmd.ReportInterval)
	}
	o := miner.Options{Threads: cmd.Threads, Kernel: cmd.Kernel, Pin: cmd.Pin, OneACore: cmd.SMT == "avoid", Log: env.log}
	if err := o.YieldBy(cmd.Yield); err != nil {
		return &usageError{err}
	}
	if cmd.Nice != nil {
		o.Nice, o.Idle, o.Sense = *cmd.Nice, false, false
	}
	engine, err := miner.New(o)
	if err != nil {
		return &usageError{err}
	}
	m := mining.New(mining.Config{
		Engine: engine, User: cmd.User, Log: env.log,
		Connect: func(pool string) mining.Connection {
			o := options
			o.URL = pool
			return mining.NewSession(o)
		},
	})
	m.SetPools(cmd.Pool)
	stats := engine.Stats()
	fmt.Fprintf(env.stdout, "mining with %d threads of kernel %s\n", stats.Threads, stats.Kernel)

	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(env.ctx)
	if cmd.ReportInterval > 0 {
		group.Go(func() { reportMining(ctx, env.stdout, m, cmd.ReportInterval) })
	}
	err = m.Run(ctx)
	cancel()
	group.Wait()
	last := m.Status()
	writeMining(env.stdout, &last, 0, "ended")
	return err
}

func (cmd *mineCmd) clientOptions(env *environment) (stratum.ClientOptions, error) {
	o := stratum.ClientOptions{
		User: cmd.User, Password: cmd.Password, UserAgent: "lode",
		NoVersionRolling: cmd.NoVersionRolling, SubscribeExtranonce: true,
		SuggestDifficulty: stratum.Difficulty(cmd.Difficulty), FirstJobTimeout: time.Minute, Logger: env.log,
	}
	for _, pool := range cmd.Pool {
		if _, _, err := stratum.ParseURL(pool); err != nil {
			return o, usagef("--pool: %w", err)
		}
		if hasUser(pool) {
			return o, usagef("--pool: give user and password by --user and --password-file, not in the address")
		}
	}
	if cmd.Difficulty != 0 && !o.SuggestDifficulty.Valid() {
		return o, usagef("--difficulty=%v: want a number above 0", cmd.Difficulty)
	}
	var err error
	if cmd.PasswordFile != "" {
		if o.Password, err = readSecret(cmd.PasswordFile); err != nil {
			return o, usagef("--password-file: %w", err)
		}
	}
	if cmd.PoolCA != "" {
		if o.CA, err = os.ReadFile(cmd.PoolCA); err != nil {
			return o, usagef("--pool-ca: %w", err)
		}
	}
	return o, nil
}

// reportMining prints a line of progress at every interval.
func reportMining(ctx context.Context, w io.Writer, m *mining.Miner, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	before, since := m.Status().Engine.Hashes, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		status, now := m.Status(), time.Now()
		state := status.Pool
		switch {
		case status.Pool == "" && status.LastErr != "":
			state = "no work: " + status.LastErr
		case status.Pool == "":
			state = "no work yet"
		}
		writeMining(w, &status, float64(status.Engine.Hashes-before)/now.Sub(since).Seconds(), state)
		before, since = status.Engine.Hashes, now
	}
}

// writeMining prints one line; rate is in H/s, 0: leave it out.
func writeMining(w io.Writer, s *mining.Status, rate float64, state string) {
	speed := ""
	if rate > 0 {
		speed = api.Hashrate(rate) + "  "
	}
	fmt.Fprintf(w, "%s  %saccepted %d (difficulty %.4g)  rejected %d  stale %d  %s\n",
		time.Now().Format(time.TimeOnly), speed, s.Accepted, s.Accounted, s.Rejected, s.Stale, state)
}
