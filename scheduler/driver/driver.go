// Package driver speaks the Mesos v1 scheduler API: it finds the leading master,
// subscribes, hands on events, sends calls in order, and starts anew when the
// subscription is lost.
//
//	d, err := driver.New(driver.Config{…})
//	err = d.Run(ctx)             // until ctx ends or it makes no sense to go on
//	d.Send(session, calls, 0)    // from any goroutine
//
// No master is trusted to behave: each step up to the first event of a subscription
// has a deadline, all masters are asked at the same time who leads, and one that
// neither answers nor sends anything is left as soon as another one leads. A master
// that is slow, but whose events come, is waited for. See package mesoswire for what
// is below, and queue for the order of calls.
package driver

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/internal/sleep"
	"lode/seldom"
)

// Errors that end Run.
var (
	// ErrUnauthorized: the master does not accept the principal and its secret.
	ErrUnauthorized = errors.New("master refuses the credentials")
	// ErrRejected: the master finds the SUBSCRIBE call itself wrong.
	ErrRejected = errors.New("master rejects the subscription")
)

// ErrNoSubscription: what was asked for goes to the master of a subscription, and there is none.
var ErrNoSubscription = errors.New("there is no subscription")

var errSubscriptionLost = errors.New("the subscription was lost")

const defaultAskTimeout = 5 * time.Second

// Config is what a Driver needs.
type Config struct {
	// Masters are URLs of masters, http://host:port; any of them may lead. Or there is
	// one URL of ZooKeeper, zk://[user:password@]host:port,host:port/path, which knows
	// them.
	Masters []string
	// RootCAs are trusted for https; nil: the system's.
	RootCAs *x509.CertPool
	// Principal and Secret for HTTP Basic; Principal "": none.
	Principal, Secret string
	// May is asked before each attempt to subscribe; an error: not now. nil: always.
	May func(ctx context.Context) error
	// Subscribe makes the SUBSCRIBE call, anew for each attempt.
	Subscribe func() *scheduler.Call
	// Handle is called with what happens. Events of the stream come one at a time, in
	// their order; those about calls may come at the same time.
	Handle func(Event)
	Logger *slog.Logger
	// Rand drives the jitter of pauses; nil: a random one.
	Rand func() float64

	// SubscribeTimeout bounds an attempt to subscribe, from the connection to the
	// first event. It is doubled, up to six times its value, while all that is wrong
	// is that a master takes longer. 0: 20 s.
	SubscribeTimeout time.Duration
	// AskTimeout bounds the question who leads. 0: 5 s.
	AskTimeout time.Duration
	// CallTimeout is after how long without an answer the connection for calls is
	// replaced; it is doubled each time, up to ten times its value. The subscription
	// goes on: only silence of its stream ends it. 0: 60 s.
	CallTimeout time.Duration
	// HeartbeatsMissed is after how many silent intervals a stream counts as dead.
	// 0: 5 (docs/scheduler-http-api.md).
	HeartbeatsMissed int
	// LeaderCheck is the time between two looks at who leads, while there is a
	// subscription and more than one master. 0: 3 s.
	LeaderCheck time.Duration
	// BackoffFirst and BackoffMost bound the pause between attempts to subscribe. 0: 500 ms and 15 s.
	BackoffFirst, BackoffMost time.Duration
}

// Event is something that happened to the subscription or to a call.
type Event struct {
	// Session is the number of the subscription; 0: there is none.
	Session uint64
	// Mesos is an event of the stream.
	Mesos *scheduler.Event
	// Lost is why the subscription ended, or an attempt to subscribe failed.
	Lost error
	// Master is host:port of the master, with events of the stream.
	Master string
	// Refused is an ACCEPT that had no effect, or of which nobody knows whether it
	// had one (Unsure), for Why. Its offers are declined already.
	Refused *scheduler.Call
	Unsure  bool
	Why     error
}

// Driver is one scheduler's link to Mesos.
type Driver struct {
	config Config
	log    *slog.Logger

	find      finder
	finishing atomic.Bool // the end of the stream is wanted

	// Of the goroutine that runs Run:
	failed   map[string]bool // masters at which the last attempts failed
	patience time.Duration   // for the next attempt to subscribe

	mu       sync.Mutex
	session  *session // that calls go to; nil: none
	sessions uint64   // number of the newest
	stored   uint64   // as Stored said
}

