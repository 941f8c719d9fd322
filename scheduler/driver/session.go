package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gogo/protobuf/proto"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/client"
	"github.com/mesos/mesos-go/api/v1/lib/encoding"
	"github.com/mesos/mesos-go/api/v1/lib/encoding/codecs"
	"github.com/mesos/mesos-go/api/v1/lib/httpcli"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

const (
	schedulerPath  = "/api/v1/scheduler"
	streamIDHeader = "Mesos-Stream-Id"
	// firstSilence bounds the time until a new stream brings its first event, which
	// says how often to expect more.
	firstSilence = 30 * time.Second
	// callAttempts is how often a call is tried when the connection fails.
	callAttempts = 3
)

// session is one subscription: a stream of events, and a client for calls that goes
// to the same master and nowhere else.
type session struct {
	d        *Driver
	leader   string // URL of the master
	streamID string
	stream   mesos.Response
	cancel   context.CancelFunc // ends the stream
	client   *httpcli.Client
	http     *http.Client

	mu     sync.Mutex
	queue  []*scheduler.Call
	wake   chan struct{}
	closed bool
	taken  int // calls that were taken off the queue
	sent   int // calls that were sent, or given up
	total  int // calls that were ever on the queue
	idle   *sync.Cond
}

// statusError is an answer of the master that is not a success.
type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string {
	if e.body == "" {
		return fmt.Sprintf("HTTP status %d", e.code)
	}
	return fmt.Sprintf("HTTP status %d: %s", e.code, e.body)
}

// newHTTPClient returns a client that follows no redirect and waits for headers for
// a bounded time only; the body of a stream has no such bound.
func newHTTPClient(roots *x509.CertPool, headers time.Duration) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: headers, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   headers,
			ResponseHeaderTimeout: headers,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   1,
			DisableCompression:    true,
		},
	}
}

// newClient makes a mesos-go client for one master. do carries requests out.
func (d *Driver) newClient(master string, do *http.Client) *httpcli.Client {
	opts := []httpcli.Opt{
		httpcli.Endpoint(master + schedulerPath),
		httpcli.Codec(codecs.ByMediaType[codecs.MediaTypeProtobuf]),
		httpcli.Do(do.Do),
		httpcli.HandleResponse(func(res *http.Response, _ client.ResponseClass, err error) (mesos.Response, error) {
			return handleResponse(master, res, err)
		}),
	}
	if d.config.Principal != "" {
		opts = append(opts, httpcli.DefaultHeader("Authorization", basicAuth(d.config.Principal, d.config.Secret)))
	}
	return httpcli.New(opts...)
}

