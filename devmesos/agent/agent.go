// Package agent is the agent of a development Mesos: it launches real executor processes in real
// sandboxes, speaks the v1 executor API with them, and follows a master through package link. How it answers,
// what it logs into sandboxes and in which order things happen is taken from a real agent of version 1.11.
//
// Call [New], [Agent.Start], then [Agent.Detected] with the leading master. [Agent.Kill] and
// [Agent.Restart] stand for kill -9 of the agent's process and its return; executors live through it. After
// [Agent.Close] no process is left. The methods in faults.go let tests make things go wrong.
package agent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/command"
	"lode/devmesos/agent/sandbox"
	"lode/devmesos/internal/link"
)

// Version is what the agent says about itself: the version whose behaviour it has.
const Version = "1.11.0"

// Agent is one agent of a cluster. Its methods may be called from anywhere, at any time; those of link.Agent
// queue what they are told and return at once.
type Agent struct {
	config   Config
	host     *sandbox.Host
	logFile  *os.File
	faults   faults
	endpoint string // host:port, the same after every restart

	oversubscribed atomic.Pointer[[]mesos.Resource]

	// lifecycle orders starts and ends, which may take a while; mu is never held for long. Actors take neither
	// lifecycle nor anything that waits for it.
	lifecycle sync.Mutex
	listener  net.Listener // opened by New or Restart, until the next run takes it
	closed    bool

	mu     sync.Mutex
	run    *process    // nil while the agent is down
	master link.Master // the leading one, as far as this agent was told
}

var _ link.Agent = (*Agent)(nil)

// The errors of calls at the wrong time.
var (
	ErrRunning = errors.New("agent: it runs already")
	ErrDown    = errors.New("agent: it does not run")
	ErrClosed  = errors.New("agent: it was closed")
)

// LauncherMain makes the process what [Config.Launcher] says, or a command executor, if it was started for
// that, and does not return then. Programs that use a launcher call it first.
func LauncherMain() {
	sandbox.Main()
	command.Main()
}

// New makes an agent that listens but does nothing yet.
func New(config Config) (*Agent, error) {
	config.Timing = config.Timing.withDefaults()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	if config.AuthenticateHTTPExecutors && config.JWTSecretKey == nil {
		config.JWTSecretKey = []byte(rand.Text())
	}
	if config.newContainerID == nil {
		config.newContainerID = func(string) string { return uuid.NewString() }
	}
	if config.WorkDir == "" {
		return nil, errors.New("agent: no work directory given")
	}
	var err error
	if config.WorkDir, err = filepath.Abs(config.WorkDir); err != nil {
		return nil, fmt.Errorf("agent: work directory: %w", err)
	}
	if err := os.MkdirAll(config.WorkDir, 0o755); err != nil {
		return nil, fmt.Errorf("agent: work directory: %w", err)
	}
	logger, logFile, err := openLog(config.WorkDir, config.Logger)
	if err != nil {
		return nil, fmt.Errorf("agent: log: %w", err)
	}
	config.Logger = logger
	listener, err := net.Listen("tcp", config.Listen)
	if err != nil {
		logFile.Close()
		return nil, fmt.Errorf("agent: listen on %s: %w", config.Listen, err)
	}
	a := &Agent{
		config:   config,
		listener: listener,
		endpoint: listener.Addr().String(),
		logFile:  logFile,
	}
	if a.config.Hostname == "" {
		a.config.Hostname, _, _ = net.SplitHostPort(a.endpoint)
	}
	a.host = sandbox.NewHost(config.Launcher, config.Logger)
	return a, nil
}

// Start runs the agent: it recovers what an earlier run left in the work directory, and registers when it
// knows a master.
func (a *Agent) Start() error {
	a.lifecycle.Lock()
	defer a.lifecycle.Unlock()
	return a.start()
}

// Restart runs the agent again after Kill, Unregister or a shutdown by the master.
func (a *Agent) Restart() error {
	a.lifecycle.Lock()
	defer a.lifecycle.Unlock()
	if p := a.current(); p != nil && p.ended() {
		a.stop(p)
	}
	return a.start()
}

func (a *Agent) start() error {
	switch {
	case a.closed:
		return ErrClosed
	case a.current() != nil:
		return ErrRunning
	}
	if a.listener == nil {
		listener, err := listenAgain(a.endpoint)
		if err != nil {
			return fmt.Errorf("agent: listen on %s: %w", a.endpoint, err)
		}
		a.listener = listener
	}
	p, err := newProcess(a)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.run = p
	p.start(a.listener, a.master)
	a.listener = nil
	return nil
}

// current is the present run, or nil.
func (a *Agent) current() *process {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run
}

// stop ends the present run.
func (a *Agent) stop(p *process) {
	a.mu.Lock()
	a.run = nil
	a.mu.Unlock()
	p.stop()
}

// listenAgain takes a port back that this process had before; connections of the last run may still be on their
// way out.
func listenAgain(endpoint string) (net.Listener, error) {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		listener, err := net.Listen("tcp", endpoint)
		if err == nil || pause > time.Second {
			return listener, err
		}
		time.Sleep(pause)
	}
}

// Kill ends the agent like kill -9 of its process: it says nothing to anybody, its connections break, which the
// master sees, and executors live on.
func (a *Agent) Kill() error {
	a.lifecycle.Lock()
	defer a.lifecycle.Unlock()
	p := a.current()
	if p == nil {
		return ErrDown
	}
	a.stop(p)
	if m, id := p.connection(); m != nil {
		m.Disconnected(id)
	}
	return nil
}

