package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/mesoswire"
)

// client makes the HTTP exchanges with one agent.
type client struct {
	cfg  Config
	wire *mesoswire.Client
}

func newClient(cfg Config) (*client, error) {
	c := mesoswire.Config{
		URL: "http://" + cfg.AgentEndpoint + "/api/v1/executor", UserAgent: "lode-executor",
		Timeout: callTimeout, Transport: cfg.Transport,
		// No HTTP proxy stands between an executor and its agent.
	}
	switch {
	case cfg.DomainSocket != "":
		dialer := &net.Dialer{Timeout: callTimeout}
		c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", cfg.DomainSocket)
		}
		c.URL = "http://localhost/api/v1/executor"
	case cfg.TLS != nil:
		c.URL = "https://" + cfg.AgentEndpoint + "/api/v1/executor"
		c.TLS = cfg.TLS
	}
	if cfg.Token != "" {
		c.Authorization = "Bearer " + cfg.Token
	}
	wire, err := mesoswire.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("MESOS_AGENT_ENDPOINT %q: %w", cfg.AgentEndpoint, err)
	}
	return &client{cfg: cfg, wire: wire}, nil
}

func (c *client) close() { c.wire.Close() }

// call makes a call other than SUBSCRIBE.
func (c *client) call(ctx context.Context, call *executor.Call) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := c.wire.Call(ctx, call); err != nil {
		return fmt.Errorf("%v: %w", call.Type, err)
	}
	return nil
}

// subscribe opens the stream of events.
func (c *client) subscribe(ctx context.Context, tasks []mesos.TaskInfo, updates []executor.Call_Update) (*mesoswire.Stream, error) {
	call := &executor.Call{
		Type:        executor.Call_SUBSCRIBE,
		FrameworkID: mesos.FrameworkID{Value: c.cfg.FrameworkID},
		ExecutorID:  mesos.ExecutorID{Value: c.cfg.ExecutorID},
		Subscribe:   &executor.Call_Subscribe{UnacknowledgedTasks: tasks, UnacknowledgedUpdates: updates},
	}
	s, err := c.wire.Subscribe(ctx, call, greetingTimeout)
	if err != nil {
		return nil, fmt.Errorf("SUBSCRIBE: %w", err)
	}
	return s, nil
}

var decoder = mesoswire.NewDecoder(new(executor.Event))

func decodeEvent(record []byte) (*executor.Event, error) {
	event := new(executor.Event)
	if err := decoder.Decode(record, event); err != nil {
		return nil, err
	}
	return event, nil
}

// kind is what a refusal means for the executor.
type kind int

const (
	unanswered   kind = iota // there was no answer
	retry                    // the agent is not ready: try again
	forgotten                // the agent has no such executor: end
	unauthorized             // the token is wrong: end
	unsubscribed             // subscribe first
	invalid                  // this call will never be taken
)

// kindOf says what an error of a call means.
func kindOf(err error) kind {
	var e *mesoswire.StatusError
	if !errors.As(err, &e) {
		return unanswered
	}
	switch e.Code {
	case http.StatusBadRequest:
		if strings.Contains(e.Text, "cannot be found") {
			return forgotten
		}
		return invalid
	case http.StatusUnauthorized:
		return unauthorized
	case http.StatusForbidden:
		if strings.Contains(e.Text, "is not subscribed") {
			return unsubscribed
		}
		return unauthorized
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType,
		http.StatusRequestEntityTooLarge, http.StatusNotImplemented:
		return invalid
	}
	return retry // 503 while it recovers, 404 before its routes are installed, …
}
