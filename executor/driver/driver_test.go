package driver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
	"go.uber.org/goleak"

	"lode/executor/fakeagent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that notes what it is told.
type recorder struct{ events chan string }

func newRecorder() *recorder { return &recorder{make(chan string, 1024)} }

func (r *recorder) Subscribed(*executor.Event_Subscribed) { r.events <- "subscribed" }
func (r *recorder) Launch(t mesos.TaskInfo)               { r.events <- "launch " + t.TaskID.Value }
func (r *recorder) Message(data []byte)                   { r.events <- "message " + string(data) }
func (r *recorder) Shutdown()                             { r.events <- "shutdown" }
func (r *recorder) Error(text string)                     { r.events <- "error " + text }
func (r *recorder) Kill(id mesos.TaskID, p *mesos.KillPolicy) {
	r.events <- fmt.Sprintf("kill %s %v", id.Value, time.Duration(p.GetGracePeriod().GetNanoseconds()))
}

func (r *recorder) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r.events:
		if got != want {
			t.Fatalf("event %q, expected %q", got, want)
		}
	case <-t.Context().Done():
		t.Fatalf("no event, expected %q", want)
	case <-time.After(time.Hour): // of a synctest bubble
		t.Fatalf("no event, expected %q", want)
	}
}

func testConfig(rt http.RoundTripper) Config {
	return Config{
		FrameworkID: "framework", ExecutorID: "executor", AgentEndpoint: "127.0.0.1:5051", Sandbox: "/sandbox",
		Checkpoint: true, RecoveryTimeout: 15 * time.Minute, BackoffMax: 2 * time.Second, ShutdownGrace: 5 * time.Second,
		Transport: rt,
	}
}

type running struct {
	*Driver
	*recorder
	result chan error
	cancel context.CancelCauseFunc
}

// start runs a driver; what stops it is up to the test.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{recorder: newRecorder(), result: make(chan error, 1)}
	d, err := New(cfg, r.recorder)
	if err != nil {
		t.Fatal(err)
	}
	r.Driver = d
	ctx, cancel := context.WithCancelCause(context.Background())
	r.cancel = cancel
	t.Cleanup(func() { cancel(nil) })
	go func() { r.result <- d.Run(ctx) }()
	return r
}

func launched(id string) mesos.TaskInfo {
	return mesos.TaskInfo{Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: mesos.AgentID{Value: "agent-S0"}}
}

func status(id string, state mesos.TaskState) mesos.TaskStatus {
	return mesos.TaskStatus{TaskID: mesos.TaskID{Value: id}, State: &state}
}

func TestLifeOverRealHTTP(t *testing.T) {
	agent := fakeagent.New(t)
	server := httptest.NewServer(agent)
	defer server.Close()
	defer agent.Break()
	cfg := testConfig(nil)
	cfg.AgentEndpoint = strings.TrimPrefix(server.URL, "http://")
	cfg.Token = "the.jwt"
	d := start(t, cfg)
	ctx := t.Context()

	subscribe := agent.Next(ctx)
	if subscribe.Type != executor.Call_SUBSCRIBE || len(subscribe.Subscribe.UnacknowledgedTasks)+len(subscribe.Subscribe.UnacknowledgedUpdates) != 0 {
		t.Fatalf("first call: %v", subscribe)
	}
	d.expect(t, "subscribed")
	agent.Launch(launched("a"))
	d.expect(t, "launch a")
	d.Update(status("a", mesos.TASK_STARTING))
	d.Update(status("a", mesos.TASK_RUNNING))
	d.Send("", []byte("hello"))
	for _, want := range []mesos.TaskState{mesos.TASK_STARTING, mesos.TASK_RUNNING} {
		got := agent.NextState(ctx, want)
		if got.GetTimestamp() == 0 || len(got.UUID) != 16 {
			t.Errorf("update without timestamp or uuid: %v", got)
		}
	}
	if m := agent.NextOf(ctx, executor.Call_MESSAGE); string(m.Message.Data) != "hello" {
		t.Errorf("message %q", m.Message.Data)
	}
	agent.Message([]byte("from the scheduler"))
	d.expect(t, "message from the scheduler")
	agent.Kill("a", int64(2*time.Second))
	d.expect(t, "kill a 2s")
	d.Update(status("a", mesos.TASK_KILLED))
	d.Finish(time.Minute)
	agent.NextState(ctx, mesos.TASK_KILLED)
	if err := <-d.result; err != nil {
		t.Fatalf("Run: %v", err)
	}
	for _, h := range agent.Headers() {
		if h.Get("Authorization") != "Bearer the.jwt" {
			t.Errorf("Authorization %q", h.Get("Authorization"))
		}
	}
}