// New checks the configuration.
func New(config Config) (*Driver, error) {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&config.SubscribeTimeout, 20*time.Second)
	set(&config.AskTimeout, defaultAskTimeout)
	set(&config.CallTimeout, time.Minute)
	set(&config.LeaderCheck, 3*time.Second)
	set(&config.BackoffFirst, 500*time.Millisecond)
	set(&config.BackoffMost, 15*time.Second)
	if config.HeartbeatsMissed <= 0 {
		config.HeartbeatsMissed = 5
	}
	if config.Rand == nil {
		config.Rand = rand.Float64
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	log := slog.New(seldom.Handler(config.Logger.Handler()))
	find, err := newFinder(config, log)
	if err != nil {
		return nil, err
	}
	return &Driver{
		config: config, log: log, find: find,
		failed: make(map[string]bool), patience: config.SubscribeTimeout,
	}, nil
}

// Run subscribes again and again until ctx ends (it returns ctx's error), the stream
// ends after Finish (nil), or the master says something that trying again cannot
// change.
func (d *Driver) Run(ctx context.Context) error {
	defer d.find.Close()
	pause := d.config.BackoffFirst
	for {
		s, err := d.connect(ctx)
		if err == nil {
			opened := time.Now()
			err = s.serve(ctx)
			// A stream that ends as soon as it is open, each time, is no success: every
			// subscription makes the master offer anew and answer for every task.
			if time.Since(opened) >= d.config.BackoffMost {
				pause = d.config.BackoffFirst
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.finishing.Load() {
			return nil
		}
		if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRejected) {
			return err
		}
		d.config.Handle(Event{Lost: err})
		// Half of the pause is random, so that the frameworks of a cluster do not all
		// come back at once to a master that was just elected.
		wait := time.Duration(float64(pause) * (0.5 + 0.5*d.config.Rand()))
		d.log.Warn("no subscription at a Mesos master; trying again", "error", err, "in", wait.Round(time.Millisecond))
		pause = min(2*pause, d.config.BackoffMost)
		if sleep.For(ctx, wait) != nil {
			return ctx.Err()
		}
	}
}

// Send queues calls for a subscription and returns at once. Those of another
// subscription than the current one are dropped: whoever made them starts over with
// the next SUBSCRIBED event anyway. A call that must not be sent before something is
// stored waits until Stored is told of after, or more; which calls those are is the
// driver's affair (see queue).
func (d *Driver) Send(session uint64, calls []*scheduler.Call, after uint64) {
	if s := d.current(); s != nil && s.number == session {
		s.queue.add(calls, after)
	}
}

// Stored says that everything up to number n is stored.
func (d *Driver) Stored(n uint64) {
	d.mu.Lock()
	d.stored = max(d.stored, n)
	s := d.session
	d.mu.Unlock()
	if s != nil {
		s.queue.stored(n)
	}
}

// Waiting is how many calls wait to be sent.
func (d *Driver) Waiting() int {
	if s := d.current(); s != nil {
		return s.queue.len()
	}
	return 0
}

// Flush waits until the calls that were queued so far are answered or lost.
func (d *Driver) Flush(ctx context.Context) error {
	s := d.current()
	if s == nil {
		return ErrNoSubscription
	}
	return s.queue.flush(ctx)
}

// Finish sends a last call, such as TEARDOWN, and makes Run return nil when the
// stream ends. A master ends it before it answers a TEARDOWN, so that a stream that
// ended means success as well.
func (d *Driver) Finish(ctx context.Context, call *scheduler.Call) error {
	s := d.current()
	if s == nil {
		return ErrNoSubscription
	}
	d.finishing.Store(true)
	s.queue.clear()
	s.queue.add([]*scheduler.Call{call}, 0)
	err := s.queue.flush(ctx)
	if err != nil && s.queue.len() == 0 { // it was on its way
		return ctx.Err()
	}
	return err
}

func (d *Driver) current() *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session
}

// begin makes s the subscription that calls go to.
func (d *Driver) begin(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions++
	s.number = d.sessions
	s.queue.stored(d.stored)
	d.session = s
}

func (d *Driver) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = nil
}
