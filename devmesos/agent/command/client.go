package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/devmesos/internal/wire"
)

const (
	callPatience = 5 * time.Second // for the answer to an update
	maxRecord    = 64 << 20
)

// errUnknown says that the agent knows nothing of this executor, and never will.
var errUnknown = errors.New("the agent does not know this executor")

// client speaks the agent's executor API, in protobuf.
type client struct {
	endpoint, framework, executor, token string

	http   *http.Client
	inputs chan input
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

func (c *client) stream(ctx context.Context, call *executorapi.Call) error {
	answer, err := c.post(ctx, call)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		err := refused(answer)
		if answer.StatusCode == http.StatusBadRequest {
			err = errors.Join(errUnknown, err)
		}
		return err
	}
	for in := bufio.NewReader(answer.Body); ; {
		event := new(executorapi.Event)
		record, err := readRecord(in)
		if err == nil {
			err = wire.Protobuf.Unmarshal(record, event)
		}
		if err != nil {
			return err
		}
		c.inputs <- input{event: event}
	}
}

// readRecord reads a RecordIO record: its length in decimal digits, a newline, its bytes.
func readRecord(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(line, "\n"), 10, 31)
	if err != nil || n > maxRecord {
		return nil, fmt.Errorf("%q is no length of a record", line)
	}
	record := make([]byte, n)
	_, err = io.ReadFull(in, record)
	return record, err
}

// update sends an update and waits until the agent has taken it.
func (c *client) update(update executorapi.Call_Update) error {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	answer, err := c.post(ctx, &executorapi.Call{Type: executorapi.Call_UPDATE, Update: &update})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		return refused(answer)
	}
	return nil
}

func (c *client) post(ctx context.Context, call *executorapi.Call) (*http.Response, error) {
	call.FrameworkID, call.ExecutorID = mesos.FrameworkID{Value: c.framework}, mesos.ExecutorID{Value: c.executor}
	body, err := wire.Protobuf.Marshal(call)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.endpoint+"/api/v1/executor", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", wire.Protobuf.MediaType())
	request.Header.Set("Accept", wire.Protobuf.MediaType())
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(request)
}

func refused(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1024)) // whatever of it there is
	return fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(text))
}
