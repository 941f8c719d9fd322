// Package driver speaks the Mesos v1 executor protocol: it subscribes to the
// agent that started this process, hands the agent's events to a Handler, and
// delivers status updates and framework messages.
//
//	cfg, err := driver.FromEnv()
//	d := driver.New(cfg, handler)
//	err = d.Run(ctx)
//
// Updates are kept, in order, until the agent acknowledges them; they outlive
// agent restarts. Framework messages are best effort, as everywhere in Mesos.
//
// Source: docs/executor-http-api.md and docs/agent-recovery.md of Apache Mesos.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/internal/sleep"
	"lode/mesoswire"
	"lode/seldom"
)

// Handler gets the events of the agent, one after another, from the goroutine
// that runs Run. Its methods must not block.
type Handler interface {
	// Subscribed is called after each subscription, the first and later ones.
	Subscribed(s *executor.Event_Subscribed)
	Launch(task mesos.TaskInfo)
	// Kill asks for the end of a task; policy may be nil.
	Kill(task mesos.TaskID, policy *mesos.KillPolicy)
	// Message is a framework message from the scheduler.
	Message(data []byte)
	// Shutdown asks for the end of all tasks and of the executor within
	// Config.ShutdownGrace.
	Shutdown()
	// Error is the agent's refusal: the executor has to end.
	Error(message string)
}

// Why Run ended when nobody asked it to.
var (
	// ErrDisconnected: the stream broke and the framework does not checkpoint.
	ErrDisconnected = errors.New("connection to the agent lost, and the framework does not checkpoint")
	// ErrRecoveryTimeout: the agent did not come back in time.
	ErrRecoveryTimeout = errors.New("the agent did not come back in time")
	// ErrForgotten: the agent does not know this framework or executor.
	ErrForgotten = errors.New("the agent does not know this executor")
	// ErrUnauthorized: the agent refuses the executor's token.
	ErrUnauthorized = errors.New("the agent refuses this executor's authentication")
	// ErrUnacknowledged: updates were still unacknowledged when the limit of Finish passed.
	ErrUnacknowledged = errors.New("updates were not acknowledged in time")
)

const (
	// registrationTimeout bounds the first subscription of a framework that
	// does not checkpoint: the default of the agent's --executor_registration_timeout.
	registrationTimeout = time.Minute
	// callTimeout bounds one HTTP exchange.
	callTimeout = 15 * time.Second
	// ackTimeout is how long an update may be unacknowledged, though the agent
	// took it, before the stream is suspected to be half-open and replaced. It
	// doubles with each replacement that did not help.
	ackTimeout, ackTimeoutMax = 30 * time.Second, 10 * time.Minute
	// heartbeatInterval is how long the calls' connection may be idle.
	heartbeatInterval = 5 * time.Minute
	// greetingTimeout is how long a subscription may take, up to its first event.
	greetingTimeout = 30 * time.Second
	// stableStream is how long a stream has to last for the next one to be opened
	// without a pause.
	stableStream = 5 * time.Second
	// silenceLimit is how long a stream may be silent whose agent sends
	// heartbeats (each 30 minutes).
	silenceLimit = 2 * time.Hour
	// lastMessages is how long a finishing driver goes on sending messages after
	// its updates are acknowledged.
	lastMessages = 2 * time.Second
	// refusedLimit is how long calls may fail while the stream seems to live.
	refusedLimit = 10 * time.Second
)

// Driver is one executor's connection to its agent. Its methods may be called
// from any goroutine.
type Driver struct {
	cfg     Config
	handler Handler
	client  *client
	log     *slog.Logger
	out     outbox

	mu         sync.Mutex
	connected  bool
	stream     *mesoswire.Stream // nil: there is none
	finish     chan struct{}     // closed by Finish
	finishing  bool
	finishTime time.Duration
}

// New prepares a Driver; nothing is sent before Run.
func New(cfg Config, handler Handler) (*Driver, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.TokenExposed != nil {
		cfg.Logger.Warn("the authentication token stays visible in /proc to processes of the same user", "error", cfg.TokenExposed)
	}
	return &Driver{
		cfg: cfg, handler: handler, client: c, log: slog.New(seldom.Handler(cfg.Logger.Handler())),
		out:    outbox{wake: make(chan struct{}, 1)},
		finish: make(chan struct{}),
	}, nil
}