// Close ends the agent and all that runs on it: executors are told to shut down and killed if they take longer than
// Timing.CloseGrace.
func (a *Agent) Close() {
	a.lifecycle.Lock()
	defer a.lifecycle.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	if p := a.current(); p != nil {
		p.shutdownExecutors(a.config.Timing.CloseGrace)
		a.stop(p)
	}
	if a.listener != nil {
		a.listener.Close()
	}
	a.host.Close()
	a.logFile.Close()
}

// Unregister is SIGUSR1: the agent says goodbye to the master, shuts its executors down and ends. Done tells when.
func (a *Agent) Unregister() { a.tell(func(p *process) { p.shutdown("", false) }) }

// Done is closed when the present run of the agent has come to its end by itself: unregistered, or shut down by the
// master. It is closed already while the agent is down.
func (a *Agent) Done() <-chan struct{} {
	if p := a.current(); p != nil {
		return p.terminated
	}
	down := make(chan struct{})
	close(down)
	return down
}

// Detected tells the agent which master leads; nil means that there is none now.
func (a *Agent) Detected(m link.Master) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.master = m
	if a.run != nil {
		p := a.run
		p.inbox.post(func() { p.detected(m) })
	}
}

// ID is the agent's id; ok is false before its first registration.
func (a *Agent) ID() (id mesos.AgentID, ok bool) {
	a.ask(func(p *process) {
		if p.info.ID != nil {
			id, ok = *p.info.ID, true
		}
	})
	return id, ok
}

// Endpoint is host:port of the agent's HTTP server.
func (a *Agent) Endpoint() string { return a.endpoint }

// Hostname is what offers show.
func (a *Agent) Hostname() string { return a.config.Hostname }

// Registered is the master's answer to a first registration.
func (a *Agent) Registered(m link.Master, id mesos.AgentID) {
	a.hear(func(p *process) { p.registered(m, id) })
}

// Reregistered is the master's answer to an agent that came back.
func (a *Agent) Reregistered(m link.Master, id mesos.AgentID) {
	a.hear(func(p *process) { p.reregistered(m, id) })
}

// Ping is the master's health check.
func (a *Agent) Ping(m link.Master) { a.hear(func(p *process) { p.ping(m) }) }

// RunTask launches a task.
func (a *Agent) RunTask(r link.RunTask) { a.hear(func(p *process) { p.runTask(r) }) }

// KillTask kills a task.
func (a *Agent) KillTask(framework mesos.FrameworkID, task mesos.TaskID, policy *mesos.KillPolicy) {
	a.hear(func(p *process) { p.killTask(framework.Value, task.Value, policy) })
}

// ShutdownExecutor shuts an executor down.
func (a *Agent) ShutdownExecutor(framework mesos.FrameworkID, executor mesos.ExecutorID) {
	a.hear(func(p *process) { p.shutdownExecutor(framework.Value, executor.Value) })
}

// ShutdownFramework ends all that a framework has here.
func (a *Agent) ShutdownFramework(framework mesos.FrameworkID) {
	a.hear(func(p *process) { p.shutdownFramework(framework.Value) })
}

// AcknowledgeUpdate is a scheduler's acknowledgement.
func (a *Agent) AcknowledgeUpdate(framework mesos.FrameworkID, task mesos.TaskID, uuid []byte) {
	uuid = slices.Clone(uuid)
	a.hear(func(p *process) { p.acknowledge(framework.Value, task.Value, uuid) })
}

// FrameworkMessage is a scheduler's message to an executor.
func (a *Agent) FrameworkMessage(framework mesos.FrameworkID, executor mesos.ExecutorID, data []byte) {
	data = slices.Clone(data)
	a.hear(func(p *process) { p.schedulerMessage(framework.Value, executor.Value, data) })
}

// UpdateFramework tells of changed framework information.
func (a *Agent) UpdateFramework(info mesos.FrameworkInfo) {
	a.hear(func(p *process) { p.updateFramework(info) })
}

// FrameworkReregistered tells that a framework subscribed again.
func (a *Agent) FrameworkReregistered(framework mesos.FrameworkID) {
	a.hear(func(p *process) { p.updates.ResumeFramework(framework.Value) })
}

// Drain kills all tasks and takes no more.
func (a *Agent) Drain(maxGrace *time.Duration, markGone bool) {
	a.hear(func(p *process) { p.drain(drainConfig{MaxGrace: maxGrace, MarkGone: markGone}) })
}

// Shutdown ends the agent, by the master's order.
func (a *Agent) Shutdown(reason string) {
	a.hear(func(p *process) { p.shutdown(reason, true) })
}

// hear is what comes over the link to the master, which may be broken.
func (a *Agent) hear(f func(p *process)) {
	if !a.faults.partitioned() {
		a.tell(f)
	}
}

// tell queues f for the present run.
func (a *Agent) tell(f func(p *process)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.run; p != nil {
		p.inbox.post(func() { f(p) })
	}
}

// ask runs f on the present run and waits; it says false if there is none.
func (a *Agent) ask(f func(p *process)) bool {
	p := a.current()
	return p != nil && p.inbox.do(func() { f(p) })
}

// pid is the agent's libprocess address.
func (a *Agent) pid() string { return "slave(1)@" + a.endpoint }

// ip is the address that containers are said to have.
func (a *Agent) ip() string {
	host, _, _ := net.SplitHostPort(a.endpoint)
	return strings.Trim(host, "[]")
}
