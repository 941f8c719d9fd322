// Package executor is the Mesos executor of Lode: it runs one task, a miner or a
// proxy, inside its own process, and keeps the scheduler informed.
//
//	cfg, err := driver.FromEnv()
//	err = executor.Run(ctx, executor.Options{Config: cfg})
//
// The protocol with the agent is in driver, what tasks do in task, mining itself
// in mining. This package is the life of the task between them: launch, reports,
// kill, shutdown, and an end that loses no status update.
package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/executor/driver"
	"lode/executor/mining"
	"lode/executor/task"
	"lode/message"
	"lode/miner"
	"lode/pool"
)

const (
	// defaultGrace is the grace period of a KILL that names none, as in Mesos'
	// own executors.
	defaultGrace = 3 * time.Second
	// ackLimit is how long a finished executor waits for the agent to
	// acknowledge its last updates.
	ackLimit = 2 * time.Minute
	// shutdownAckLimit is that after SHUTDOWN: an agent that ends the whole framework
	// drops its updates without a word, and others wait for the resources.
	shutdownAckLimit = time.Second
	// idleLimit is how long an executor waits for its first task.
	idleLimit = 5 * time.Minute
	// maxStatusMessage bounds TaskStatus.message, in bytes.
	maxStatusMessage = 1 << 10
)

// Options are what Run needs beside the environment of Mesos.
type Options struct {
	Config driver.Config
	Logger *slog.Logger
	// Redact removes secrets from a text for status messages and reports; Hide
	// tells it, and the log, of one. nil: nothing is a secret.
	Redact func(string) string
	Hide   func(string)
	// Digest gives the SHA-256 of this program's file in hex; nil: SelfDigest.
	Digest func() (string, error)
	// Tune fits the process to the resources of its task; nil: nothing is done.
	Tune func(Resources, *message.Task)
	// Connect, NewEngine and NewProxy replace stratum.Client, miner.New and pool.New.
	Connect   func(pool string) mining.Connection
	NewEngine func(miner.Options) (miner.Searcher, error)
	NewProxy  func(pool.Config) (pool.Runner, error)
	// Rand gives jitter from [0,1); nil: a random one.
	Rand func() float64
}

// Run subscribes to the agent, runs the task that it launches, and returns when
// that has ended and its updates are acknowledged. When ctx ends, the task fails
// with the cause and Run returns soon.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Redact == nil {
		o.Redact = func(s string) string { return s }
	}
	if o.Digest == nil {
		o.Digest = SelfDigest
	}
	if o.Tune == nil {
		o.Tune = func(Resources, *message.Task) {}
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	o.Config.Logger = o.Logger
	e := &executor{options: o, log: o.Logger, refused: make(map[string]mesos.TaskStatus)}
	d, err := driver.New(o.Config, e)
	if err != nil {
		return err
	}
	e.driver = d
	return e.run(ctx)
}

type executor struct {
	options Options
	log     *slog.Logger
	driver  *driver.Driver
	end     context.CancelCauseFunc // ends the driver at once
	tasks   sync.WaitGroup

	mu        sync.Mutex
	killing   bool // the framework knows TASK_KILLING
	current   *running
	refused   map[string]mesos.TaskStatus // task id → terminal status of tasks that never ran
	stopping  error                       // why no task is taken any more
	idle      *time.Timer
	shutdowns []*time.Timer
}

func (e *executor) run(ctx context.Context) error {
	// The driver outlives ctx: the last updates have to be delivered.
	driverCtx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	e.end = end
	e.idle = time.AfterFunc(idleLimit, func() {
		e.log.Warn("no task was launched, the executor ends", "after", idleLimit)
		e.stop(fmt.Errorf("no task was launched within %v", idleLimit), e.options.Config.ShutdownGrace)
	})
	stop := context.AfterFunc(ctx, func() {
		e.log.Info("the executor is asked to end", "cause", context.Cause(ctx))
		e.stop(fmt.Errorf("the executor was ended from outside: %w", context.Cause(ctx)), e.options.Config.ShutdownGrace)
	})
	err := e.driver.Run(driverCtx)
	stop()
	e.mu.Lock()
	e.idle.Stop()
	if e.stopping == nil {
		e.stopping = errors.New("the executor has ended")
	}
	current := e.current
	e.mu.Unlock()
	if current != nil {
		// Nobody can be told any more; what the task has to save it still may.
		current.kill(e.options.Config.ShutdownGrace)
	}
	e.tasks.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.shutdowns {
		t.Stop()
	}
	if err != nil && e.stopping == errShutdown {
		// An agent that ends a framework does not acknowledge any more.
		e.log.Warn("the agent asked for the end and did not wait for the last updates", "error", err)
		return nil
	}
	return err
}

// Subscribed implements driver.Handler.
func (e *executor) Subscribed(s *mesosexec.Event_Subscribed) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.killing = false
	for _, c := range s.FrameworkInfo.Capabilities {
		if c.Type == mesos.FrameworkInfo_Capability_TASK_KILLING_STATE {
			e.killing = true
		}
	}
	if e.current != nil {
		e.current.resubscribed()
	}
}

