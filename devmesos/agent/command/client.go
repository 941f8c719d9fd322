package command

import (
	"context"
	"errors"
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/mesoswire"
)

const (
	callPatience      = 5 * time.Second // for the answer to an update
	subscribePatience = 30 * time.Second
)

// errUnknown says that the agent knows nothing of this executor, and never will.
var errUnknown = errors.New("the agent does not know this executor")

// client speaks the agent's executor API.
type client struct {
	framework, executor string

	wire   *mesoswire.Client
	inputs chan input
}

func newClient(endpoint, framework, executor, token string) (*client, error) {
	config := mesoswire.Config{URL: "http://" + endpoint + "/api/v1/executor", MaxRecord: 64 << 20} // proxies are for the task
	if token != "" {
		config.Authorization = "Bearer " + token
	}
	wire, err := mesoswire.NewClient(config)
	if err != nil {
		return nil, err
	}
	return &client{framework: framework, executor: executor, wire: wire, inputs: make(chan input)}, nil
}

// input is an event of a subscription, or with an error its end.
type input struct {
	event *executorapi.Event
	err   error
}

// subscribe begins a subscription, whose events and end come in as inputs.
func (c *client) subscribe(ctx context.Context, call *executorapi.Call_Subscribe) {
	err := c.stream(ctx, &executorapi.Call{Type: executorapi.Call_SUBSCRIBE, Subscribe: call})
	c.inputs <- input{err: err}
}

var decoder = mesoswire.NewDecoder(new(executorapi.Event))

func (c *client) stream(ctx context.Context, call *executorapi.Call) error {
	s, err := c.wire.Subscribe(ctx, c.signed(call), subscribePatience)
	if err != nil {
		var status *mesoswire.StatusError
		if errors.As(err, &status) && status.Code == http.StatusBadRequest {
			err = errors.Join(errUnknown, err)
		}
		return err
	}
	defer s.Close()
	for {
		event := new(executorapi.Event)
		record, err := s.Next()
		if err == nil {
			err = decoder.Decode(record, event)
		}
		if err != nil {
			return err
		}
		s.Alive(0)
		c.inputs <- input{event: event}
	}
}

// update sends an update and waits until the agent has taken it.
func (c *client) update(update executorapi.Call_Update) error {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	return c.wire.Call(ctx, c.signed(&executorapi.Call{Type: executorapi.Call_UPDATE, Update: &update}))
}

func (c *client) signed(call *executorapi.Call) *executorapi.Call {
	call.FrameworkID, call.ExecutorID = mesos.FrameworkID{Value: c.framework}, mesos.ExecutorID{Value: c.executor}
	return call
}
