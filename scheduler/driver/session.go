package driver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/internal/sleep"
	"lode/mesoswire"
)

const schedulerPath = "/api/v1/scheduler"

const (
	// A master says how often to expect heartbeats. It is believed within bounds:
	// Mesos says 15 s.
	defaultHeartbeat = 15 * time.Second
	leastHeartbeat   = time.Second
	mostHeartbeat    = time.Minute
	// maxRecord bounds one event, in bytes: OFFERS of a large cluster come in one.
	maxRecord = 256 << 20
)

// session is one subscription: a stream of events, and a queue of calls that go to
// the same master and nowhere else.
type session struct {
	d      *Driver
	number uint64
	leader string // URL of the master
	host   string // host:port of it
	client *mesoswire.Client
	stream *mesoswire.Stream
	first  *scheduler.Event
	queue  *queue
	// masters are those among which the leader was found, changed says that there may
	// be others.
	masters []string
	changed <-chan struct{}
	// silence is after how long without an event the stream counts as dead.
	silence time.Duration
	// abandon ends everything that was begun for the subscription.
	abandon context.CancelCauseFunc
}

// tls is the configuration for https masters.
func (d *Driver) tls() *tls.Config {
	return &tls.Config{RootCAs: d.config.RootCAs, MinVersion: tls.VersionTLS12}
}

func (d *Driver) newClient(master string) (*mesoswire.Client, error) {
	authorization := ""
	if d.config.Principal != "" {
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(d.config.Principal+":"+d.config.Secret))
	}
	return mesoswire.NewClient(mesoswire.Config{
		URL: master + schedulerPath, Authorization: authorization, UserAgent: "lode-scheduler",
		TLS: d.tls(), Proxy: http.ProxyFromEnvironment, Timeout: max(d.patience, d.config.AskTimeout), MaxRecord: maxRecord,
	})
}

// subscribe opens a stream at one master and waits for its first event. It gives up
// when most masters say that another one leads; none are asked if there are none.
func (d *Driver) subscribe(ctx context.Context, master string, masters []string) (*session, error) {
	client, err := d.newClient(master)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(master)
	if err != nil {
		return nil, err
	}
	s := &session{d: d, leader: master, host: u.Host, client: client, queue: newQueue()}
	attempt, abandon := context.WithCancelCause(ctx)
	watching := make(chan struct{})
	watch, stop := context.WithCancel(ctx)
	go func() {
		defer close(watching)
		if err := d.watchLeader(watch, masters, master, false); err != nil {
			abandon(err)
		}
	}()
	s.stream, err = client.Subscribe(attempt, d.config.Subscribe(), d.patience)
	if err == nil {
		err = s.greet()
	}
	stop()
	<-watching
	if err == nil && attempt.Err() != nil {
		err = context.Cause(attempt)
	}
	s.abandon = abandon
	if err != nil {
		s.close()
		return nil, fmt.Errorf("subscribe at master %s: %w", master, classify(master, err))
	}
	return s, nil
}

// greet waits for the event that has to be the first. Whatever else comes is not
// taken for a sign of life.
func (s *session) greet() error {
	if s.stream.ID == "" {
		return fmt.Errorf("the answer is no event stream: it has no %s", mesoswire.StreamIDHeader)
	}
	for {
		record, err := s.stream.Next()
		if err != nil {
			return ended(err)
		}
		event := new(scheduler.Event)
		switch err := decoder.Decode(record, event); {
		case err != nil:
			s.d.log.Warn("event of the master cannot be decoded, ignored", "error", err)
		case event.GetSubscribed().GetFrameworkID().GetValue() != "" && event.Type == scheduler.Event_SUBSCRIBED,
			event.Type == scheduler.Event_ERROR && event.Error != nil:
			s.first = event
			s.silence = time.Duration(s.d.config.HeartbeatsMissed) * heartbeat(event)
			return nil
		}
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the master closed the stream")
	}
	return err
}

