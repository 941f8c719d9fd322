package master

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
	"lode/devmesos/internal/wire"
)

// memStream is the client's side of a request that is served without a network.
type memStream struct {
	header http.Header
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	code  int
	body  bytes.Buffer
	parse int // bytes of body that are parsed
	heard []heardEvent
}

type heardEvent struct {
	at   time.Time
	body any
}

// serve has a handler serve a request.
func serve(t *testing.T, h http.Handler, method, path string, header http.Header, body []byte) *memStream {
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, method, "http://master"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	s := &memStream{header: make(http.Header), cancel: cancel, done: make(chan struct{})}
	t.Cleanup(func() {
		cancel()
		<-s.done
	})
	go func() {
		defer close(s.done)
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard = append(s.heard, heardEvent{time.Now(), map[string]any{"type": "(EOF)"}})
		}()
		h.ServeHTTP(s, request)
	}()
	return s
}

func (s *memStream) Header() http.Header { return s.header }

func (s *memStream) WriteHeader(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code == 0 {
		s.code = code
	}
}

func (s *memStream) Write(b []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body.Write(b)
	s.parseRecords()
	return len(b), nil
}

func (s *memStream) FlushError() error { return nil }

func (s *memStream) parseRecords() {
	if s.header.Get("Content-Length") != "" {
		return
	}
	codec := wire.JSON
	if s.header.Get("Content-Type") == wire.Protobuf.MediaType() {
		codec = wire.Protobuf
	}
	for {
		rest := s.body.Bytes()[s.parse:]
		line, record, ok := bytes.Cut(rest, []byte("\n"))
		n, err := strconv.Atoi(string(line))
		if !ok || err != nil || len(record) < n {
			return
		}
		s.parse += len(line) + 1 + n
		s.heard = append(s.heard, heardEvent{time.Now(), decodeEvent(codec, record[:n])})
	}
}

func decodeEvent(codec wire.Codec, record []byte) any {
	if codec == wire.Protobuf {
		var event scheduler.Event
		if err := codec.Unmarshal(record, &event); err != nil {
			return err.Error()
		}
		record, _ = wire.JSON.Marshal(&event)
	}
	var v any
	if err := json.Unmarshal(record, &v); err != nil {
		return err.Error()
	}
	return v
}

func (s *memStream) status() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code == 0 {
		return http.StatusOK
	}
	return s.code
}

func (s *memStream) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body.String()
}

// wait returns the body of an answer that ends.
func (s *memStream) wait() string {
	<-s.done
	return s.text()
}

func (s *memStream) events() []heardEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]heardEvent(nil), s.heard...)
}

// fakeAgent is an agent that runs nothing: tests say what happens on it. It keeps
// what a real one would report.
type fakeAgent struct {
	info     mesos.AgentInfo
	endpoint string

	mu         sync.Mutex
	id         string
	master     link.Master
	silent     bool // pings are not answered
	tasks      []*fakeTask
	executors  map[string]link.Executor
	frameworks map[string]mesos.FrameworkInfo
	calls      []string // what the master said
	registered chan struct{}
}

type fakeTask struct {
	link.Task
	unacked []mesos.TaskStatus
}

func newFakeAgent(endpoint, attributes, has string) *fakeAgent {
	set, err := resources.Parse(has)
	if err != nil {
		panic(err)
	}
	a := &fakeAgent{
		endpoint: endpoint, executors: make(map[string]link.Executor), frameworks: make(map[string]mesos.FrameworkInfo),
		registered: make(chan struct{}, 10),
	}
	_, port, _ := cutPort(endpoint)
	a.info = mesos.AgentInfo{Hostname: "127.0.0.1", Port: &port, Resources: set.Proto()}
	if attributes != "" {
		a.info.Attributes = []mesos.Attribute{{Name: "node", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: attributes}}}
	}
	return a
}

func cutPort(endpoint string) (string, int32, error) {
	i := len(endpoint) - 5
	n, err := strconv.ParseInt(endpoint[i:], 10, 32)
	return endpoint[:i-1], int32(n), err
}

// join registers with a master and waits for the answer.
func (a *fakeAgent) join(m link.Master) {
	a.mu.Lock()
	a.master = m
	id := a.id
	a.mu.Unlock()
	if id == "" {
		m.RegisterAgent(a, a.info)
	} else {
		m.ReregisterAgent(a, a.reregistration())
	}
	<-a.registered
}

func (a *fakeAgent) reregistration() link.Reregistration {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := link.Reregistration{ID: mesos.AgentID{Value: a.id}, Info: a.info}
	for _, info := range a.frameworks {
		r.Frameworks = append(r.Frameworks, info)
	}
	for _, e := range a.executors {
		r.Executors = append(r.Executors, e)
	}
	for _, t := range a.tasks {
		task := t.Task
		task.Unacked = t.unacked
		r.Tasks = append(r.Tasks, task)
	}
	return r
}

func (a *fakeAgent) note(call string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, call)
}

func (a *fakeAgent) Registered(_ link.Master, id mesos.AgentID) {
	a.mu.Lock()
	a.id = id.Value
	a.mu.Unlock()
	a.registered <- struct{}{}
}

