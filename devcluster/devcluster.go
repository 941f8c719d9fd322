// Package devcluster runs all of Lode on one machine: a real btcd on a private
// chain, the embedded Mesos with real executor processes, and the scheduler. It is
// what `lode dev` shows.
//
//	cluster, err := devcluster.Start(ctx, devcluster.Config{Agents: 2})
//	defer cluster.Close()
//	err = cluster.WaitBlocks(ctx, 3)
package devcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"lode/devmesos"
	"lode/devnode"
	"lode/scheduler"
	"lode/scheduler/api"
)

// Defaults of Config.
const (
	DefaultAgents        = 2
	DefaultCPUs          = 2
	DefaultBlockInterval = 2 * time.Second
)

// Config describes a development cluster. Zero values are the defaults that the
// fields name.
type Config struct {
	Agents int     // number of Mesos agents; 0: DefaultAgents, or one for each proxy
	CPUs   float64 // of each agent; 0: DefaultCPUs. Agents may offer more than the machine has
	// Proxies is how many pool-proxies there are; 0: one.
	Proxies int
	// Node is a Bitcoin node that is already there; nil: a btcd is started.
	Node *scheduler.Upstream
	// PayoutAddress gets the rewards; "": an address of the private chain.
	PayoutAddress string
	// BlockInterval is the least time between two blocks, so that the clock of
	// the private chain cannot run away; 0: DefaultBlockInterval, negative: none.
	BlockInterval time.Duration
	// StateDir keeps chain, scheduler state and sandboxes; "": a temporary folder
	// that Close removes.
	StateDir string
	// Btcd and Executor are binaries; "": beside the running program.
	Btcd, Executor string
	// Launcher is the program that is the parent of executors, as devmesos.Config
	// has it; "": none.
	Launcher string
	// Listen is host:port of the scheduler's HTTP server; "": the scheduler's
	// default or, where that is taken, any free port.
	Listen string
	// MesosListen is host:port of the master; "": any free port.
	MesosListen string
	// Kernel that miners use; "": they choose.
	Kernel string
	// ReportInterval is the mean time between reports of a task; 0: 1 s.
	ReportInterval time.Duration
	// OnEvent is called with each event, one at a time.
	OnEvent func(Event)
	Logger  *slog.Logger
}

// Event is progress to show: what the parts of the cluster do, in words.
type Event struct {
	Time time.Time
	// Part is node, mesos or scheduler.
	Part string
	Text string
	// Scheduler is set for events of the scheduler; Text is empty then.
	Scheduler *scheduler.Event
}

// Cluster is a running development cluster.
type Cluster struct {
	// Node is the btcd that was started; nil with Config.Node.
	Node  *devnode.Node
	Mesos *devmesos.Cluster
	// SchedulerURL is the scheduler's HTTP address.
	SchedulerURL string

	config    Config
	dir       string
	lock      *os.File // of dir
	removes   bool
	scheduler *scheduler.Scheduler
	cancel    context.CancelFunc
	done      chan struct{} // closed when the scheduler has ended
	err       error         // of the scheduler; valid after done

	mu       sync.Mutex // guards the rest
	changed  chan struct{}
	hopeless string // why it will never mine; "": it may
}

