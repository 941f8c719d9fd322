package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"lode/pool"
	"lode/scheduler"
	"lode/scheduler/constraint"
	"lode/scheduler/rule"
	"lode/zookeeper"
)

// Exit codes of `lode scheduler` beside those of every command.
const (
	exitRemoved    = exitStatus(3) // the framework was removed: needs --new-framework
	exitFailedOver = exitStatus(4) // another scheduler took over
)

// schedulerCmd is `lode scheduler`.
type schedulerCmd struct {
	masterFlags `embed:""`

	nodeFlags     `embed:""`
	Upstream      []string `help:"Where the proxy gets work, best first: node:URL, stratum+tcp://host:port or stratum+tls://host:port. Repeatable; follows --node." placeholder:"URL"`
	PoolUser      string   `help:"User at Stratum upstreams." placeholder:"NAME"`
	PoolPassword  string   `name:"pool-password-file" help:"File with the password at Stratum upstreams." placeholder:"FILE"`
	PayoutAddress string   `help:"Address that gets the reward of blocks." placeholder:"ADDRESS"`
	CoinbaseTag   string   `help:"Text for the coinbase, at most 40 bytes." placeholder:"TEXT"`

	ProxyLimit map[string]string `help:"What the proxy puts up with: NAME=VALUE for --limit-NAME of lode proxy, such as connections-per-address=5000, and api-NAME=VALUE for its --api-NAME. Repeatable." placeholder:"NAME=VALUE" mapsep:"none"`

	State             string `help:"Where everything is that must survive: a folder, or zk://[user:password@]host:port,host:port/path (or file:// of a file with that), where several schedulers elect who of them leads." placeholder:"DIR|zk://…"`
	StateDir          string `help:"Folder for everything that must survive; with --state=zk://…, for executors and curves only." placeholder:"DIR"`
	Standby           bool   `help:"While another scheduler uses the state folder: wait, send clients to it, and take over when it is gone. With --state=zk://… that is always so."`
	Listen            string `help:"Address of API and artifact server; default: port 8650, on all addresses if the masters are elsewhere." placeholder:"HOST:PORT"`
	ArtifactAdvertise string `help:"Address under which agents reach --listen; default: the one that this machine uses towards the masters." placeholder:"HOST:PORT"`
	TokenFile         string `help:"File with the tokens of those who may use the API from elsewhere: a role (read or operate), a name and a token on each line; default: others may read." placeholder:"FILE"`
	TLSCert           string `name:"tls-cert" help:"PEM certificate chain for https at --listen; read again when it changes." placeholder:"FILE"`
	TLSKey            string `name:"tls-key" help:"PEM key of the certificate." placeholder:"FILE"`
	ClientCA          string `name:"client-ca" help:"PEM certificates that those of clients from elsewhere must be of." placeholder:"FILE"`
	Executor          string `help:"Executor binary; default: lode-executor beside this program." placeholder:"PROGRAM"`

	ExecutorURL string `name:"executor-url" help:"Where agents fetch a copy of that binary, or a .tar.gz of it, instead of from us: http, https, hdfs, or whatever their fetcher knows. {digest} stands for its SHA-256; agents cache only a URL that has it." placeholder:"URL"`

	ReadSandboxes string `help:"Where an executor failed, read the end of what it wrote, once a cause: open: from agents that let everybody read; principal: as --principal, sending its secret to agents; never." enum:"open,principal,never" default:"open"`

	Name            string        `help:"Name of the framework." default:"lode"`
	User            string        `help:"User who runs the executors on the agents; default: the current one." placeholder:"NAME"`
	Role            []string      `help:"Role to take offers for. Repeatable." default:"*" placeholder:"ROLE"`
	FailoverTimeout time.Duration `help:"For how long Mesos keeps the tasks when this scheduler is away." default:"168h"`
	NewFramework    bool          `help:"Forget the stored framework and its tasks and begin anew."`
	Upgrade         bool          `help:"Replace tasks that run another executor binary, a few at a time."`
	Teardown        bool          `name:"teardown-on-exit" help:"End the framework and all of its tasks at SIGINT or SIGTERM."`

	Proxies          int               `help:"How many pool-proxies there are, on agents of their own where that can be. Each serves a part of the miners, and those of another that is lost." default:"1"`
	ProxyCPUs        float64           `name:"proxy-cpus" help:"Cpus of each proxy; default: 1 for each 20,000 miners that it may have to serve." placeholder:"N"`
	ProxyMem         int               `help:"Memory of each proxy in MB; default: 256 for each 20,000 miners that it may have to serve." placeholder:"MB"`
	MinerMem         int               `help:"Memory of each miner in MB." default:"128"`
	ProxyGrace       time.Duration     `help:"For how long miners may idle without a proxy before they are killed; 0: they are killed at once." default:"30s"`
	HoldBackCPUs     float64           `name:"hold-back-cpus" help:"Cpus to leave unused on every agent." default:"0"`
	MaxMiners        int               `help:"Most miner tasks; 0: no limit." default:"0"`
	Constraint       []string          `help:"Where miners may be: FIELD:OPERATOR:VALUE, with hostname, @region, @zone or an attribute of agents, and IS, LIKE, UNLIKE, UNIQUE, CLUSTER, GROUP_BY or MAX_PER, such as rack:MAX_PER:2. Repeatable, or with ; between them." sep:"none" placeholder:"CONSTRAINT"`
	ProxyConstraint  []string          `help:"The same for proxies." sep:"none" placeholder:"CONSTRAINT"`
	GPUAgents        bool              `name:"gpu-agents" help:"Take cpus of agents with GPUs too; the GPUs are left alone."`
	RegionAware      bool              `help:"Take agents of other regions than the master's too."`
	Revocable        bool              `help:"Take revocable resources too."`
	Mode             string            `help:"steady: miners keep the ordinary cpus that they got; idle: they end while others keep their agent busy, or while another role lacks cpus that its quota guarantees, so that Mesos can offer their cpus, and come back later." enum:"steady,idle" default:"steady"`
	OnlyRevocable    bool              `help:"Take nothing but revocable resources for miners."`
	Kernel           string            `help:"SHA-256d kernel of the miners; default: the fastest." placeholder:"NAME"`
	PauseWhen        string            `help:"Rule: while it holds miners pause, connected and without ending. Comparisons (< <= > >= == !=) of signals, numbers and the time (17:00), joined by and, or, not and parentheses." placeholder:"RULE"`
	Signal           map[string]string `help:"Where a signal of the rule is read twice a second: a file or an http(s) URL with a number. Repeatable; others (share of the cpus that others use) and watts are known without." mapsep:"none" placeholder:"NAME=SOURCE"`
	Yield            string            `help:"How miners give cpus to others: none, nice, idle or sense; default: sense." enum:",none,nice,idle,sense" default:""`
	SMT              string            `name:"smt" help:"use: miners have a thread for every cpu; avoid: one for each core." enum:"use,avoid" default:"use"`
	CoreSched        bool              `help:"Let miners keep other programs off the other cpu of a core that they hash on, by core scheduling (Linux 5.14 and later); only those that give way to everybody do."`
	ReportInterval   time.Duration     `help:"Mean time between reports of a task." default:"3s"`
	MinBlockInterval time.Duration     `help:"Least time between two blocks; only for test networks." default:"0s"`

	Serve schedulerServeCmd `cmd:"" default:"withargs" help:"Take offers and keep tasks running (the default)."`
	Check schedulerCheckCmd `cmd:"" help:"Look whether masters, executor, address, state folder and upstreams are right, and say what is wrong."`
}

