// Package devmesos is a Mesos cluster inside one process, for laptops and tests: one
// leading master, agents that launch real executor processes, and the real v1
// scheduler and executor HTTP APIs between them and any framework.
//
// Start a cluster, point a framework at MasterURL, Close it:
//
//	cluster, err := devmesos.Start(ctx, devmesos.Config{})
//	…
//	defer cluster.Close()
//	run(cluster.MasterURL())
//
// What a real cluster does seldom, tests can make it do at will: masters and agents
// die, return or are cut off, offers are rescinded, streams go silent, updates arrive
// late or twice (faults.go).
//
// What it does was taken from Mesos 1.11: from its documentation and source, and from
// recordings of a real cluster, which the tests replay.
package devmesos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent"
	"lode/devmesos/master"
)

// LauncherMain belongs first into the main function of a program that names itself
// as Config.Launcher. It returns at once unless the process was started as a launcher or command executor.
func LauncherMain() { agent.LauncherMain() }

// Cluster is a running cluster.
type Cluster struct {
	cfg       Config
	log       *slog.Logger
	temporary string // folder to be removed, or empty
	nodes     []*node
	agents    []*Agent

	mu       sync.Mutex
	leader   int // of nodes; −1: there is none
	last     int // that led
	registry *master.Registry
	closed   bool
}

// Start starts a cluster and waits until its agents are registered, or ctx ends.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("start Mesos: %w", err)
	}
	c := &Cluster{cfg: cfg, log: cfg.Logger, leader: -1, registry: new(master.Registry)}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("start Mesos: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	dir, err := c.workDir()
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.cfg.Listen)
	for i := range c.cfg.Masters {
		address := c.cfg.Listen
		if i > 0 {
			address = net.JoinHostPort(host, "0")
		}
		n, err := newNode(address, c.leaderAddress)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	if err := c.elect(0); err != nil {
		return err
	}
	for i, ac := range c.cfg.Agents {
		a, err := c.newAgent(i, ac, filepath.Join(dir, "agent"+strconv.Itoa(i)))
		if err != nil {
			return err
		}
		c.agents = append(c.agents, a)
		a.Detected(c.Master())
		if err := a.Start(); err != nil {
			return err
		}
	}
	return c.waitForAgents(ctx)
}

func (c *Cluster) workDir() (string, error) {
	if c.cfg.WorkDir != "" {
		return c.cfg.WorkDir, nil
	}
	dir, err := os.MkdirTemp("", "devmesos")
	if err != nil {
		return "", err
	}
	c.temporary = dir
	return dir, nil
}

// Agent is an agent of a cluster: with the methods of agent.Agent, it can be killed,
// restarted, partitioned and so on.
type Agent struct{ *agent.Agent }

func (c *Cluster) newAgent(n int, ac AgentConfig, dir string) (*Agent, error) {
	config, lent, err := c.cfg.agent(n, ac, dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	a, err := agent.New(config)
	if err != nil {
		return nil, err
	}
	if len(lent) > 0 {
		a.SetOversubscribed(lent)
	}
	return &Agent{a}, nil
}

// waitForAgents returns when every agent has registered.
func (c *Cluster) waitForAgents(ctx context.Context) error {
	m := c.Master()
	if m.WaitForAgents(ctx, len(c.agents)) {
		return nil
	}
	return fmt.Errorf("agents did not register: %w", context.Cause(ctx))
}

// Close ends everything: executors are shut down, agents and masters end, the
// temporary folder is removed.
func (c *Cluster) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.mu.Unlock()
	var wait sync.WaitGroup
	for _, a := range c.agents {
		wait.Go(a.Close)
	}
	wait.Wait()
	c.mu.Lock()
	c.leader = -1
	c.mu.Unlock()
	for _, n := range c.nodes {
		n.close()
	}
	if c.temporary != "" {
		if err := os.RemoveAll(c.temporary); err != nil {
			c.log.Warn("cannot remove the work folder", "folder", c.temporary, "error", err)
		}
	}
}

// MasterURL is where schedulers find the leader, or, while there is none, the first master.
func (c *Cluster) MasterURL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return "http://" + c.nodes[max(c.leader, 0)].address
}

// MasterURLs lists all masters; each knows the way to the leader.
func (c *Cluster) MasterURLs() []string {
	urls := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		urls[i] = "http://" + n.address
	}
	return urls
}

// Master is the leading master, nil if there is none.
func (c *Cluster) Master() *master.Master {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader < 0 {
		return nil
	}
	return c.nodes[c.leader].master()
}

// Agents lists the agents in the order of the configuration.
func (c *Cluster) Agents() []*Agent { return c.agents }

// AgentByID finds the agent with an id of the master's giving.
func (c *Cluster) AgentByID(id mesos.AgentID) (*Agent, error) {
	for _, a := range c.agents {
		if own, ok := a.ID(); ok && own == id {
			return a, nil
		}
	}
	return nil, fmt.Errorf("agent %s: %w", id.Value, errNoAgent)
}

var errNoAgent = errors.New("no agent of this cluster has that id now")

func (c *Cluster) leaderAddress() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader < 0 {
		return ""
	}
	return c.nodes[c.leader].address
}

// elect makes a node lead with a new master and tells all agents.
func (c *Cluster) elect(n int) error {
	m, err := master.New(master.Config{
		Address:             c.nodes[n].address,
		Domain:              domain(c.cfg.Domain),
		Registry:            c.registry,
		Timing:              c.cfg.Timing.master(),
		Credentials:         c.cfg.Credentials,
		OperatorCredentials: c.cfg.OperatorCredentials,
		Logger:              c.log,
	})
	if err != nil {
		return err
	}
	c.nodes[n].lead(m)
	c.mu.Lock()
	c.leader, c.last = n, n
	c.mu.Unlock()
	for _, a := range c.agents {
		a.Detected(m)
	}
	return nil
}
