package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"lode/executor/mining"
	"lode/miner"
	"lode/stratum"
)

// mineCmd is `lode mine`.
type mineCmd struct {
	Pool             []string `help:"Pools to mine at, best first: host:port, stratum+tcp://host:port or stratum+tls://host:port. Repeatable." required:"" placeholder:"URL"`
	PoolCA           string   `name:"pool-ca" help:"PEM certificates to trust for stratum+tls; default: the system's." placeholder:"FILE"`
	User             string   `help:"User, account.worker or address.worker." required:"" placeholder:"NAME"`
	Password         string   `help:"Password; other users of this machine can see it, see --password-file." default:"x" empty:"" placeholder:"TEXT"`
	PasswordFile     string   `help:"File whose first line is the password." placeholder:"FILE"`
	Threads          int      `help:"Hashing threads; 0: one for each cpu that this process may use." default:"0"`
	Kernel           string   `help:"SHA-256d kernel, see lode bench; default: the fastest." placeholder:"NAME"`
	Pin              bool     `help:"Pin each thread to a cpu, one thread a core first, keeping off those of other processes of lode."`
	Yield            string   `help:"How threads give their cpus to others: none, nice, idle (SCHED_IDLE) or sense (SCHED_IDLE, and they sleep while others want the core)." enum:"none,nice,idle,sense" default:"sense"`
	SMT              string   `name:"smt" help:"use: a thread on every cpu; avoid: one on each core, whose other cpu is left alone." enum:"use,avoid" default:"use"`
	CoreSched        bool     `help:"Keep other programs off the other cpu of a core that a thread runs on, by core scheduling (Linux 5.14 and later); only for threads that give way to everybody."`
	Nice             *int     `help:"Niceness of the hashing threads, 0 to 19, instead of --yield." placeholder:"N"`
	Difficulty       float64  `help:"Share difficulty to suggest to the pool; 0: none." default:"0"`
	NoVersionRolling bool     `help:"Do not ask for version rolling (BIP 310)."`

	ReportInterval time.Duration `help:"Time between two lines of progress; 0: none." default:"10s"`
	Quiet          bool          `short:"q" help:"Print no line for each share and each new block, only those of progress."`
	JSON           bool          `name:"json" help:"Print lines of JSON."`
	HTTP           string        `name:"http" help:"Serve page, status and metrics here." placeholder:"HOST:PORT"`
}

// Help is shown by lode mine --help.
func (mineCmd) Help() string {
	return `Mines at any Stratum v1 pool, without Mesos, until Ctrl-C. With several pools, the first one that has work is used;
it is gone back to when it returns.

  lode mine --pool 127.0.0.1:3333 --user me.rig --threads 2
  lode mine --pool 127.0.0.1:3333 --user me.rig --quiet --http 127.0.0.1:8652

It prints a line for each share and each new block, and one of progress every ten seconds. With --json these are objects
whose "event" is start, block, share, progress or end. --http serves a page, /api/v1/status and /metrics, as a pool-proxy does.`
}

// Run is called by execute.
func (cmd *mineCmd) Run(env *environment) error {
	options, err := cmd.clientOptions(env)
	if err != nil {
		return err
	}
	switch {
	case cmd.Threads > miner.MostThreads:
		return usagef("--threads=%d: want at most %d; this process may use %s", cmd.Threads, miner.MostThreads, counted(miner.AvailableCPUs(), "cpu"))
	case cmd.Kernel != "" && !miner.KnownKernel(cmd.Kernel):
		return unknownKernel(cmd.Kernel)
	case cmd.Nice != nil && *cmd.Nice > 19:
		return usagef("--nice=%d: want 0 to 19", *cmd.Nice)
	case cmd.ReportInterval > 0 && cmd.ReportInterval < 10*time.Millisecond:
		return usagef("--report-interval=%v: want 0, or 10ms or more", cmd.ReportInterval)
	}
	o := miner.Options{Threads: cmd.Threads, Kernel: cmd.Kernel, Pin: cmd.Pin, OneACore: cmd.SMT == "avoid", CoreSched: cmd.CoreSched, Log: env.log}
	if err := o.YieldBy(cmd.Yield); err != nil {
		return &usageError{err}
	}
	if cmd.Nice != nil {
		o.Nice, o.Idle, o.Sense = *cmd.Nice, false, false
	}
	engine, err := miner.New(o)
	if err != nil {
		return usagef("--kernel: %w", err)
	}
	began := time.Now()
	speed := newSpeed(began)
	lines := &mineLines{out: env.stdout, json: cmd.JSON, quiet: cmd.Quiet, began: began}
	m := mining.New(mining.Config{
		Engine: engine, User: cmd.User, Log: env.quiet, OnShare: lines.share, OnJob: lines.job,
		Connect: func(pool string) mining.Connection {
			o := options
			o.URL = pool
			return mining.NewSession(o)
		},
	})
	m.SetPools(cmd.Pool)
	stats := engine.Stats()
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(env.ctx)
	defer group.Wait()
	defer cancel()
	if cmd.HTTP != "" {
		site := newMineSite(cmd, m, speed, began)
		listener, err := net.Listen("tcp", cmd.HTTP)
		if err != nil {
			return takenPort("--http", cmd.HTTP, err)
		}
		group.Go(func() {
			if err := site.serve(ctx, listener); err != nil {
				env.log.Error("the page is gone", "error", err)
			}
		})
		lines.start(&stats, "http://"+listener.Addr().String()+"/")
	} else {
		lines.start(&stats, "")
	}
	group.Go(func() { speed.measure(ctx, func() uint64 { return m.Status().Engine.Hashes }) })
	if cmd.ReportInterval > 0 {
		group.Go(func() { lines.report(ctx, m, speed, cmd.ReportInterval) })
	}
	err = m.Run(ctx)
	lines.end(m.Status())
	return err
}

func (cmd *mineCmd) clientOptions(env *environment) (stratum.ClientOptions, error) {
	o := stratum.ClientOptions{
		User: cmd.User, Password: cmd.Password, UserAgent: "lode",
		NoVersionRolling: cmd.NoVersionRolling, SubscribeExtranonce: true,
		SuggestDifficulty: stratum.Difficulty(cmd.Difficulty), FirstJobTimeout: time.Minute, Logger: env.log,
	}
	for i, pool := range cmd.Pool {
		pool = poolURL(pool)
		cmd.Pool[i] = pool
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
	if o.Password, err = poolPassword(cmd.Password, cmd.PasswordFile); err != nil {
		return o, err
	}
	o.CA, _, err = readCertificates("--pool-ca", cmd.PoolCA)
	return o, err
}

// defaultPassword is what pools are given that ask for none.
const defaultPassword = "x"

// poolPassword is that of the flags --password and --password-file.
func poolPassword(password, file string) (string, error) {
	switch {
	case file == "":
		return password, nil
	case password != defaultPassword:
		return "", usagef("--password-file stands for --password: give one of them")
	}
	password, err := readSecret(file)
	if err != nil {
		return "", usagef("--password-file: %w", err)
	}
	return password, nil
}

// poolURL lets an address without a scheme be that of a pool without TLS.
func poolURL(address string) string {
	if address == "" || strings.Contains(address, "://") {
		return address
	}
	return "stratum+tcp://" + address
}