// The agent splits its chunks anywhere; every event arrives all the same.
// An update stays in the list, in order, until it is acknowledged, and a task
// until one of its updates is.
func TestResubscribeTellsWhatIsUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		agent.AutoAck = false
		d := start(t, testConfig(agent))
		ctx := t.Context()
		d.expect(t, "subscribed")
		for _, id := range []string{"a", "b", "c"} {
			agent.Launch(launched(id))
			d.expect(t, "launch "+id)
		}
		d.Update(status("b", mesos.TASK_STARTING))
		d.Update(status("a", mesos.TASK_RUNNING))
		d.Update(status("b", mesos.TASK_RUNNING))
		first := agent.NextState(ctx, mesos.TASK_STARTING)
		agent.NextState(ctx, mesos.TASK_RUNNING)
		agent.NextState(ctx, mesos.TASK_RUNNING)
		agent.Acknowledge(&first)
		agent.Acknowledge(&first) // late, and twice
		synctest.Wait()
		agent.Down(true)
		synctest.Wait()
		d.Update(status("c", mesos.TASK_FAILED)) // while the agent is away
		time.Sleep(30 * time.Second)
		agent.Down(false)
		call := agent.NextOf(ctx, executor.Call_SUBSCRIBE)
		var tasks, updates []string
		for _, task := range call.Subscribe.UnacknowledgedTasks {
			tasks = append(tasks, task.TaskID.Value)
		}
		for _, u := range call.Subscribe.UnacknowledgedUpdates {
			updates = append(updates, u.Status.TaskID.Value+" "+u.Status.GetState().String())
		}
		if got, want := strings.Join(tasks, ","), "a,c"; got != want {
			t.Errorf("unacknowledged tasks %s, expected %s", got, want)
		}
		if got, want := strings.Join(updates, ", "), "a TASK_RUNNING, b TASK_RUNNING, c TASK_FAILED"; got != want {
			t.Errorf("unacknowledged updates %s, expected %s", got, want)
		}
		// What the SUBSCRIBE said is not said again.
		d.expect(t, "subscribed")
		synctest.Wait()
		for _, u := range call.Subscribe.UnacknowledgedUpdates {
			agent.Acknowledge(&u.Status)
		}
		d.Finish(time.Second)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

// A restarted agent: refused connections, 404, 503, then SUBSCRIBE is taken while
// everything else gets 503 for two seconds. [R11, R17]
func TestAgentRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		var phase atomic.Int32
		agent.Answer = func(call *executor.Call, _ *http.Request) (int, string) {
			switch {
			case phase.Load() == 1:
				return 404, "404 Not Found."
			case phase.Load() == 2:
				return 503, "Agent has not finished recovery"
			case phase.Load() == 3 && call.Type != executor.Call_SUBSCRIBE:
				return 503, "Agent has not finished recovery"
			}
			return 0, ""
		}
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		agent.Launch(launched("a"))
		d.expect(t, "launch a")
		agent.Down(true)
		time.Sleep(5 * time.Minute)
		phase.Store(1)
		agent.Down(false)
		time.Sleep(100 * time.Millisecond)
		phase.Store(2)
		time.Sleep(100 * time.Millisecond)
		phase.Store(3)
		ready := time.Now()
		d.expect(t, "subscribed")
		if late := time.Since(ready); late > time.Second {
			t.Errorf("subscribed %v after the agent was ready: it waits 2 s only", late)
		}
		d.Update(status("a", mesos.TASK_RUNNING))
		d.Send("report", []byte("old"))
		d.Send("report", []byte("new"))
		time.Sleep(2 * time.Second)
		phase.Store(4)
		ctx := t.Context()
		for {
			if call := agent.NextOf(ctx, executor.Call_MESSAGE); string(call.Message.Data) != "new" {
				t.Errorf("message %q, expected only the newest", call.Message.Data)
			} else {
				break
			}
		}
		d.Finish(time.Second)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

func TestEndOfTheConnection(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		// after is how long the agent stays away.
		after time.Duration
		want  error
		least time.Duration
		most  time.Duration
	}{
		{"without checkpoint at once", func(c *Config) { c.Checkpoint = false }, 0, ErrDisconnected, 0, time.Second},
		{"with checkpoint after the recovery timeout", func(*Config) {}, time.Hour, ErrRecoveryTimeout, 14 * time.Minute, 15 * time.Minute},
		{"short recovery timeout", func(c *Config) { c.RecoveryTimeout = 10 * time.Second }, time.Hour, ErrRecoveryTimeout, 8 * time.Second, 10 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				agent := fakeagent.New(t)
				cfg := testConfig(agent)
				test.change(&cfg)
				d := start(t, cfg)
				d.expect(t, "subscribed")
				began := time.Now()
				agent.Down(true)
				err := <-d.result
				if !errors.Is(err, test.want) {
					t.Fatalf("Run: %v, expected %v", err, test.want)
				}
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("after %v, expected %v to %v", took, test.least, test.most)
				}
			})
		})
	}
}

