// Package driver speaks the Mesos v1 scheduler API: it finds the leading master,
// subscribes, hands on events, sends calls in order, and starts anew when the
// subscription is lost.
//
//	d, err := driver.New(driver.Config{…})
//	err = d.Run(ctx)       // until ctx ends or it makes no sense to go on
//	d.Send(calls)          // from any goroutine
//
// It uses mesos-go's types, HTTP client and protobuf codec, and does itself what
// mesos-go v0.0.11 gets wrong: redirects (one client for each subscription), what
// counts as a lost subscription, deadlines, heartbeats, retries and large frames.
package driver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Errors that end Run.
var (
	// ErrUnauthorized: the master does not accept the principal and its secret.
	ErrUnauthorized = errors.New("master refuses the credentials")
	// ErrRejected: the master finds the SUBSCRIBE call itself wrong.
	ErrRejected = errors.New("master rejects the subscription")
)

var (
	errNoSubscription   = errors.New("there is no subscription")
	errSubscriptionLost = errors.New("the subscription was lost")
)

// Config is what a Driver needs.
type Config struct {
	// Masters are URLs of masters, http://host:port; any of them may lead.
	Masters []string
	// RootCAs are trusted for https; nil: the system's.
	RootCAs *x509.CertPool
	// Principal and Secret for HTTP Basic; Principal "": none.
	Principal, Secret string
	// Subscribe makes the SUBSCRIBE call, anew for each attempt.
	Subscribe func() *scheduler.Call
	// Handle is called with what happens, one event at a time.
	Handle func(Event)
	Logger *slog.Logger
	// Rand drives the jitter of pauses; nil: a random one.
	Rand func() float64

	// CallTimeout bounds every call but the subscription itself. 0: 10 s.
	CallTimeout time.Duration
	// HeartbeatsMissed is after how many silent intervals a stream counts as dead.
	// 0: 5 (docs/scheduler-http-api.md).
	HeartbeatsMissed int
	// BackoffFirst and BackoffMost bound the pause between attempts to subscribe. 0: 500 ms and 15 s.
	BackoffFirst, BackoffMost time.Duration
}

// Event is something that happened to the subscription.
type Event struct {
	// Mesos is an event of the stream; nil: the subscription ended, or an attempt
	// to subscribe failed, for the reason in Lost.
	Mesos *scheduler.Event
	Lost  error
	// Master is host:port of the master, with a SUBSCRIBED event.
	Master string
}

// Driver is one scheduler's link to Mesos.
type Driver struct {
	config Config
	log    *slog.Logger

	finishing atomic.Bool // the end of the stream is wanted

	mu      sync.Mutex
	session *session // that calls go to; nil: none
}

// New checks the configuration.
func New(config Config) (*Driver, error) {
	if len(config.Masters) == 0 {
		return nil, errors.New("no Mesos master (--master)")
	}
	masters := make([]string, len(config.Masters))
	for i, m := range config.Masters {
		var err error
		if masters[i], err = MasterURL(m); err != nil {
			return nil, err
		}
	}
	config.Masters = masters
	if config.CallTimeout == 0 {
		config.CallTimeout = 10 * time.Second
	}
	if config.HeartbeatsMissed == 0 {
		config.HeartbeatsMissed = 5
	}
	if config.BackoffFirst == 0 {
		config.BackoffFirst = 500 * time.Millisecond
	}
	if config.BackoffMost == 0 {
		config.BackoffMost = 15 * time.Second
	}
	if config.Rand == nil {
		config.Rand = rand.Float64
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Driver{config: config, log: config.Logger}, nil
}

// MasterURL completes and checks the URL of a master: http and port 5050 are
// understood. The path, if any, is dropped.
func MasterURL(s string) (string, error) {
	if strings.HasPrefix(s, "zk://") || strings.HasPrefix(s, "file://") {
		return "", fmt.Errorf("master %q: ZooKeeper is not asked; name the masters themselves, all of them, as http://host:5050 with commas between", s)
	}
	full := s
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil {
		return "", fmt.Errorf("master %q is not a URL: %w", s, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", fmt.Errorf("master %q is not a URL such as http://host:5050", s)
	}
	if u.User != nil {
		return "", fmt.Errorf("master %s: credentials belong into --principal and --secret-file, not into the URL", u.Redacted())
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5050")
	}
	return u.Scheme + "://" + u.Host, nil
}

// Run subscribes again and again until ctx ends (it returns ctx's error), the stream
// ends after Finish (nil), or the master says something that trying again cannot
// change.
func (d *Driver) Run(ctx context.Context) error {
	pause := d.config.BackoffFirst
	hint := ""
	for {
		s, err := d.connect(ctx, hint)
		if err == nil {
			opened := time.Now()
			err = d.serve(ctx, s)
			hint = s.leader
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
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// Send queues calls for the current subscription and returns at once. They are sent
// in order, one at a time. Without a subscription they are dropped: whoever made
// them starts over with the next SUBSCRIBED event anyway.
func (d *Driver) Send(calls []*scheduler.Call) {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s != nil {
		s.enqueue(calls)
	}
}

// Flush waits until the calls that were queued so far are sent or lost.
func (d *Driver) Flush(ctx context.Context) error {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return errNoSubscription
	}
	return s.flush(ctx)
}

// Finish sends a last call, such as TEARDOWN, and makes Run return nil when the
// stream ends. A master ends it before it answers a TEARDOWN, so that a stream that
// ended means success as well.
func (d *Driver) Finish(ctx context.Context, call *scheduler.Call) error {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return errNoSubscription
	}
	d.finishing.Store(true)
	s.enqueue([]*scheduler.Call{call})
	err := s.flush(ctx)
	if err != nil && s.wasSent() {
		return ctx.Err()
	}
	return err
}

func (d *Driver) setSession(s *session) {
	d.mu.Lock()
	d.session = s
	d.mu.Unlock()
}