func basicAuth(user, password string) string {
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// handleResponse stands in for mesos-go's own, which limits frames to 4 MiB, takes
// an empty answer for an error, and does not tell what the master said.
func handleResponse(master string, res *http.Response, err error) (mesos.Response, error) {
	if err != nil {
		return nil, trimURL(err)
	}
	if res.StatusCode == http.StatusOK && res.Header.Get(streamIDHeader) != "" {
		codec := codecs.ByMediaType[codecs.MediaTypeProtobuf]
		if ct := res.Header.Get("Content-Type"); ct != codec.Type.ContentType() {
			res.Body.Close()
			return nil, fmt.Errorf("the event stream is of type %q, not %q", ct, codec.Type.ContentType())
		}
		frames := newFrameReader(res.Body)
		return &httpcli.Response{
			Closer:  res.Body,
			Header:  res.Header,
			Decoder: encoding.DecoderFunc(func(event encoding.Unmarshaler) error { return decode(frames, event) }),
		}, nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	switch {
	case res.StatusCode == http.StatusOK, res.StatusCode == http.StatusAccepted:
		return nil, nil
	case res.StatusCode >= 300 && res.StatusCode < 400:
		to, err := redirectTarget(master, res.Header.Get("Location"))
		if err != nil {
			return nil, err
		}
		return nil, &redirect{to: to}
	}
	text := strings.Join(strings.Fields(string(body)), " ") // one line, whatever it was
	if strings.Contains(res.Header.Get("Content-Type"), "html") {
		text = "a page for people; is this a Mesos master?"
	}
	return nil, &statusError{code: res.StatusCode, body: text}
}

// eventError is a record that is no event; those after it may be.
type eventError struct{ err error }

func (e *eventError) Error() string { return e.err.Error() }
func (e *eventError) Unwrap() error { return e.err }

func decode(frames *frameReader, event encoding.Unmarshaler) error {
	record, err := frames.ReadFrame()
	if err != nil {
		return err
	}
	// Unmarshal copies what it keeps of the record.
	if err := proto.Unmarshal(record, event.(proto.Message)); err != nil {
		return &eventError{fmt.Errorf("event of %d bytes: %w", len(record), err)}
	}
	return nil
}

// subscribe opens a stream at one master.
func (d *Driver) subscribe(ctx context.Context, master string) (*session, error) {
	streamClient := newHTTPClient(d.config.RootCAs, d.config.CallTimeout)
	ctx, cancel := context.WithCancel(ctx)
	res, err := d.newClient(master, streamClient).Send(client.RequestSingleton(d.config.Subscribe()),
		client.ResponseClassAuto, httpcli.Context(ctx), httpcli.Close(true))
	if err == nil && res == nil {
		err = errors.New("the answer is not an event stream")
	}
	if err != nil {
		cancel()
		streamClient.CloseIdleConnections()
		return nil, fmt.Errorf("subscribe at master %s: %w", master, classify(err))
	}
	calls := newHTTPClient(d.config.RootCAs, d.config.CallTimeout)
	s := &session{
		d: d, leader: master, stream: res, cancel: cancel,
		streamID: res.(*httpcli.Response).Header.Get(streamIDHeader),
		http:     calls, client: d.newClient(master, calls),
		wake: make(chan struct{}, 1),
	}
	s.idle = sync.NewCond(&s.mu)
	return s, nil
}

// classify marks what trying again cannot change. 503 and 404 (a master's first
// moments) pass, like everything that is not an answer at all.
func classify(err error) error {
	var status *statusError
	if !errors.As(err, &status) {
		return err
	}
	switch status.code {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w (--principal, --secret-file): %w", ErrUnauthorized, err)
	case http.StatusForbidden, http.StatusBadRequest, http.StatusNotAcceptable,
		http.StatusUnsupportedMediaType, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return err
}

// serve hands on events until the stream ends, and says why it ended.
func (d *Driver) serve(ctx context.Context, s *session) error {
	lost := make(chan error, 1) // why the sender gave up
	var wg sync.WaitGroup
	sendCtx, stopSending := context.WithCancel(ctx)
	wg.Go(func() {
		if err := s.sendQueued(sendCtx); err != nil {
			lost <- err
			s.cancel()
		}
	})
	silence := firstSilence
	var silent sync.Once
	died := make(chan struct{})
	watchdog := time.AfterFunc(silence, func() {
		silent.Do(func() { close(died) })
		s.cancel()
	})
	defer func() {
		d.setSession(nil)
		watchdog.Stop()
		stopSending()
		s.close()
		wg.Wait()
	}()
	for {
		event := new(scheduler.Event)
		if err := s.stream.Decode(event); err != nil {
			var bad *eventError
			if errors.As(err, &bad) {
				// A new stream would not help: what an agent sends until it is
				// acknowledged would be the end of that one, too.
				d.log.Warn("event of the master cannot be decoded, ignored", "error", err)
				continue
			}
			select {
			case cause := <-lost:
				return cause
			case <-died:
				return fmt.Errorf("master %s: no event and no heartbeat for %v", s.leader, silence)
			default:
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("the master closed the stream")
			}
			return fmt.Errorf("event stream of master %s: %w", s.leader, err)
		}
		if e := event.Subscribed; event.Type == scheduler.Event_SUBSCRIBED && e != nil {
			if interval := e.GetHeartbeatIntervalSeconds(); interval > 0 && interval < 1e6 {
				silence = time.Duration(float64(d.config.HeartbeatsMissed) * interval * float64(time.Second))
			}
			d.setSession(s)
		}
		watchdog.Reset(silence)
		u, _ := url.Parse(s.leader)
		d.config.Handle(Event{Mesos: event, Master: u.Host})
	}
}

func (s *session) enqueue(calls []*scheduler.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.queue = append(s.queue, calls...)
	s.total += len(calls)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) close() {
	s.cancel()
	_ = s.stream.Close()
	s.http.CloseIdleConnections()
	s.mu.Lock()
	s.closed, s.queue = true, nil
	s.idle.Broadcast()
	s.mu.Unlock()
}

func (s *session) flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		s.idle.Broadcast()
		s.mu.Unlock()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for target := s.total; s.sent < target; s.idle.Wait() {
		if s.closed {
			return errSubscriptionLost
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// wasSent says whether every call was at least on its way.
func (s *session) wasSent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken == s.total
}

// sendQueued sends the queued calls one after the other: with several in flight the
// order in which they arrive would be anybody's guess. It returns an error when the
// subscription is lost, nil when ctx ends.
func (s *session) sendQueued(ctx context.Context) error {
	for {
		s.mu.Lock()
		var call *scheduler.Call
		if len(s.queue) > 0 {
			call = s.queue[0]
			s.queue = s.queue[1:]
			s.taken++
		}
		s.mu.Unlock()
		if call == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-s.wake:
			}
			continue
		}
		err := s.send(ctx, call)
		s.mu.Lock()
		s.sent++
		s.idle.Broadcast()
		s.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send sends one call. An error means that the subscription is lost.
func (s *session) send(ctx context.Context, call *scheduler.Call) error {
	attempts := callAttempts
	if call.Type == scheduler.Call_ACCEPT {
		// A second ACCEPT of the same offer would be answered by TASK_DROPPED for
		// tasks that the first one launched. Rather subscribe again and reconcile.
		attempts = 1
	}
	for attempt := 1; ; attempt++ {
		err := s.post(ctx, call)
		var status *statusError
		var to *redirect
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case errors.As(err, &to):
			return fmt.Errorf("%s call: %w", call.Type, err)
		case errors.As(err, &status):
			if lossOf(status) {
				return fmt.Errorf("subscription at master %s is lost: %s call: %w", s.leader, call.Type, err)
			}
			// The master understood and did not like it. Nothing gets better by
			// saying it again.
			s.d.log.Error("master refuses a call", "call", call.Type.String(), "error", err)
			return nil
		case attempt >= attempts:
			return fmt.Errorf("%s call to master %s: %w", call.Type, s.leader, err)
		}
		s.d.log.Warn("call to the master failed; trying again", "call", call.Type.String(), "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
		}
	}
}

func (s *session) post(ctx context.Context, call *scheduler.Call) error {
	ctx, cancel := context.WithTimeout(ctx, s.d.config.CallTimeout)
	defer cancel()
	res, err := s.client.Send(client.RequestSingleton(call), client.ResponseClassAuto,
		httpcli.Context(ctx), httpcli.Header(streamIDHeader, s.streamID))
	if res != nil {
		_ = res.Close()
	}
	return err
}

// lossOf says whether an answer to a call means that the subscription is gone. 403
// is a framework that is not connected; with 400 the text decides (mesos-semantics
// §2.1, rows 12 to 17): the master knows no such framework, or another stream of it.
func lossOf(e *statusError) bool {
	switch e.code {
	case http.StatusForbidden, http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusNotFound:
		return true
	case http.StatusBadRequest:
		return strings.Contains(e.body, "Framework cannot be found") ||
			strings.Contains(e.body, "stream ID") || strings.Contains(e.body, streamIDHeader) ||
			strings.Contains(e.body, "does not match principal")
	}
	return false
}