// Start runs a cluster; it returns when the scheduler runs, not when it mines.
func Start(ctx context.Context, config Config) (_ *Cluster, err error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	c := &Cluster{config: config, changed: make(chan struct{}), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.openStateDir(); err != nil {
		return nil, err
	}
	upstream := config.Node
	if upstream == nil {
		if upstream, err = c.startNode(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.startMesos(ctx); err != nil {
		return nil, err
	}
	return c, c.startScheduler(ctx, *upstream)
}

func (config *Config) complete() error {
	if config.Proxies == 0 {
		config.Proxies = 1
	}
	if config.Agents == 0 {
		config.Agents = max(DefaultAgents, config.Proxies)
	}
	if config.CPUs == 0 {
		config.CPUs = DefaultCPUs
	}
	if config.Agents < 1 || config.CPUs < 0.1 {
		return fmt.Errorf("development cluster: %d agents with %g cpus: want at least one agent with 0.1 cpus", config.Agents, config.CPUs)
	}
	if room := float64(config.Agents) * config.CPUs; room <= float64(config.Proxies) {
		return fmt.Errorf("development cluster: %d agents with %g cpus: each of %d proxies takes one cpu, so no miner would fit; want more cpus or agents",
			config.Agents, config.CPUs, config.Proxies)
	}
	if config.BlockInterval == 0 {
		config.BlockInterval = DefaultBlockInterval
	}
	if config.PayoutAddress == "" && config.Node == nil {
		config.PayoutAddress = devnode.DefaultMiningAddress
	}
	if config.PayoutAddress == "" {
		return errors.New("development cluster: a node that is already there needs a payout address of its network")
	}
	if config.ReportInterval == 0 {
		config.ReportInterval = time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (c *Cluster) openStateDir() (err error) {
	c.dir = c.config.StateDir
	if c.dir == "" {
		c.removes = true
		c.dir, err = os.MkdirTemp("", "lode-dev-")
	} else {
		err = os.MkdirAll(c.dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("development cluster: state folder: %w", err)
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	c.lock, err = LockFolder(c.dir, "--state-dir")
	return err
}

func (c *Cluster) startNode(ctx context.Context) (*scheduler.Upstream, error) {
	node, err := devnode.Start(ctx, devnode.Config{
		Dir:           filepath.Join(c.dir, "btcd"),
		Binary:        c.config.Btcd,
		MiningAddress: c.config.PayoutAddress,
		Logger:        c.config.Logger,
	})
	if err != nil {
		return nil, err
	}
	c.Node = node
	height, err := node.Height(ctx)
	if err != nil {
		return nil, err
	}
	if height > 0 {
		// With a tip older than a day btcd believes itself behind and gives no
		// templates; a fresh block revives a kept chain.
		if _, err := node.Generate(ctx, 1); err != nil {
			return nil, fmt.Errorf("revive the kept chain: %w", err)
		}
	}
	c.emit("node", fmt.Sprintf("btcd on simnet at %s, height %d", node.URL, height))
	return &scheduler.Upstream{URL: "node:" + node.URL, User: node.User, Password: node.Password, CA: node.CA}, nil
}

func (c *Cluster) startMesos(ctx context.Context) error {
	agents := make([]devmesos.AgentConfig, c.config.Agents)
	for i := range agents {
		agents[i] = devmesos.AgentConfig{
			// Each agent is a host of its own, which others can reach under its name:
			// on Linux all of 127.0.0.0/8 is this machine.
			Hostname:  fmt.Sprintf("127.0.0.%d", i+1),
			Resources: fmt.Sprintf("cpus:%g;mem:2048;disk:4096;ports:[%d-%d]", c.config.CPUs, 31000+100*i, 31099+100*i),
		}
	}
	mesos, err := devmesos.Start(ctx, devmesos.Config{
		Listen:   c.config.MesosListen,
		WorkDir:  filepath.Join(c.dir, "mesos"),
		Agents:   agents,
		Launcher: c.config.Launcher,
		Logger:   c.config.Logger,
	})
	if err != nil {
		return err
	}
	c.Mesos = mesos
	size := "1 agent"
	if c.config.Agents > 1 {
		size = fmt.Sprintf("%d agents", c.config.Agents)
	}
	c.emit("mesos", fmt.Sprintf("master at %s, %s with %g cpus each", mesos.MasterURL(), size, c.config.CPUs))
	return nil
}

func (c *Cluster) startScheduler(ctx context.Context, upstream scheduler.Upstream) error {
	config := scheduler.Config{
		Masters:        []string{c.Mesos.MasterURL()},
		Teardown:       true,
		NewMesos:       true,
		Upstreams:      []scheduler.Upstream{upstream},
		PayoutAddress:  c.config.PayoutAddress,
		StateDir:       filepath.Join(c.dir, "scheduler"),
		Listen:         c.config.Listen,
		Executor:       c.config.Executor,
		ProxyGrace:     scheduler.DefaultProxyGrace,
		Proxies:        c.config.Proxies,
		Kernel:         c.config.Kernel,
		ReportInterval: c.config.ReportInterval,
		OnEvent:        c.schedulerEvent,
		Logger:         c.config.Logger,
	}
	config.MinBlockInterval = max(c.config.BlockInterval, 0)
	if _, err := user.Current(); err != nil {
		config.User = strconv.Itoa(os.Geteuid()) // containers have users without a name
	}
	if config.Listen == "" {
		config.Listen = scheduler.DefaultListen
		config.ListenFunc = listenOrElsewhere
	}
	s, err := scheduler.New(config)
	if err != nil {
		return err
	}
	c.scheduler = s
	c.SchedulerURL = "http://" + s.Addr()
	c.emit("scheduler", "API at "+c.SchedulerURL)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	go func() {
		defer close(c.done)
		c.err = s.Run(run)
	}()
	return nil
}

// listenOrElsewhere listens on the address or, if that is taken, on any port.
func listenOrElsewhere(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr)
		return net.Listen(network, net.JoinHostPort(host, "0"))
	}
	return l, err
}

func (c *Cluster) emit(part, text string) {
	if c.config.OnEvent != nil {
		c.config.OnEvent(Event{Time: time.Now(), Part: part, Text: text})
	}
}

func (c *Cluster) schedulerEvent(e scheduler.Event) {
	if c.config.OnEvent != nil {
		c.config.OnEvent(Event{Time: e.Time, Part: "scheduler", Scheduler: &e})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Type == scheduler.EventHopeless {
		c.hopeless = e.Message
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// Status is what the scheduler knows at this moment.
func (c *Cluster) Status() api.Status { return c.scheduler.Status() }

// WaitBlocks waits until the cluster has found n blocks that are confirmed, and
// checks with the started node that they are in its main chain. n = 0 waits for
// ctx. It returns early when the scheduler ends by itself, or when tasks fail always
// alike.
func (c *Cluster) WaitBlocks(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		changed, hopeless := c.changed, c.hopeless
		c.mu.Unlock()
		if hopeless != "" {
			return errors.New(hopeless)
		}
		if n > 0 {
			if blocks := c.Status().Confirmed(); len(blocks) >= n {
				return c.checkBlocks(ctx, blocks)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.done:
			if c.err == nil {
				return errors.New("the scheduler ended")
			}
			return c.err
		case <-changed:
		}
	}
}

func (c *Cluster) checkBlocks(ctx context.Context, blocks []api.Block) error {
	if c.Node == nil {
		return nil
	}
	for _, b := range blocks {
		hash, err := c.Node.BlockHash(ctx, b.Height)
		if err != nil {
			return fmt.Errorf("check block %d: %w", b.Height, err)
		}
		if hash != b.Hash {
			return fmt.Errorf("check block %d: the scheduler reports %s confirmed, the node has %s", b.Height, b.Hash, hash)
		}
	}
	return nil
}

// Close ends everything, last started first, and removes a temporary folder.
func (c *Cluster) Close() error {
	var errs []error
	if c.cancel != nil {
		c.cancel()
		<-c.done
		if c.err != nil && !errors.Is(c.err, context.Canceled) {
			errs = append(errs, c.err)
		}
	}
	if c.Mesos != nil {
		c.Mesos.Close()
	}
	if c.Node != nil {
		errs = append(errs, c.Node.Stop())
	}
	if c.removes && c.dir != "" {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	if c.lock != nil {
		_ = c.lock.Close() // nothing was written
	}
	return errors.Join(errs...)
}