// Update queues a status update; the driver adds uuid, source, executor id and
// timestamp where they are missing. Updates are delivered in the order of the calls.
func (d *Driver) Update(status mesos.TaskStatus) {
	if len(status.UUID) == 0 {
		id := uuid.New()
		status.UUID = id[:]
	}
	if status.Source == nil {
		source := mesos.SOURCE_EXECUTOR
		status.Source = &source
	}
	status.ExecutorID = &mesos.ExecutorID{Value: d.cfg.ExecutorID}
	if status.Timestamp == nil {
		seconds := float64(time.Now().UnixMicro()) / 1e6
		status.Timestamp = &seconds
	}
	d.out.addUpdate(status)
}

// Send queues a framework message. A message that still waits under the same key
// is replaced; key "" never is. When too much waits, the oldest messages go.
func (d *Driver) Send(key string, data []byte) {
	if dropped := d.out.addMessage(key, data); dropped > 0 {
		d.log.Warn("framework messages dropped: too many wait for the agent", "dropped", dropped)
	}
}

// Finish lets Run end as soon as all updates are acknowledged and the messages
// that wait are sent, or when limit has passed while the agent is connected
// (ErrUnacknowledged if it was updates that were left).
func (d *Driver) Finish(limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.finishing {
		return
	}
	d.finishing, d.finishTime = true, limit
	close(d.finish)
}

// Run subscribes and stays subscribed until Finish is done (nil), ctx ends (its
// cause), or one of the errors above ends the executor's life.
func (d *Driver) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer d.client.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.send(ctx, cancel)
	}()
	err := d.receive(ctx)
	cancel(err)
	<-done
	return err
}

// errFinished is the cause that ends the contexts after Finish.
var errFinished = errors.New("all updates are acknowledged")

// receive keeps the subscription up and dispatches events.
func (d *Driver) receive(ctx context.Context) error {
	window := d.cfg.RecoveryTimeout
	if !d.cfg.Checkpoint {
		window = registrationTimeout
	}
	deadline := time.Now().Add(window)
	for flapping := newBackoff(d.cfg); ; {
		s, err := d.subscribe(ctx, deadline)
		if err != nil {
			return ended(ctx, err)
		}
		opened := time.Now()
		err = d.follow(s)
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		var kicked *resubscribe
		switch {
		case errors.As(err, &kicked):
			d.log.Warn("subscribing again", "reason", kicked.reason)
		case !d.cfg.Checkpoint:
			return fmt.Errorf("%w: %w", ErrDisconnected, err)
		default:
			d.log.Warn("connection to the agent lost, subscribing again", "error", err, "for", d.cfg.RecoveryTimeout)
		}
		deadline = time.Now().Add(window)
		// At once, unless the agent ends every stream as soon as it is open.
		if time.Since(opened) >= stableStream {
			flapping = newBackoff(d.cfg)
		} else if sleep.For(ctx, flapping.next(false)) != nil {
			return ended(ctx, err)
		}
	}
}

func ended(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errFinished):
		return nil
	default:
		return cause
	}
}