// Help is shown by lode scheduler --help.
func (schedulerCmd) Help() string {
	return `Takes offers of a Mesos cluster, launches the pool-proxy and a miner on every agent, and keeps them running.

  lode scheduler --master http://10.0.0.1:5050 --state-dir /var/lib/lode \
    --node http://10.0.0.9:8332 --node-user lode --node-password-file /etc/lode/rpc --payout-address bc1q…

Exit codes: 1 failed, 2 wrong flags, 3 the framework was removed (see --new-framework), 4 another scheduler took over.`
}

// config makes the configuration of the flags.
func (cmd *schedulerCmd) config(env *environment) (scheduler.Config, error) {
	config := scheduler.Config{
		Masters: cmd.Master, Principal: cmd.Principal, ReadSandboxes: scheduler.ReadSandboxes(cmd.ReadSandboxes),
		Name: cmd.Name, User: cmd.User, Roles: cmd.Role, FailoverTimeout: cmd.FailoverTimeout,
		NewFramework: cmd.NewFramework, Upgrade: cmd.Upgrade, Teardown: cmd.Teardown,
		PayoutAddress: cmd.PayoutAddress, CoinbaseTag: cmd.CoinbaseTag, MinBlockInterval: cmd.MinBlockInterval,
		Listen: cmd.Listen, ArtifactAdvertise: cmd.ArtifactAdvertise, Executor: cmd.Executor, ExecutorURL: cmd.ExecutorURL,
		ProxyGrace: cmd.ProxyGrace, HoldBackCPUs: cmd.HoldBackCPUs, MaxMiners: cmd.MaxMiners,
		GPUAgents: cmd.GPUAgents, RegionAware: cmd.RegionAware,
		Revocable: cmd.Revocable || cmd.OnlyRevocable, OnlyRevocable: cmd.OnlyRevocable, IdleMode: cmd.Mode == "idle",
		Kernel: cmd.Kernel, Yield: cmd.Yield, OneACore: cmd.SMT == "avoid", CoreSched: cmd.CoreSched, ReportInterval: cmd.ReportInterval,
		Proxies: cmd.Proxies, ProxyCPUs: cmd.ProxyCPUs, ProxyMem: cmd.ProxyMem, MinerMem: cmd.MinerMem,
		Logger: env.log,
	}
	var err error
	if config.StateDir, config.ZooKeeper, err = cmd.place(); err != nil {
		return config, err
	}
	if err := cmd.masterFlags.check(); err != nil {
		return config, err
	}
	if _, _, err := pool.ParseLimits(cmd.ProxyLimit); err != nil {
		return config, usagef("--proxy-limit: %w", err)
	}
	config.ProxyLimits = cmd.ProxyLimit
	if cmd.PauseWhen != "" {
		r, err := rule.Parse(cmd.PauseWhen)
		if err != nil {
			return config, usagef("--pause-when: %w", err)
		}
		config.PauseWhen = r
	}
	if err := scheduler.CheckSignals(config.PauseWhen, cmd.Signal); err != nil {
		return config, usagef("--signal: %w", err)
	}
	config.Signals = cmd.Signal
	if config.Constraints, err = constraint.ParseAll(cmd.Constraint); err != nil {
		return config, usagef("--constraint %w", err)
	}
	if config.ProxyConstraints, err = constraint.ParseAll(cmd.ProxyConstraint); err != nil {
		return config, usagef("--proxy-constraint %w", err)
	}
	if config.Secret, config.MasterCAs, err = cmd.masterFlags.read(); err != nil {
		return config, err
	}
	if err := cmd.secure(&config, env.log); err != nil {
		return config, err
	}
	if config.Upstreams, err = cmd.upstreams(); err != nil {
		return config, err
	}
	return config, cmd.check(config.Upstreams)
}

