package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
)

// The master and the agent compare Content-Type with exactly this string.
const mediaType = "application/x-protobuf"

// client makes the HTTP exchanges with one agent.
type client struct {
	cfg    Config
	url    string
	http   *http.Client
	closer transport
}

func newClient(cfg Config) (*client, error) {
	c := &client{cfg: cfg, url: "http://" + cfg.AgentEndpoint + "/api/v1/executor"}
	rt := cfg.Transport
	if rt == nil {
		t := &http.Transport{
			// No HTTP proxy stands between an executor and its agent, and the
			// agent speaks neither HTTP/2 nor gzip on streams.
			Proxy:                 nil,
			DisableCompression:    true,
			ResponseHeaderTimeout: callTimeout,
			IdleConnTimeout:       2 * heartbeatInterval,
			MaxIdleConnsPerHost:   1,
			Protocols:             new(http.Protocols),
		}
		t.Protocols.SetHTTP1(true)
		dialer := &net.Dialer{Timeout: callTimeout, KeepAlive: 15 * time.Second}
		t.DialContext = dialer.DialContext
		switch {
		case cfg.DomainSocket != "":
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", cfg.DomainSocket)
			}
			c.url = "http://localhost/api/v1/executor"
		case cfg.TLS != nil:
			c.url = "https://" + cfg.AgentEndpoint + "/api/v1/executor"
			t.TLSClientConfig = cfg.TLS
			t.TLSHandshakeTimeout = callTimeout
		}
		rt, c.closer = t, t
	}
	c.http = &http.Client{
		Transport: rt,
		// An agent never redirects.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if _, err := http.NewRequest(http.MethodPost, c.url, nil); err != nil {
		return nil, fmt.Errorf("MESOS_AGENT_ENDPOINT %q: %w", cfg.AgentEndpoint, err)
	}
	return c, nil
}

func (c *client) close() {
	if c.closer != nil {
		c.closer.CloseIdleConnections()
	}
}

func (c *client) post(ctx context.Context, call *executor.Call) (*http.Response, error) {
	body, err := call.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %v: %w", call.Type, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	req.Header.Set("User-Agent", "lode-executor")
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", call.Type, err)
	}
	return resp, nil
}

// call makes a call that is answered by 202.
func (c *client) call(ctx context.Context, call *executor.Call) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.post(ctx, call)
	if err != nil {
		return err
	}
	return finish(call, resp, http.StatusAccepted)
}

// subscribe opens the stream of events.
func (c *client) subscribe(ctx context.Context, tasks []mesos.TaskInfo, updates []executor.Call_Update) (*stream, error) {
	call := &executor.Call{
		Type:        executor.Call_SUBSCRIBE,
		FrameworkID: mesos.FrameworkID{Value: c.cfg.FrameworkID},
		ExecutorID:  mesos.ExecutorID{Value: c.cfg.ExecutorID},
		Subscribe:   &executor.Call_Subscribe{UnacknowledgedTasks: tasks, UnacknowledgedUpdates: updates},
	}
	// The limit is for the header only: the stream has no end.
	ctx, cancel := context.WithCancelCause(ctx)
	limit := time.AfterFunc(callTimeout, func() { cancel(fmt.Errorf("no answer within %v", callTimeout)) })
	resp, err := c.post(ctx, call)
	if err == nil && !limit.Stop() {
		resp.Body.Close()
		err = errors.New("SUBSCRIBE")
	}
	if err != nil {
		limit.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		err := finish(call, resp, http.StatusOK)
		cancel(nil)
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); got != mediaType {
		resp.Body.Close()
		cancel(nil)
		return nil, fmt.Errorf("SUBSCRIBE: the stream is of type %q, expected %s: is this a Mesos agent?", got, mediaType)
	}
	return &stream{records: newRecords(resp.Body), body: resp.Body, cancel: cancel}, nil
}

// finish reads and closes the answer to a call.
func finish(call *executor.Call, resp *http.Response, want int) error {
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode == want {
		return nil
	}
	return &statusError{call: call.Type, code: resp.StatusCode, text: strings.TrimSpace(string(text))}
}

// stream is the answer to SUBSCRIBE.
type stream struct {
	records *records
	body    io.Closer
	cancel  context.CancelCauseFunc
	once    sync.Once
}

func (s *stream) close() {
	s.once.Do(func() {
		s.cancel(nil)
		s.body.Close()
	})
}

// eventError is a record that is no event; those after it may be.
type eventError struct{ err error }

func (e *eventError) Error() string { return e.err.Error() }
func (e *eventError) Unwrap() error { return e.err }

func (s *stream) next() (*executor.Event, error) {
	record, err := s.records.next()
	if err != nil {
		return nil, err
	}
	return decodeEvent(record)
}

func decodeEvent(record []byte) (*executor.Event, error) {
	// Unmarshal keeps nothing of the record: it copies bytes fields.
	event := new(executor.Event)
	if err := event.Unmarshal(record); err != nil {
		return nil, &eventError{fmt.Errorf("event of %d bytes: %w", len(record), err)}
	}
	return event, nil
}

// kind is what a refusal means for the executor.
type kind int

const (
	retry        kind = iota // the agent is not ready: try again
	forgotten                // the agent has no such executor: end
	unauthorized             // the token is wrong: end
	unsubscribed             // subscribe first
	invalid                  // this call will never be taken
)

// statusError is an answer with an unexpected status code.
type statusError struct {
	call executor.Call_Type
	code int
	text string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%v: the agent answers %d %s: %s", e.call, e.code, http.StatusText(e.code), e.text)
}

func (e *statusError) kind() kind {
	switch e.code {
	case http.StatusBadRequest:
		if strings.Contains(e.text, "cannot be found") {
			return forgotten
		}
		return invalid
	case http.StatusUnauthorized:
		return unauthorized
	case http.StatusForbidden:
		if strings.Contains(e.text, "is not subscribed") {
			return unsubscribed
		}
		return unauthorized
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
		http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
		return invalid
	}
	return retry // 503 while it recovers, 404 before its routes are installed, …
}