func TestRefusalsOfSubscribe(t *testing.T) {
	tests := []struct {
		code int
		body string
		want error
		text string
	}{
		{400, "Framework cannot be found", ErrForgotten, "Framework cannot be found"},
		{400, "Executor cannot be found", ErrForgotten, "Executor cannot be found"},
		{400, "Failed to validate executor::Call: something", nil, "Failed to validate"},
		{401, "", ErrUnauthorized, "401"},
		{403, "Forbidden", ErrUnauthorized, "403"},
		{415, "Expecting 'Content-Type' of …", nil, "415"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.code, " ", test.body), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				agent := fakeagent.New(t)
				agent.Answer = func(*executor.Call, *http.Request) (int, string) { return test.code, test.body }
				began := time.Now()
				d := start(t, testConfig(agent))
				err := <-d.result
				if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					t.Fatalf("Run: %v, expected %v with %q", err, test.want, test.text)
				}
				if time.Since(began) > 0 {
					t.Errorf("took %v: a refusal is final", time.Since(began))
				}
			})
		})
	}
}

func TestRefusalsOfCalls(t *testing.T) {
	t.Run("forgotten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			agent := fakeagent.New(t)
			agent.Answer = func(c *executor.Call, _ *http.Request) (int, string) {
				if c.Type == executor.Call_UPDATE {
					return 400, "Executor cannot be found"
				}
				return 0, ""
			}
			d := start(t, testConfig(agent))
			d.expect(t, "subscribed")
			d.Update(status("a", mesos.TASK_RUNNING))
			if err := <-d.result; !errors.Is(err, ErrForgotten) {
				t.Fatal(err)
			}
		})
	})
	t.Run("not subscribed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			agent := fakeagent.New(t)
			var refuse atomic.Bool
			refuse.Store(true)
			agent.Answer = func(c *executor.Call, _ *http.Request) (int, string) {
				if c.Type == executor.Call_UPDATE && refuse.Swap(false) {
					return 403, "Executor is not subscribed"
				}
				return 0, ""
			}
			d := start(t, testConfig(agent))
			d.expect(t, "subscribed")
			d.Update(status("a", mesos.TASK_RUNNING))
			d.expect(t, "subscribed")
			d.Finish(time.Second)
			if err := <-d.result; err != nil {
				t.Fatal(err)
			}
			if agent.Streams() != 2 {
				t.Errorf("%d streams", agent.Streams())
			}
		})
	})
	t.Run("an invalid update does not stop the next one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			agent := fakeagent.New(t)
			agent.Answer = func(c *executor.Call, _ *http.Request) (int, string) {
				if c.Type == executor.Call_UPDATE && c.Update.Status.GetState() == mesos.TASK_STARTING {
					return 400, "Failed to validate executor::Call: whatever"
				}
				return 0, ""
			}
			d := start(t, testConfig(agent))
			d.expect(t, "subscribed")
			d.Update(status("a", mesos.TASK_STARTING))
			d.Update(status("a", mesos.TASK_RUNNING))
			agent.NextState(t.Context(), mesos.TASK_STARTING)
			agent.NextState(t.Context(), mesos.TASK_RUNNING)
			d.Finish(time.Second)
			if err := <-d.result; err != nil {
				t.Fatal(err)
			}
		})
	})
}

// The agent takes updates but its acknowledgements do not come: the stream may be
// half-open. A new one is opened, which tells the update again.
func TestHeartbeatCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		var beats atomic.Int32
		agent.Answer = func(c *executor.Call, _ *http.Request) (int, string) {
			if c.Type == executor.Call_HEARTBEAT {
				if beats.Add(1) > 3 {
					return 501, ""
				}
			}
			return 0, ""
		}
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		time.Sleep(10 * time.Hour)
		if n := beats.Load(); n != 4 {
			t.Errorf("%d heartbeats: three, and one that an old agent refuses", n)
		}
		d.Finish(0)
		if err := <-d.result; err != nil {
			t.Fatal(err)
		}
	})
}

// After the first heartbeat of an agent hours of silence mean a dead stream.
// An agent that opens a stream and says nothing on it.
// An agent that is shutting down answers every SUBSCRIBE with SHUTDOWN and ends
// the stream.
func TestFinishWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := fakeagent.New(t)
		agent.AutoAck = false
		d := start(t, testConfig(agent))
		d.expect(t, "subscribed")
		d.Update(status("a", mesos.TASK_KILLED))
		d.Finish(4 * time.Second)
		began := time.Now()
		if err := <-d.result; !errors.Is(err, ErrUnacknowledged) {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// An agent that accepts the connection and says nothing.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