// Launch implements driver.Handler.
func (e *executor) Launch(info mesos.TaskInfo) {
	id := info.TaskID.Value
	spec, err := message.DecodeTask(info.Data)
	var l *link
	if err == nil {
		l, err = newLink(id, spec)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle.Stop()
	switch {
	case e.current != nil && e.current.id() == id:
		e.log.Warn("task launched twice, the second launch is ignored", "task", id)
	case e.stopping != nil:
		e.refuse(id, mesos.TASK_FAILED, nil, "this executor is ending: "+e.stopping.Error())
	case e.current != nil:
		e.refuse(id, mesos.TASK_FAILED, nil, fmt.Sprintf(
			"this executor already has task %s: an executor of Lode runs one task in its life, launch with a new executor id", e.current.id()))
	case err != nil:
		e.refuse(id, mesos.TASK_ERROR, mesos.REASON_TASK_INVALID.Enum(), "TaskInfo.data: "+err.Error())
		e.stopping = errors.New("its task could not be read")
		e.driver.Finish(ackLimit)
	default:
		e.log.Info("task launched", "task", id)
		r := newRunning(e, info, spec, l)
		e.current = r
		e.tasks.Go(r.run)
	}
}

// refuse ends a task that never ran. It wants mu.
func (e *executor) refuse(id string, state mesos.TaskState, reason *mesos.TaskStatus_Reason, text string) {
	status := e.status(id, state, reason, text)
	e.log.Error("task refused", "task", id, "state", state.String(), "reason", *status.Message)
	e.refused[id] = status
	e.driver.Update(status)
}

// status is the body of an update.
func (e *executor) status(id string, state mesos.TaskState, reason *mesos.TaskStatus_Reason, text string) mesos.TaskStatus {
	s := mesos.TaskStatus{TaskID: mesos.TaskID{Value: id}, State: &state, Reason: reason}
	if text != "" {
		text = e.options.Redact(text)
		text = strings.ToValidUTF8(text[:min(len(text), maxStatusMessage)], "?")
		s.Message = &text
	}
	return s
}

// Kill implements driver.Handler.
func (e *executor) Kill(id mesos.TaskID, policy *mesos.KillPolicy) {
	e.mu.Lock()
	current := e.current
	refused, wasRefused := e.refused[id.Value]
	killing := e.killing
	e.mu.Unlock()
	switch {
	case current != nil && current.id() == id.Value:
		grace := defaultGrace
		for _, p := range []*mesos.KillPolicy{policy, current.info.KillPolicy} {
			if period := p.GetGracePeriod(); period != nil {
				grace = time.Duration(max(0, period.Nanoseconds))
				break
			}
		}
		e.log.Info("task is to be killed", "task", id.Value, "grace", grace)
		if ended := current.killRequested(grace, killing); ended != nil {
			// The scheduler does not know yet, or has forgotten.
			e.driver.Update(*ended)
		}
	case wasRefused:
		e.driver.Update(refused)
	default:
		e.log.Warn("kill of a task that is not here ignored", "task", id.Value)
	}
}

// Message implements driver.Handler.
func (e *executor) Message(data []byte) {
	e.mu.Lock()
	current := e.current
	e.mu.Unlock()
	if current == nil {
		e.log.Warn("message of the scheduler ignored: there is no task")
		return
	}
	m, fresh, err := current.link.open(data)
	if err != nil {
		if n := current.link.complaint(); n > 0 {
			e.log.Warn("messages in the scheduler's name ignored", "count", n, "error", err)
		}
		return
	}
	current.receive(m, fresh)
}

// Shutdown implements driver.Handler.
func (e *executor) Shutdown() {
	e.log.Info("the agent asks the executor to end", "grace", e.options.Config.ShutdownGrace)
	e.stop(nil, e.options.Config.ShutdownGrace)
}

// Error implements driver.Handler.
func (e *executor) Error(text string) {
	e.end(fmt.Errorf("the agent refuses this executor: %s", text))
}

var errShutdown = errors.New("the agent asked the executor to end")

// stop ends the task and then the executor, within grace. cause nil: the agent
// asked for it, and the task counts as killed; else it has failed.
func (e *executor) stop(cause error, grace time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping == nil {
		if e.stopping = cause; cause == nil {
			e.stopping = errShutdown
		}
	}
	// The agent destroys the container when the grace has passed; be gone before.
	hard := grace * 9 / 10
	if e.current == nil || e.current.ended() != nil {
		if cause == nil {
			hard = min(hard, shutdownAckLimit)
		}
		e.driver.Finish(hard)
	} else {
		e.current.stop(cause, grace*6/10)
	}
	e.shutdowns = append(e.shutdowns, time.AfterFunc(hard, func() {
		e.end(fmt.Errorf("the executor could not end in an orderly way within %v", hard))
	}))
}

// lastAcks is how long to wait for the acknowledgement of the last updates.
func (e *executor) lastAcks() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping == errShutdown {
		return shutdownAckLimit
	}
	return ackLimit
}

// agentHost is where other machines may reach this agent.
func (e *executor) agentHost() string {
	host, _, err := net.SplitHostPort(e.options.Config.AgentEndpoint)
	if err != nil {
		return ""
	}
	return host
}

func (e *executor) env(r *running) task.Env {
	return task.Env{
		Log:       e.log,
		Send:      r.send,
		Hide:      e.options.Hide,
		Sandbox:   e.options.Config.Sandbox,
		CPUsMilli: r.resources.CPUsMilli,
		Ports:     r.resources.Ports,
		AgentHost: e.agentHost(),
		Connect:   e.options.Connect,
		NewEngine: e.options.NewEngine,
		NewProxy:  e.options.NewProxy,
		Rand:      e.options.Rand,
	}
}
