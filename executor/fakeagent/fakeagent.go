// Package fakeagent is a scripted Mesos agent for tests: it records an executor's
// calls and sends it the events that the test wants. It works as an http.Handler
// and, without network, as an http.RoundTripper (for testing/synctest).
package fakeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
)

const mediaType = "application/x-protobuf"

// Agent is the fake. Its fields are set before it is used.
type Agent struct {
	// AutoAck acknowledges each update when it arrives, as agents do.
	AutoAck bool
	// Answer decides the status of a call; code 0: as a good agent; Refuse: the
	// connection is refused (RoundTrip only).
	Answer func(call *executor.Call, req *http.Request) (code int, body string)
	// Subscribed is sent first on each stream; nil: nothing is.
	Subscribed *executor.Event

	t     testing.TB
	calls chan *executor.Call

	mu      sync.Mutex
	down    bool
	current *events
	streams int
	headers []http.Header
}

// events is one stream.
type events struct {
	frames chan []byte
	once   sync.Once
	done   chan struct{}
}

func (e *events) end() { e.once.Do(func() { close(e.done) }) }

// New makes an agent that acknowledges and greets.
func New(t testing.TB) *Agent {
	id := mesos.AgentID{Value: "agent-S0"}
	return &Agent{
		AutoAck: true,
		Subscribed: &executor.Event{Type: executor.Event_SUBSCRIBED, Subscribed: &executor.Event_Subscribed{
			ExecutorInfo:  mesos.ExecutorInfo{ExecutorID: mesos.ExecutorID{Value: "executor"}},
			FrameworkInfo: mesos.FrameworkInfo{User: "root", Name: "lode"},
			AgentInfo:     mesos.AgentInfo{Hostname: "localhost", ID: &id},
		}},
		t:     t,
		calls: make(chan *executor.Call, 4096),
	}
}

// Next returns the next call but for those of the types to skip.
func (a *Agent) Next(ctx context.Context, skip ...executor.Call_Type) *executor.Call {
	a.t.Helper()
	for {
		select {
		case call := <-a.calls:
			if !contains(skip, call.Type) {
				return call
			}
		case <-ctx.Done():
			a.t.Fatalf("no call of the executor: %v", context.Cause(ctx))
		}
	}
}

// NextOf returns the next call of a type and forgets the others before it.
func (a *Agent) NextOf(ctx context.Context, want executor.Call_Type) *executor.Call {
	a.t.Helper()
	for {
		if call := a.Next(ctx); call.Type == want {
			return call
		}
	}
}

// NextState expects the next update to be of a state.
func (a *Agent) NextState(ctx context.Context, want mesos.TaskState) mesos.TaskStatus {
	a.t.Helper()
	status := a.NextOf(ctx, executor.Call_UPDATE).Update.Status
	if status.GetState() != want {
		a.t.Fatalf("update %v %q, expected %v", status.GetState(), status.GetMessage(), want)
	}
	return status
}

func contains(types []executor.Call_Type, t executor.Call_Type) bool {
	for _, x := range types {
		if x == t {
			return true
		}
	}
	return false
}

// Forget drops the calls that were not looked at.
func (a *Agent) Forget() {
	for {
		select {
		case <-a.calls:
		default:
			return
		}
	}
}

// Streams is how many SUBSCRIBEs were granted.
func (a *Agent) Streams() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams
}

// Headers are those of all calls so far.
func (a *Agent) Headers() []http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]http.Header(nil), a.headers...)
}

// Down makes the agent refuse connections, or not; going down ends the stream.
func (a *Agent) Down(down bool) {
	a.mu.Lock()
	a.down = down
	a.mu.Unlock()
	if down {
		a.Break()
	}
}

// Break ends the stream.
func (a *Agent) Break() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != nil {
		a.current.end()
		a.current = nil
	}
}

// Send sends an event.
func (a *Agent) Send(event *executor.Event) {
	a.t.Helper()
	record, err := event.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	a.SendRaw(Record(record))
}

// Record frames a record as RecordIO.
func Record(record []byte) []byte {
	return append(fmt.Appendf(nil, "%d\n", len(record)), record...)
}

// SendRaw writes bytes to the stream.
func (a *Agent) SendRaw(frame []byte) {
	a.mu.Lock()
	current := a.current
	a.mu.Unlock()
	if current == nil {
		return
	}
	select {
	case current.frames <- frame:
	case <-current.done:
	}
}

// Launch sends LAUNCH.
func (a *Agent) Launch(task mesos.TaskInfo) {
	a.Send(&executor.Event{Type: executor.Event_LAUNCH, Launch: &executor.Event_Launch{Task: task}})
}

// Kill sends KILL; grace < 0: without a policy.
func (a *Agent) Kill(task string, graceNanoseconds int64) {
	kill := &executor.Event_Kill{TaskID: mesos.TaskID{Value: task}}
	if graceNanoseconds >= 0 {
		kill.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: graceNanoseconds}}
	}
	a.Send(&executor.Event{Type: executor.Event_KILL, Kill: kill})
}

// Acknowledge sends ACKNOWLEDGED for an update.
func (a *Agent) Acknowledge(status *mesos.TaskStatus) {
	a.Send(&executor.Event{Type: executor.Event_ACKNOWLEDGED, Acknowledged: &executor.Event_Acknowledged{
		TaskID: status.TaskID, UUID: status.UUID,
	}})
}

