package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"lode/devcluster"
	"lode/devmesos"
	"lode/devmesos/agent"
)

// devMesosCmd runs the embedded Mesos alone, for any framework.
type devMesosCmd struct {
	Listen  string `help:"Address of the master." default:"127.0.0.1:5050" placeholder:"HOST:PORT"`
	Masters int    `help:"Number of masters; the others redirect to the leader." default:"1"`
	WorkDir string `help:"Folder for sandboxes and checkpoints. Default: a temporary one." placeholder:"DIR"`

	Agents     int     `help:"Number of agents." default:"2"`
	CPUs       float64 `name:"cpus" help:"Processors of each agent." default:"2"`
	Mem        float64 `help:"Memory of each agent, in MB." default:"2048"`
	Disk       float64 `help:"Disk of each agent, in MB." default:"8192"`
	Resources  string  `help:"Resources of each agent as Mesos writes them, in place of --cpus, --mem, --disk." placeholder:"cpus:2;mem:1024;ports:[…]"`
	Revocable  string  `help:"Revocable resources of each agent in addition." placeholder:"cpus:2"`
	Attributes string  `help:"Attributes of each agent." placeholder:"rack:a;level:1"`

	Credentials           map[string]string `help:"Demand HTTP basic authentication of frameworks." placeholder:"PRINCIPAL=SECRET"`
	AuthenticateExecutors bool              `help:"Give executors tokens and demand them."`

	Allocation          time.Duration `help:"Time between allocations." default:"1s"`
	Heartbeat           time.Duration `help:"Time between heartbeats." default:"15s"`
	AgentPing           time.Duration `help:"Time between pings of an agent." default:"15s"`
	AgentPings          int           `help:"Pings that an agent may miss." default:"5"`
	OfferTimeout        time.Duration `help:"Time after which an unused offer is rescinded; 0: never." default:"0"`
	UpdateRetry         time.Duration `help:"Time after which an unacknowledged update is sent again." default:"10s"`
	RegistrationTimeout time.Duration `help:"Time that an executor has to register." default:"1m"`
	ShutdownGrace       time.Duration `help:"Time that an executor has to shut down." default:"5s"`
}

// Bounds of a cluster on one machine.
const (
	mostMasters = 9
	mostAgents  = 250
	mostAmount  = 1e12 // of a resource, as Mesos writes them
	mostPings   = 10_000
)

// Run is called by execute.
func (c *devMesosCmd) Run(env *environment) (err error) {
	if c.Masters < 1 {
		return usagef("--masters=%d: want at least one", c.Masters)
	}
	switch {
	case c.Masters > mostMasters:
		return usagef("--masters=%d: want at most %d", c.Masters, mostMasters)
	case c.Agents > mostAgents:
		return usagef("--agents=%d: want at most %d, each has a hundred ports from 31000 on", c.Agents, mostAgents)
	}
	for name, n := range map[string]float64{"cpus": c.CPUs, "mem": c.Mem, "disk": c.Disk} {
		if n > mostAmount {
			return usagef("--%s=%v: want at most %g", name, n, mostAmount)
		}
	}
	for name, d := range map[string]time.Duration{
		"allocation": c.Allocation, "heartbeat": c.Heartbeat, "agent-ping": c.AgentPing, "update-retry": c.UpdateRetry,
		"registration-timeout": c.RegistrationTimeout, "shutdown-grace": c.ShutdownGrace,
	} {
		if d == 0 {
			return usagef("--%s=0s: want more than 0", name)
		}
	}
	if c.AgentPings < 1 || c.AgentPings > mostPings {
		return usagef("--agent-pings=%d: want 1 to %d", c.AgentPings, mostPings)
	}
	config := c.config(env)
	if config.WorkDir == "" {
		dir, remove, failed := env.folders.make("lode-dev-mesos-")
		if failed != nil {
			return failed
		}
		config.WorkDir = dir
		defer func() { err = errors.Join(err, remove()) }()
	}
	if err := os.MkdirAll(config.WorkDir, 0o755); err != nil {
		return fmt.Errorf("--work-dir: %w", err)
	}
	lock, err := devcluster.LockFolder(config.WorkDir, "--work-dir")
	if err != nil {
		return err
	}
	defer lock.Close()
	cluster, err := devmesos.Start(env.ctx, config)
	if err != nil {
		if env.ctx.Err() != nil {
			return context.Canceled
		}
		if mistake := new(devmesos.ConfigError); errors.As(err, &mistake) {
			flag := map[string]string{"Listen": "listen", "Resources": "resources", "Oversubscribed": "revocable", "Attributes": "attributes"}[mistake.Field]
			return usagef("--%s: %w", flag, mistake.Err)
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return takenPort("--listen", c.Listen, err)
		}
		return err
	}
	defer cluster.Close()
	fmt.Fprintf(env.stdout, "Mesos master %s\n", strings.Join(cluster.MasterURLs(), " "))
	for _, a := range cluster.Agents() {
		id, _ := a.ID()
		fmt.Fprintf(env.stdout, "Mesos agent  http://%s %s\n", a.Endpoint(), id.Value)
	}
	fmt.Fprintln(env.stdout, "Ready. Stop with Ctrl-C.")
	<-env.ctx.Done()
	fmt.Fprintln(env.stdout, "Ended.")
	return nil
}

func (c *devMesosCmd) config(env *environment) devmesos.Config {
	one := devmesos.AgentConfig{
		Resources:             c.Resources,
		Oversubscribed:        c.Revocable,
		Attributes:            c.Attributes,
		AuthenticateExecutors: c.AuthenticateExecutors,
	}
	agents := slices.Repeat([]devmesos.AgentConfig{one}, c.Agents)
	if c.Resources == "" {
		for i := range agents {
			first := 31000 + 100*i
			agents[i].Resources = fmt.Sprintf("cpus:%g;mem:%g;disk:%g;ports:[%d-%d]", c.CPUs, c.Mem, c.Disk, first, first+99)
		}
	}
	return devmesos.Config{
		Listen:      c.Listen,
		Masters:     c.Masters,
		WorkDir:     c.WorkDir,
		Agents:      agents,
		Credentials: c.Credentials,
		Launcher:    "/proc/self/exe",
		Logger:      env.log,
		Timing: devmesos.Timing{
			Allocation:   c.Allocation,
			Heartbeat:    c.Heartbeat,
			AgentPing:    c.AgentPing,
			AgentPings:   c.AgentPings,
			OfferTimeout: c.OfferTimeout,
			Agent: agent.Timing{
				UpdateRetryMin:        c.UpdateRetry,
				ExecutorRegistration:  c.RegistrationTimeout,
				ExecutorShutdownGrace: c.ShutdownGrace,
			},
		},
	}
}