// subscribe tries until a stream is open or the deadline has passed.
func (d *Driver) subscribe(ctx context.Context, deadline time.Time) (*mesoswire.Stream, error) {
	began := time.Now()
	for retry := newBackoff(d.cfg); ; {
		s, err := d.open(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		kind := kindOf(err)
		switch kind {
		case forgotten:
			return nil, fmt.Errorf("%w: %w", ErrForgotten, err)
		case unauthorized, unsubscribed: // a 403 for SUBSCRIBE is about the token's claims
			return nil, fmt.Errorf("%w: %w", ErrUnauthorized, err)
		case invalid:
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		pause := retry.next(kind != unanswered)
		if time.Now().Add(pause).After(deadline) {
			return nil, fmt.Errorf("%w: no subscription within %v: %w", ErrRecoveryTimeout, time.Since(began).Round(time.Second), err)
		}
		d.log.Info("cannot subscribe yet", "error", err, "retry_in", pause)
		if sleep.For(ctx, pause) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (d *Driver) open(ctx context.Context) (*mesoswire.Stream, error) {
	snapshot := d.out.snapshot()
	s, err := d.client.subscribe(ctx, snapshot.tasks, snapshot.updates)
	if err != nil {
		return nil, err
	}
	d.out.markSent(snapshot.updates, time.Now())
	d.mu.Lock()
	d.stream = s
	d.mu.Unlock()
	return s, nil
}

// resubscribe is the cause of a stream that this side ended on purpose.
type resubscribe struct{ reason string }

func (r *resubscribe) Error() string { return "stream given up: " + r.reason }

// kick ends the current stream, if any, so that receive opens another one.
func (d *Driver) kick(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stream != nil {
		d.connected = false
		d.stream.Abort(&resubscribe{reason})
		d.stream = nil
	}
}

func (d *Driver) setConnected(on bool) {
	d.mu.Lock()
	d.connected = on
	if !on {
		d.stream = nil
	}
	d.mu.Unlock()
	d.out.signal()
}

func (d *Driver) isConnected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connected
}

// follow dispatches the events of one stream until it ends.
func (d *Driver) follow(s *mesoswire.Stream) error {
	defer s.Close()
	defer d.setConnected(false)
	heartbeats := false
	for {
		record, err := s.Next()
		switch {
		case errors.Is(err, mesoswire.ErrSilent):
			return &resubscribe{err.Error()}
		case err != nil:
			return err
		}
		event, err := decodeEvent(record)
		if err != nil {
			d.log.Warn("event of the agent cannot be decoded, ignored", "error", err)
			continue
		}
		// An agent greets at once. Its heartbeats are optional (Mesos < 1.10 has none),
		// so that later silence says something only after the first one.
		heartbeats = heartbeats || event.GetType() == executor.Event_HEARTBEAT
		if heartbeats {
			s.Alive(silenceLimit)
		} else {
			s.Alive(0)
		}
		d.dispatch(event)
	}
}

func (d *Driver) dispatch(e *executor.Event) {
	switch t := e.GetType(); {
	case t == executor.Event_SUBSCRIBED && e.Subscribed != nil:
		d.log.Info("subscribed to the agent", "agent", e.Subscribed.AgentInfo.GetID().GetValue(),
			"hostname", e.Subscribed.AgentInfo.GetHostname())
		d.setConnected(true)
		d.handler.Subscribed(e.Subscribed)
	case t == executor.Event_LAUNCH && e.Launch != nil:
		d.launch(e.Launch.Task)
	case t == executor.Event_LAUNCH_GROUP && e.LaunchGroup != nil:
		for _, task := range e.LaunchGroup.TaskGroup.Tasks {
			d.launch(task)
		}
	case t == executor.Event_KILL && e.Kill != nil:
		d.handler.Kill(e.Kill.TaskID, e.Kill.KillPolicy)
	case t == executor.Event_ACKNOWLEDGED && e.Acknowledged != nil:
		if !d.out.acknowledge(e.Acknowledged.TaskID, e.Acknowledged.UUID) {
			d.log.Debug("acknowledgement of an unknown update", "task", e.Acknowledged.TaskID.Value)
		}
	case t == executor.Event_MESSAGE && e.Message != nil:
		d.handler.Message(e.Message.Data)
	case t == executor.Event_SHUTDOWN:
		// It may be the first event of all: an executor whose tasks were killed
		// before it registered.
		d.setConnected(true)
		d.handler.Shutdown()
	case t == executor.Event_ERROR:
		text := ""
		if e.Error != nil {
			text = e.Error.Message
		}
		d.handler.Error(text)
	case t == executor.Event_HEARTBEAT:
	default:
		d.log.Warn("unknown event of the agent ignored", "type", t.String())
	}
}

func (d *Driver) launch(task mesos.TaskInfo) {
	d.out.addTask(task)
	d.handler.Launch(task)
}