// schedulerServeCmd runs the scheduler.
type schedulerServeCmd struct{}

// Run is called by execute.
func (schedulerServeCmd) Run(env *environment, cmd *schedulerCmd) error {
	end := env.serve()
	defer end()
	config, err := cmd.config(env)
	if err != nil {
		return err
	}
	submitter, err := newBlockSubmitter(config.Upstreams, env.log)
	if err != nil {
		return &usageError{err}
	}
	if submitter != nil {
		defer submitter.close()
		config.Blocks = submitter
		if err := checkNetwork(env.ctx, submitter.nodes, cmd.PayoutAddress); err != nil {
			return err
		}
	}
	err = runScheduler(env, config, cmd.Standby)
	end()
	var mistake *scheduler.ConfigError
	switch {
	case errors.As(err, &mistake):
		return &usageError{err}
	case errors.Is(err, scheduler.ErrFrameworkRemoved):
		fmt.Fprintln(env.stderr, "lode:", err)
		return exitRemoved
	case errors.Is(err, scheduler.ErrFailedOver):
		fmt.Fprintln(env.stderr, "lode:", err)
		return exitFailedOver
	case err == nil || env.ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(env.ctx))):
		env.log.Info("ended")
		return env.ctx.Err()
	}
	return err
}

// place is where the state is: a folder, or a URL of ZooKeeper and perhaps a folder for
// the rest.
func (cmd *schedulerCmd) place() (folder, zk string, err error) {
	state := cmd.State
	if name, isFile := strings.CutPrefix(state, "file://"); isFile {
		// Who lists processes sees flags, and ZooKeeper's password is not for everybody.
		if state, err = readSecret(name); err != nil {
			return "", "", usagef("--state: %w", err)
		}
		if !strings.HasPrefix(state, zookeeper.Scheme) {
			return "", "", usagef("--state: %s holds no URL zk://…", name)
		}
	}
	isZooKeeper := strings.HasPrefix(state, zookeeper.Scheme)
	switch {
	case isZooKeeper:
		if _, err := zookeeper.Parse(state); err != nil {
			return "", "", usagef("--state: %w", err)
		}
		_ = os.Unsetenv(variable("state")) // it may hold the password
		return cmd.StateDir, state, nil
	case strings.Contains(state, "://"):
		return "", "", usagef("--state: want a folder or zk://[user:password@]host:port,host:port/path")
	case state != "" && cmd.StateDir != "" && state != cmd.StateDir:
		return "", "", usagef("--state and --state-dir name two folders: one is enough")
	case state == "" && cmd.StateDir == "":
		return "", "", usagef("where is the state to be kept? A folder, --state-dir=DIR, or --state=zk://…")
	}
	return cmp.Or(state, cmd.StateDir), "", nil
}