func (a *fakeAgent) Reregistered(link.Master, mesos.AgentID) { a.registered <- struct{}{} }

func (a *fakeAgent) Ping(m link.Master) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.silent {
		m.Pong(mesos.AgentID{Value: a.id})
	}
}

func (a *fakeAgent) RunTask(r link.RunTask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, "run "+r.Task.TaskID.Value)
	a.frameworks[r.Framework.ID.Value] = r.Framework
	e := r.Task.Executor
	a.executors[e.ExecutorID.Value] = link.Executor{FrameworkID: *r.Framework.ID, Info: *e}
	a.tasks = append(a.tasks, &fakeTask{Task: link.Task{
		FrameworkID: *r.Framework.ID, Info: r.Task, ExecutorID: e.ExecutorID, State: mesos.TASK_STAGING,
	}})
}

func (a *fakeAgent) find(task string) *fakeTask {
	for _, t := range a.tasks {
		if t.Info.TaskID.Value == task {
			return t
		}
	}
	return nil
}

// frameworkOf is the framework of a task; of one that is not known, that of any.
func (a *fakeAgent) frameworkOf(task string) mesos.FrameworkID {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.find(task); t != nil {
		return t.FrameworkID
	}
	for _, info := range a.frameworks {
		return *info.ID
	}
	return mesos.FrameworkID{}
}

func (a *fakeAgent) frameworkOfExecutor(executor string) mesos.FrameworkID {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.executors[executor].FrameworkID
}

// report sends an update to the master, and remembers it.
func (a *fakeAgent) report(framework mesos.FrameworkID, status mesos.TaskStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	latest := status.GetState()
	if t := a.find(status.TaskID.Value); t != nil {
		t.State = latest
		t.Status = &status
		t.unacked = []mesos.TaskStatus{status}
	}
	a.master.StatusUpdate(mesos.AgentID{Value: a.id}, link.Update{FrameworkID: framework, ExecutorID: *status.ExecutorID, Status: status, LatestState: latest})
}

// resend sends the head of a task's updates again.
func (a *fakeAgent) resend(t *fakeTask) {
	if len(t.unacked) > 0 {
		a.master.StatusUpdate(mesos.AgentID{Value: a.id}, link.Update{FrameworkID: t.FrameworkID, ExecutorID: t.ExecutorID, Status: t.unacked[0], LatestState: t.State})
	}
}

func (a *fakeAgent) exited(executor string, status int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	framework := a.executors[executor].FrameworkID
	delete(a.executors, executor)
	a.master.ExitedExecutor(mesos.AgentID{Value: a.id}, framework, mesos.ExecutorID{Value: executor}, status)
}

func (a *fakeAgent) KillTask(_ mesos.FrameworkID, task mesos.TaskID, _ *mesos.KillPolicy) {
	a.note("kill " + task.Value)
}

func (a *fakeAgent) ShutdownExecutor(_ mesos.FrameworkID, executor mesos.ExecutorID) {
	a.note("shutdown executor " + executor.Value)
}

func (a *fakeAgent) ShutdownFramework(framework mesos.FrameworkID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, "shutdown framework "+framework.Value)
	kept := a.tasks[:0]
	for _, t := range a.tasks {
		if t.FrameworkID != framework {
			kept = append(kept, t)
		}
	}
	a.tasks = kept
	for id, e := range a.executors {
		if e.FrameworkID == framework {
			delete(a.executors, id)
		}
	}
	delete(a.frameworks, framework.Value)
}

func (a *fakeAgent) AcknowledgeUpdate(_ mesos.FrameworkID, task mesos.TaskID, uuid []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, "acknowledge "+task.Value)
	for i, t := range a.tasks {
		if t.Info.TaskID == task && len(t.unacked) > 0 && bytes.Equal(t.unacked[0].UUID, uuid) {
			t.unacked = nil
			if isTerminal(t.State) {
				a.tasks = append(a.tasks[:i], a.tasks[i+1:]...)
			}
			return
		}
	}
}

func (a *fakeAgent) FrameworkMessage(_ mesos.FrameworkID, executor mesos.ExecutorID, data []byte) {
	a.note("message " + executor.Value + " " + string(data))
}

func (a *fakeAgent) UpdateFramework(info mesos.FrameworkInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.frameworks[info.ID.Value]; known {
		a.frameworks[info.ID.Value] = info
	}
}

func (a *fakeAgent) FrameworkReregistered(framework mesos.FrameworkID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, "framework again "+framework.Value)
	for _, t := range a.tasks {
		if t.FrameworkID == framework {
			a.resend(t)
		}
	}
}

func (a *fakeAgent) Drain(*time.Duration, bool) { a.note("drain") }

func (a *fakeAgent) Shutdown(reason string) { a.note("shutdown " + reason) }

func (a *fakeAgent) Endpoint() string { return a.endpoint }

func (a *fakeAgent) Hostname() string { return a.info.Hostname }

// heardCalls lists what the master said.
func (a *fakeAgent) heardCalls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.calls...)
}
