package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Target is a cluster to check.
type Target struct {
	// Master is the URL of the leading master, http://host:port.
	Master string
	// Followers are the URLs of masters of the same cluster that do not lead.
	Followers []string
	// Advertise is the address (host or host:port) under which agents reach this process; the
	// suite serves its probe executor there. Default 127.0.0.1 with a free port.
	Advertise string
	// User runs the executors. Default: the user of this process.
	User string
	// Principal and Secret authenticate frameworks, if the master wants that; Operator and
	// OperatorSecret the operator endpoints.
	Principal, Secret        string
	Operator, OperatorSecret string
	// Faults breaks things on demand; nil if that is not possible.
	Faults Faults
	// Timing tells timers that differ from what the cluster's /flags and Mesos' constants say.
	Timing Timing
	// Patience is how long an event that must come may take (default 30 s); Quiet how
	// long is waited to see that one does not come (default 2 s).
	Patience, Quiet time.Duration
	// Arch is the GOARCH of the agents (default: this machine's); ProbePath a ready-built probe.
	Arch, ProbePath string
	// Own says that nobody else uses the cluster and the suite may leave marks on it:
	// maintenance schedules, drained agents.
	Own bool
	// Launcher is the agents' --launcher, if their /flags do not tell.
	Launcher string
	// Forbidden are environment variables of the agents' own process that must not reach an
	// executor, besides the usual ones.
	Forbidden []string
}

// Timing holds the timers that checks depend on. Zero means: find out.
type Timing struct {
	Allocation     time.Duration // --allocation_interval
	DefaultRefuse  time.Duration // filter if none is given: 5 s
	UpdateRetry    time.Duration // first retry of an unacknowledged update: 10 s
	PingTotal      time.Duration // agent_ping_timeout × max_agent_ping_timeouts
	Registration   time.Duration // --executor_registration_timeout
	Reregistration time.Duration // --executor_reregistration_timeout
	ShutdownGrace  time.Duration // --executor_shutdown_grace_period
}

// Faults breaks parts of a cluster. Each method returns when the deed is done, not when
// the cluster has noticed. errors.ErrUnsupported makes the check be skipped.
type Faults interface {
	// KillAgent ends the agent's process as kill -9 does; its executors live on.
	KillAgent(ctx context.Context, agentID string) error
	// StartAgent starts an agent that was killed or unregistered again, with its old work directory, once
	// its former process has ended.
	StartAgent(ctx context.Context, agentID string) error
	// UnregisterAgent ends the agent gracefully (SIGUSR1).
	UnregisterAgent(ctx context.Context, agentID string) error
	// KillMaster ends the master as kill -9 does; StartMaster starts one again at the same
	// address. Amnesia means: without its registry, as with --registry=in_memory.
	KillMaster(ctx context.Context) error
	StartMaster(ctx context.Context, amnesia bool) error
	// HoldAgent keeps the agent from talking to the master, as SIGSTOP does; false lets it go on.
	HoldAgent(ctx context.Context, agentID string, hold bool) error
}

// CommandFaults runs a program for each fault: PROGRAM kill-agent ID, start-agent ID, unregister-agent ID,
// kill-master, start-master, start-master-amnesia, hold-agent ID, release-agent ID. Exit status 75
// (EX_TEMPFAIL) means that the program does not know how.
type CommandFaults string

const exitUnsupported = 75

func (f CommandFaults) run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, string(f), args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitUnsupported {
		return errors.ErrUnsupported
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %.200s", string(f), strings.Join(args, " "), err, out)
	}
	return nil
}

// KillAgent implements Faults.
func (f CommandFaults) KillAgent(ctx context.Context, id string) error {
	return f.run(ctx, "kill-agent", id)
}

// StartAgent implements Faults.
func (f CommandFaults) StartAgent(ctx context.Context, id string) error {
	return f.run(ctx, "start-agent", id)
}

// UnregisterAgent implements Faults.
func (f CommandFaults) UnregisterAgent(ctx context.Context, id string) error {
	return f.run(ctx, "unregister-agent", id)
}

// KillMaster implements Faults.
func (f CommandFaults) KillMaster(ctx context.Context) error { return f.run(ctx, "kill-master") }

// StartMaster implements Faults.
func (f CommandFaults) StartMaster(ctx context.Context, amnesia bool) error {
	if amnesia {
		return f.run(ctx, "start-master-amnesia")
	}
	return f.run(ctx, "start-master")
}

// HoldAgent implements Faults.
func (f CommandFaults) HoldAgent(ctx context.Context, id string, hold bool) error {
	if hold {
		return f.run(ctx, "hold-agent", id)
	}
	return f.run(ctx, "release-agent", id)
}

// units of stout's durations; Go's time.ParseDuration reads a different notation.
var units = map[string]time.Duration{
	"ns": 1, "us": time.Microsecond, "ms": time.Millisecond, "secs": time.Second,
	"mins": time.Minute, "hrs": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// parseDuration reads a duration as Mesos writes it: "15secs", "1mins", "2.5days" (§5.2).
func parseDuration(s string) (time.Duration, error) {
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' && r != '-' })
	if i <= 0 {
		return 0, fmt.Errorf("duration %q: expected a number and a unit, as in 15secs", s)
	}
	f, err := strconv.ParseFloat(s[:i], 64)
	unit, ok := units[s[i:]]
	if err != nil || !ok {
		return 0, fmt.Errorf("duration %q: expected a number and a unit, as in 15secs", s)
	}
	return time.Duration(f * float64(unit)), nil
}

// resolve fills in what Timing leaves open from the flags that the master and an
// agent publish, else from Mesos' defaults (§19).
func (t Timing) resolve(masterFlags, agentFlags Doc) Timing {
	flag := func(d *time.Duration, flags Doc, name string, fallback time.Duration) {
		if *d != 0 {
			return
		}
		*d = fallback
		if v, err := parseDuration(text(flags, name)); err == nil {
			*d = v
		}
	}
	flag(&t.Allocation, masterFlags, "allocation_interval", time.Second)
	if t.PingTotal == 0 {
		var ping time.Duration
		flag(&ping, masterFlags, "agent_ping_timeout", 15*time.Second)
		n, err := strconv.Atoi(text(masterFlags, "max_agent_ping_timeouts"))
		if err != nil {
			n = 5
		}
		t.PingTotal = ping * time.Duration(n)
	}
	flag(&t.Registration, agentFlags, "executor_registration_timeout", time.Minute)
	flag(&t.Reregistration, agentFlags, "executor_reregistration_timeout", 2*time.Second)
	flag(&t.ShutdownGrace, agentFlags, "executor_shutdown_grace_period", 5*time.Second)
	flag(&t.DefaultRefuse, nil, "", 5*time.Second)
	flag(&t.UpdateRetry, nil, "", 10*time.Second)
	return t
}