// runScheduler runs a scheduler, or one of several.
func runScheduler(env *environment, config scheduler.Config, standby bool) error {
	if config.ZooKeeper != "" {
		return scheduler.Lead(env.ctx, config)
	}
	s, err := newScheduler(env, config, standby)
	if err != nil {
		return err
	}
	return s.Run(env.ctx)
}

// newScheduler makes a scheduler; one that stands by waits until it may.
func newScheduler(env *environment, config scheduler.Config, standby bool) (*scheduler.Scheduler, error) {
	for {
		s, err := scheduler.New(config)
		if !standby || !errors.Is(err, scheduler.ErrLocked) {
			return s, err
		}
		if err := scheduler.Standby(env.ctx, config); err != nil {
			return nil, err
		}
	}
}

// check refuses what cannot work.
func (cmd *schedulerCmd) check(upstreams []scheduler.Upstream) error {
	w := work{
		payout: cmd.PayoutAddress, tag: cmd.CoinbaseTag, kernel: cmd.Kernel,
		minBlockInterval: cmd.MinBlockInterval, userFlag: "--pool-user",
	}
	w.take(upstreams, "--upstream")
	switch err := errors.Join(w.check(), checkRoles(cmd.Role)); {
	case err != nil:
		return err
	case cmd.Name == "":
		return usagef("--name is empty: the framework needs a name")
	case cmd.User != "" && !userName.MatchString(cmd.User):
		return usagef("--user=%s: no user of a Unix is called so", cmd.User)
	case cmd.ExecutorURL != "" && !fetchable(cmd.ExecutorURL):
		return usagef("--executor-url=%s: want a URL such as http://host/lode-executor", cmd.ExecutorURL)
	case cmd.Proxies < 1:
		return usagef("--proxies=%d: without a proxy there is no work: want at least 1", cmd.Proxies)
	case cmd.MinerMem < 64:
		return usagef("--miner-mem=%d: want at least 64 MB", cmd.MinerMem)
	case cmd.FailoverTimeout <= 0:
		return usagef("--failover-timeout=%v: Mesos would end all tasks at the first hiccup of the connection; want the longest time that this scheduler may be away, such as 168h", cmd.FailoverTimeout)
	case cmd.ReportInterval > time.Hour:
		return usagef("--report-interval=%v: want at most 1h", cmd.ReportInterval)
	case cmd.ArtifactAdvertise != "" && strings.HasPrefix(cmd.ArtifactAdvertise, ":"):
		return usagef("--artifact-advertise=%s: agents need a host", cmd.ArtifactAdvertise)
	}
	return nil
}

// userName is what agents can look up.
var userName = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?$`)

// fetchable says that a URL leads somewhere: to a host, or, of a Hadoop, to a path.
func fetchable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme != "" && portIsRight(u) && (u.Host != "" || u.Path != "" && u.Scheme != "http" && u.Scheme != "https")
}

// take adds the scheduler's upstreams; flag names where they come from, if it was not
// --node.
func (w *work) take(upstreams []scheduler.Upstream, flag string) {
	for i, u := range upstreams {
		from := flag
		if i == 0 && strings.HasPrefix(u.URL, "node:") {
			from = "--node"
		}
		w.sources = append(w.sources, source{url: u.URL, user: u.User, password: u.Password, flag: from})
	}
}

// upstreams returns --node and --upstream with their credentials.
func (cmd *schedulerCmd) upstreams() ([]scheduler.Upstream, error) {
	first, err := cmd.nodeFlags.upstream()
	if err != nil {
		return nil, err
	}
	var list []scheduler.Upstream
	if first.URL != "" {
		list = append(list, first)
	}
	poolPassword := ""
	if cmd.PoolPassword != "" {
		if poolPassword, err = readSecret(cmd.PoolPassword); err != nil {
			return nil, usagef("--pool-password-file: %w", err)
		}
	}
	for _, u := range cmd.Upstream {
		if strings.HasPrefix(u, "node:") {
			list = append(list, scheduler.Upstream{URL: u, User: first.User, Password: first.Password, CA: first.CA})
		} else {
			list = append(list, scheduler.Upstream{URL: u, User: cmd.PoolUser, Password: poolPassword})
		}
	}
	return list, nil
}
