package scheduler_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"go.uber.org/goleak"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/core"
	"lode/scheduler/internal/fakemaster"
	"lode/scheduler/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

const (
	patience     = 30 * time.Second
	nodePassword = "correct-horse-battery-staple"
	masterSecret = "principal-secret-0815"
)

// instance is a scheduler that runs in a test.
type instance struct {
	t      *testing.T
	s      *scheduler.Scheduler
	master *fakemaster.Master
	config scheduler.Config
	result chan error
	stop   context.CancelFunc
	log    *lockedBuffer
	events chan scheduler.Event
	ends   map[string]*message.Sealer // of the executors, by task
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func config(t *testing.T, masters ...string) scheduler.Config {
	t.Helper()
	executor := filepath.Join(t.TempDir(), "lode-executor")
	if err := os.WriteFile(executor, []byte("pretended executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	return scheduler.Config{
		Masters: masters, StateDir: filepath.Join(t.TempDir(), "state"), Listen: "127.0.0.1:0",
		Executor: executor, User: "nobody", Roles: []string{"mining"}, ProxyGrace: scheduler.DefaultProxyGrace,
		PayoutAddress: "sb1qexample",
		Upstreams:     []scheduler.Upstream{{URL: "node:http://127.0.0.1:1", User: "rpc", Password: nodePassword}},
	}
}

// run starts a scheduler with the config. prepare may change it before it runs.
func run(t *testing.T, master *fakemaster.Master, c scheduler.Config, prepare ...func(*scheduler.Scheduler)) *instance {
	t.Helper()
	i := &instance{
		t: t, master: master, result: make(chan error, 1), log: new(lockedBuffer), events: make(chan scheduler.Event, 10000),
	}
	c.Logger = slog.New(slog.NewTextHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.OnEvent = func(e scheduler.Event) { i.events <- e }
	i.config = c
	s, err := scheduler.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.s, i.stop = s, cancel
	var wg sync.WaitGroup
	wg.Go(func() { i.result <- s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return i
}

func start(t *testing.T) *instance {
	t.Helper()
	m := fakemaster.New(t)
	return run(t, m, config(t, m.URL()))
}

// call waits for a call of the type and passes over others.
func (i *instance) call(want mesossched.Call_Type) *mesossched.Call {
	i.t.Helper()
	for {
		select {
		case c := <-i.master.Calls:
			if c.Type == want {
				return c
			}
		case <-time.After(patience):
			i.t.Fatalf("no %s call; log:\n%s", want, i.log)
		}
	}
}

func (i *instance) ended() error {
	i.t.Helper()
	select {
	case err := <-i.result:
		return err
	case <-time.After(patience):
		i.t.Fatalf("the scheduler goes on; log:\n%s", i.log)
		return nil
	}
}

func (i *instance) subscribe() {
	i.t.Helper()
	i.call(mesossched.Call_SUBSCRIBE)
	i.master.Send(fakemaster.Subscribed("F1", 15))
}

func (i *instance) stored() *core.State {
	i.t.Helper()
	values, err := store.Read(i.config.StateDir)
	if err != nil {
		i.t.Fatal(err)
	}
	s, err := core.RestoreState(values)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

// offer sends an offer of an agent with plenty of everything.
func (i *instance) offer(id, agent string) {
	scalar, ranges, role := mesos.SCALAR, mesos.RANGES, "mining"
	allocation := &mesos.Resource_AllocationInfo{Role: &role}
	amount := func(name string, v float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: &scalar, Scalar: &mesos.Value_Scalar{Value: v}, AllocationInfo: allocation}
	}
	i.master.Send(&mesossched.Event{Type: mesossched.Event_OFFERS, Offers: &mesossched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: id}, FrameworkID: mesos.FrameworkID{Value: "F1"}, AgentID: mesos.AgentID{Value: agent},
		Hostname: "host-" + agent, AllocationInfo: allocation,
		Resources: []mesos.Resource{amount("cpus", 4), amount("mem", 4096), {
			Name: "ports", Type: &ranges, AllocationInfo: allocation,
			Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 31000, End: 31009}}},
		}},
	}}}})
}

func (i *instance) update(task mesos.TaskInfo, state mesos.TaskState) (uuid []byte) {
	uuid = []byte(fmt.Sprintf("%-16s", state))[:16]
	source := mesos.SOURCE_EXECUTOR
	i.master.Send(&mesossched.Event{Type: mesossched.Event_UPDATE, Update: &mesossched.Event_Update{Status: mesos.TaskStatus{
		TaskID: task.TaskID, State: &state, AgentID: &task.AgentID, ExecutorID: &task.Executor.ExecutorID, UUID: uuid, Source: &source,
	}}})
	return uuid
}

func (i *instance) say(task mesos.TaskInfo, m *message.ToScheduler) {
	m.Version, m.TaskId = message.Version, task.TaskID.Value
	b, err := i.end(task).Seal(m)
	if err != nil {
		i.t.Fatal(err)
	}
	i.master.Send(&mesossched.Event{Type: mesossched.Event_MESSAGE, Message: &mesossched.Event_Message{
		AgentID: task.AgentID, ExecutorID: task.Executor.ExecutorID, Data: b,
	}})
}

// end is the executor's end of the link of a task.
func (i *instance) end(task mesos.TaskInfo) *message.Sealer {
	i.t.Helper()
	id := task.TaskID.Value
	if i.ends[id] == nil {
		spec, err := message.DecodeTask(task.Data)
		if err != nil {
			i.t.Fatal(err)
		}
		if i.ends == nil {
			i.ends = make(map[string]*message.Sealer)
		}
		i.ends[id] = message.ExecutorEnd(spec.Link.Key, spec.Link.Session)
	}
	return i.ends[id]
}

// heard reads the next framework message, which must be for the task.
func (i *instance) heard(task mesos.TaskInfo) *message.ToExecutor {
	i.t.Helper()
	call := i.call(mesossched.Call_MESSAGE).Message
	m, err := i.end(task).OpenToExecutor(call.Data)
	if err != nil || call.ExecutorID.Value != task.TaskID.Value {
		i.t.Fatalf("message to %s: %v", call.ExecutorID.Value, err)
	}
	return m
}

func (i *instance) get(path string) (int, string) {
	i.t.Helper()
	resp, err := http.Get("http://" + i.s.Addr() + path)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// logged waits until the log says something: whoever writes there may have shown the cause
// elsewhere before.
func (i *instance) logged(want string) {
	i.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(i.log.String(), want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			i.t.Fatalf("the log does not say %q:\n%s", want, i.log)
		}
	}
}

// told reads events until some of them was the one.
func (i *instance) told(what string, ok func(scheduler.Event) bool) {
	i.t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case e := <-i.events:
			if ok(e) {
				return
			}
		case <-timeout:
			i.t.Fatalf("no event tells %s", what)
		}
	}
}

// eventually waits until the status is as it should be, and what goes with it was done.
func (i *instance) eventually(what string, ok func(api.Status) bool) api.Status {
	i.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s := i.s.Status(); ok(s) {
			i.s.Settle()
			return s
		}
	}
	i.t.Fatalf("never: %s; log:\n%s", what, i.log)
	return api.Status{}
}