// classify marks what trying again cannot change. 503 and 404 (a master's first
// moments) pass, like everything that is not an answer at all.
func classify(master string, err error) error {
	var status *mesoswire.StatusError
	if !errors.As(err, &status) {
		return err
	}
	switch code := status.Code; {
	case code >= 300 && code < 400:
		to, err := redirectTarget(master, status.Location)
		if err != nil {
			return err
		}
		return &redirect{to: to}
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%w (--principal, --secret-file): %w", ErrUnauthorized, err)
	case code == http.StatusForbidden, code == http.StatusBadRequest, code == http.StatusNotAcceptable,
		code == http.StatusUnsupportedMediaType, code == http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return err
}

// watchLeader returns an error when another master leads, nil when ctx ends.
func (d *Driver) watchLeader(ctx context.Context, masters []string, at string, settled bool) error {
	if len(masters) < 2 {
		return nil
	}
	for sleep.For(ctx, d.config.LeaderCheck) == nil {
		if leader := d.elsewhere(ctx, masters, at, settled); leader != "" {
			return fmt.Errorf("master %s is left: it does not answer, and %s leads", at, leader)
		}
	}
	return nil
}

// watchElection returns an error when another master was elected than the one that led
// when the subscription began, nil when ctx ends. As long as nobody can be asked, or
// nobody leads, the subscription is kept.
func (s *session) watchElection(ctx context.Context) error {
	leader, changed := s.masters[0], s.changed
	for changed != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		masters, next, err := s.d.find.Find(ctx)
		switch {
		case err != nil:
			s.d.log.Warn("cannot find out who leads; the subscription is kept", "error", err)
			if sleep.For(ctx, s.d.config.LeaderCheck) != nil {
				return nil
			}
			continue
		case len(masters) > 0 && masters[0] != leader && masters[0] != s.leader:
			return fmt.Errorf("master %s is left: %s was elected", s.leader, masters[0])
		}
		changed = next
	}
	return nil
}

// serve hands on events until the stream ends, and says why it ended.
func (s *session) serve(ctx context.Context) error {
	d := s.d
	defer s.close()
	var wg sync.WaitGroup
	workers, stop := context.WithCancel(ctx)
	d.begin(s)
	defer func() {
		d.end()
		stop()
		s.queue.close()
		wg.Wait()
	}()
	wg.Go(func() {
		if err := newSender(s).run(workers); err != nil {
			s.stream.Abort(err)
		}
	})
	wg.Go(func() {
		if err := d.watchLeader(workers, s.masters, s.leader, true); err != nil {
			s.stream.Abort(err)
		}
	})
	wg.Go(func() {
		if err := s.watchElection(workers); err != nil {
			s.stream.Abort(err)
		}
	})
	s.handle(s.first)
	for {
		record, err := s.stream.Next()
		if err != nil {
			return fmt.Errorf("event stream of master %s: %w", s.leader, ended(err))
		}
		if err := s.take(record); err != nil {
			// A new stream would not help: what an agent sends until it is acknowledged
			// would be the end of that one, too. But it is no sign of life.
			d.log.Warn("event of the master cannot be decoded, ignored", "error", err)
		}
	}
}

func (s *session) close() {
	if s.stream != nil {
		s.stream.Close()
	}
	s.abandon(nil)
	s.client.Close()
}

// heartbeat is how often the master is expected to send something.
func heartbeat(e *scheduler.Event) time.Duration {
	seconds := e.GetSubscribed().GetHeartbeatIntervalSeconds()
	if !(seconds > 0) { // or not a number
		return defaultHeartbeat
	}
	return time.Duration(min(max(seconds, leastHeartbeat.Seconds()), mostHeartbeat.Seconds()) * float64(time.Second))
}

// handle hands an event on. How long that takes is not the master's fault.
func (s *session) handle(e *scheduler.Event) {
	s.stream.Alive(0)
	s.d.config.Handle(Event{Session: s.number, Mesos: e, Master: s.host})
	s.stream.Alive(s.silence)
}
