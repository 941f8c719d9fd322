package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos"
	"lode/devmesos/agent"
)

// leakMarker is set in the agents' own environment.
const leakMarker = "CONFORMANCE_LEAK"

// embedded lets the checks break a devmesos.
type embedded struct {
	*devmesos.Cluster
	byID map[string]*devmesos.Agent // as registered at first: an agent that is down has no id
}

// fast are timers that keep the run short, and yet leave processes on a slow machine the time that they need.
var fast = devmesos.Timing{
	Allocation: 50 * time.Millisecond, Heartbeat: time.Second, MasterRecovery: 100 * time.Millisecond,
	Agent: agent.Timing{
		RegistrationBackoff: 50 * time.Millisecond, ExecutorRegistration: 12 * time.Second, ExecutorReregistration: 4 * time.Second,
		ExecutorShutdownGrace: time.Second, UpdateRetryMin: 2 * time.Second, CloseGrace: 100 * time.Millisecond,
	},
}

func startEmbedded(t testing.TB, agents int, cpus int, change func(*devmesos.Config)) Target {
	t.Helper()
	cfg := devmesos.Config{Launcher: "/proc/self/exe", Timing: fast, WorkDir: t.TempDir()}
	for i := range agents {
		cfg.Agents = append(cfg.Agents, devmesos.AgentConfig{
			Oversubscribed: "cpus:4",
			Resources:      fmt.Sprintf("cpus:%d;mem:%d;disk:4096;ports:[%d-%d]", cpus, 1024*cpus, 31000+100*i, 31099+100*i),
		})
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := devmesos.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	e := embedded{c, map[string]*devmesos.Agent{}}
	for _, a := range c.Agents() {
		if id, ok := a.ID(); ok {
			e.byID[id.Value] = a
		}
	}
	return Target{
		Master: c.MasterURL(), Followers: c.MasterURLs()[1:], Faults: e, Own: true, Patience: 45 * time.Second, Quiet: 300 * time.Millisecond,
		Timing: Timing{
			Allocation: fast.Allocation, PingTotal: cfg.Timing.AgentPing * time.Duration(cfg.Timing.AgentPings), UpdateRetry: fast.Agent.UpdateRetryMin,
			Registration: fast.Agent.ExecutorRegistration, Reregistration: fast.Agent.ExecutorReregistration, ShutdownGrace: fast.Agent.ExecutorShutdownGrace,
		},
		Forbidden: []string{leakMarker}, Launcher: "posix",
	}
}

func (e embedded) agent(id string) (*devmesos.Agent, error) {
	if a := e.byID[id]; a != nil {
		return a, nil
	}
	for _, a := range e.Cluster.Agents() { // one may have registered anew
		if now, ok := a.ID(); ok && now.Value == id {
			e.byID[id] = a
			return a, nil
		}
	}
	return nil, fmt.Errorf("no agent %s", id)
}

// KillAgent implements Faults.
func (e embedded) KillAgent(_ context.Context, id string) error {
	a, err := e.agent(id)
	if err != nil {
		return err
	}
	return a.Kill()
}

// StartAgent implements Faults.
func (e embedded) StartAgent(ctx context.Context, id string) error {
	a, err := e.agent(id)
	if err != nil {
		return err
	}
	select {
	case <-a.Done():
		return a.Restart()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// UnregisterAgent implements Faults.
func (e embedded) UnregisterAgent(_ context.Context, id string) error {
	a, err := e.agent(id)
	if err != nil {
		return err
	}
	a.Unregister()
	return nil
}

// HoldAgent implements Faults.
func (e embedded) HoldAgent(_ context.Context, id string, hold bool) error {
	a, err := e.agent(id)
	if err != nil {
		return err
	}
	a.Partition(hold)
	return nil
}

// PreemptExecutor implements Preempter.
func (e embedded) PreemptExecutor(_ context.Context, agent, framework, executor string) error {
	a, err := e.agent(agent)
	if err != nil {
		return err
	}
	if !a.PreemptExecutor(mesos.FrameworkID{Value: framework}, mesos.ExecutorID{Value: executor}) {
		return fmt.Errorf("no executor %s", executor)
	}
	return nil
}

// KillMaster implements Faults.
func (e embedded) KillMaster(context.Context) error {
	e.Cluster.KillMaster()
	return nil
}

// StartMaster implements Faults.
func (e embedded) StartMaster(_ context.Context, amnesia bool) error {
	return e.Cluster.StartMaster(amnesia)
}

// TestEmbedded checks devmesos: most checks share one cluster, those that break it get one each.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	Run(t, startEmbedded(t, 2, 32, nil), func(t testing.TB, check Check) Target {
		return startEmbedded(t, 2, 4, func(cfg *devmesos.Config) {
			if strings.HasPrefix(check.Name, "agent loss/checkpointing") {
				// Elsewhere the ping timeout stays long: a busy machine must not lose its agents.
				cfg.Timing.AgentPing, cfg.Timing.AgentPings = time.Second, 3
			}
		})
	})
}

// TestEmbeddedAuthenticated repeats some topics with authentication of frameworks, operators and executors.
func TestEmbeddedAuthenticated(t *testing.T) {
	t.Parallel()
	target := startEmbedded(t, 1, 8, func(cfg *devmesos.Config) {
		cfg.Credentials = map[string]string{"framework": "its secret"}
		cfg.OperatorCredentials = map[string]string{"admin": "another secret"}
		cfg.Agents[0].AuthenticateExecutors = true
	})
	target.Principal, target.Secret, target.Operator, target.OperatorSecret = "framework", "its secret", "admin", "another secret"
	RunTopics(t, target, nil, "auth", "golden/02c", "executor stream", "kill", "files", "endpoints")
}

// TestEmbeddedStandby asks a master that does not lead.
func TestEmbeddedStandby(t *testing.T) {
	t.Parallel()
	RunTopics(t, startEmbedded(t, 0, 0, func(cfg *devmesos.Config) {
		cfg.Masters, cfg.Agents = 3, []devmesos.AgentConfig{}
	}), nil, "redirect")
}

// TestEmbeddedPlaces has agents that frameworks see only if they can make something of them.
func TestEmbeddedPlaces(t *testing.T) {
	t.Parallel()
	RunTopics(t, startEmbedded(t, 3, 8, func(cfg *devmesos.Config) {
		cfg.Domain = "eu/a"
		cfg.Agents[0].Domain = "eu/b"
		cfg.Agents[0].Resources += ";cpus(conformance-r):1;mem(conformance-r):64"
		cfg.Agents[1].Resources += ";gpus:2"
		cfg.Agents[2].Domain = "us/a"
	}), nil, "capabilities")
}