// Shutdown sends SHUTDOWN.
func (a *Agent) Shutdown() { a.Send(&executor.Event{Type: executor.Event_SHUTDOWN}) }

// Message sends MESSAGE.
func (a *Agent) Message(data []byte) {
	a.Send(&executor.Event{Type: executor.Event_MESSAGE, Message: &executor.Event_Message{Data: data}})
}

// handle judges a call; a stream is returned for a granted SUBSCRIBE.
func (a *Agent) handle(req *http.Request) (code int, body string, stream *events) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return http.StatusBadRequest, err.Error(), nil
	}
	call := new(executor.Call)
	switch {
	case req.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "Expecting 'POST'", nil
	case req.URL.Path != "/api/v1/executor":
		return http.StatusNotFound, "404 Not Found.", nil
	case req.Header.Get("Content-Type") != mediaType || req.Header.Get("Accept") != mediaType:
		return http.StatusUnsupportedMediaType, "media type", nil
	}
	if err := call.Unmarshal(data); err != nil {
		return http.StatusBadRequest, "Failed to parse body: " + err.Error(), nil
	}
	if err := validate(call); err != nil {
		a.t.Errorf("invalid call: %v", err)
		return http.StatusBadRequest, "Failed to validate executor::Call: " + err.Error(), nil
	}
	a.mu.Lock()
	a.headers = append(a.headers, req.Header.Clone())
	a.mu.Unlock()
	if a.Answer != nil {
		if code, body = a.Answer(call, req); code != 0 {
			a.calls <- call
			return code, body, nil
		}
	}
	if call.Type != executor.Call_SUBSCRIBE {
		a.calls <- call
		if call.Type == executor.Call_UPDATE && a.AutoAck {
			a.Acknowledge(&call.Update.Status)
		}
		return http.StatusAccepted, "", nil
	}
	stream = &events{frames: make(chan []byte, 4096), done: make(chan struct{})}
	a.mu.Lock()
	if a.current != nil {
		a.current.end()
	}
	a.current = stream
	a.streams++
	a.mu.Unlock()
	if a.Subscribed != nil {
		a.Send(a.Subscribed)
	}
	if a.AutoAck {
		for _, u := range call.Subscribe.UnacknowledgedUpdates {
			a.Acknowledge(&u.Status)
		}
	}
	a.calls <- call
	return http.StatusOK, "", stream
}

// validate checks what agents check (src/common/validation.cpp).
func validate(call *executor.Call) error {
	if call.FrameworkID.Value == "" || call.ExecutorID.Value == "" {
		return errors.New("ids missing")
	}
	check := func(s *mesos.TaskStatus) error {
		switch {
		case len(s.UUID) != 16 || s.UUID[6]>>4 < 1 || s.UUID[6]>>4 > 5:
			return fmt.Errorf("update uuid %x: want 16 bytes of a version from 1 to 5", s.UUID)
		case s.GetSource() != mesos.SOURCE_EXECUTOR:
			return errors.New("update source is not SOURCE_EXECUTOR")
		case s.GetState() == mesos.TASK_STAGING:
			return errors.New("update state TASK_STAGING")
		case s.ExecutorID != nil && s.ExecutorID.Value != call.ExecutorID.Value:
			return errors.New("update of another executor")
		}
		return nil
	}
	switch call.Type {
	case executor.Call_SUBSCRIBE:
		if call.Subscribe == nil {
			return errors.New("subscribe missing")
		}
		for _, u := range call.Subscribe.UnacknowledgedUpdates {
			if err := check(&u.Status); err != nil {
				return err
			}
		}
	case executor.Call_UPDATE:
		if call.Update == nil {
			return errors.New("update missing")
		}
		return check(&call.Update.Status)
	case executor.Call_MESSAGE:
		if call.Message == nil {
			return errors.New("message missing")
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (a *Agent) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	code, body, stream := a.handle(req)
	if stream == nil {
		w.WriteHeader(code)
		io.WriteString(w, body)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(code)
	flush := w.(http.Flusher)
	flush.Flush()
	for {
		select {
		case frame := <-stream.frames:
			w.Write(frame)
			flush.Flush()
		case <-stream.done:
			return
		case <-req.Context().Done():
			return
		}
	}
}

// Refuse as a code of Answer refuses the connection.
const Refuse = -1

// ErrRefused is what an agent that is down answers.
var ErrRefused = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (a *Agent) RoundTrip(req *http.Request) (*http.Response, error) {
	a.mu.Lock()
	down := a.down
	a.mu.Unlock()
	if down {
		return nil, ErrRefused
	}
	code, body, stream := a.handle(req)
	if code == Refuse {
		return nil, ErrRefused
	}
	resp := &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(body)),
	}
	if stream != nil {
		resp.Header.Set("Content-Type", mediaType)
		resp.Body = &clientBody{stream: stream, ctx: req.Context()}
	}
	return resp, nil
}

// clientBody is the client's end of a stream.
type clientBody struct {
	stream *events
	ctx    context.Context
	left   bytes.Reader
}

func (b *clientBody) Read(p []byte) (int, error) {
	for b.left.Len() == 0 {
		select {
		case frame := <-b.stream.frames:
			b.left.Reset(frame)
		default:
			select {
			case frame := <-b.stream.frames:
				b.left.Reset(frame)
			case <-b.stream.done:
				return 0, io.EOF
			case <-b.ctx.Done():
				return 0, b.ctx.Err()
			}
		}
	}
	return b.left.Read(p)
}

func (b *clientBody) Close() error { return nil }
