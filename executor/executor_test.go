package executor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/executor/driver"
	"lode/message"
)

func newTestLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// nextMessage returns the next framework message of the executor.
func (w *world) nextMessage(ctx context.Context) *message.ToScheduler {
	w.t.Helper()
	call := w.NextOf(ctx, mesosexec.Call_MESSAGE)
	return w.opened(call)
}

// opened reads a message as the scheduler does.
func (w *world) opened(call *mesosexec.Call) *message.ToScheduler {
	w.t.Helper()
	m, err := w.scheduler().OpenToScheduler(call.Message.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	if key := m.GetHello().GetPublicKey(); key != nil {
		w.publicKey = key
	}
	return m
}

// scheduler is the scheduler's end of the link.
func (w *world) scheduler() *message.Sealer {
	if w.sealer == nil {
		w.sealer = message.SchedulerEnd(launchKey, firstSession)
	}
	return w.sealer
}

func (w *world) nextReport(ctx context.Context) *message.Report {
	w.t.Helper()
	for {
		if r := w.nextMessage(ctx).GetReport(); r != nil {
			return r
		}
	}
}

func (w *world) tell(m *message.ToExecutor) {
	w.t.Helper()
	m.Version = message.Version
	if s := m.GetSecrets(); s != nil {
		for w.publicKey == nil {
			w.nextMessage(w.t.Context())
		}
		sealed, err := message.SealSecrets(w.publicKey, "proxy-1", s)
		if err != nil {
			w.t.Fatal(err)
		}
		m = &message.ToExecutor{Version: message.Version, Event: &message.ToExecutor_SealedSecrets{SealedSecrets: sealed}}
	}
	data, err := w.scheduler().Seal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Message(data)
}

func (w *world) allowKilling() {
	w.Subscribed.Subscribed.FrameworkInfo.Capabilities = []mesos.FrameworkInfo_Capability{
		{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}, {Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
	}
}

func TestLifeOfAMiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.allowKilling()
		w.start()
		ctx := t.Context()
		w.NextOf(ctx, mesosexec.Call_SUBSCRIBE)
		w.Launch(taskInfo(t, "miner-1", minerSpec(), scalar("cpus", 2), scalar("cpus", 0.5), scalar("mem", 128)))
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)

		hello := w.nextMessage(ctx)
		if h := hello.GetHello(); h.GetExecutorDigest() != ownDigest || h.GetNeedSecrets() || h.GetProxiesEpoch() != 1 || hello.TaskId != "miner-1" {
			t.Errorf("hello %v", hello)
		}
		for i := range uint64(3) {
			call := w.NextOf(ctx, mesosexec.Call_MESSAGE)
			r := w.opened(call).GetReport()
			miner := r.GetMiner()
			if r.GetSequence() != i+1 || r.ExecutorDigest != ownDigest || miner.GetThreads() != 3 || miner.State != "mining" ||
				miner.Proxy != "10.0.0.1:3333" || miner.Kernel != "fake" || miner.Hashes != 1000 {
				t.Errorf("report %v", r)
			}
			if n := len(call.Message.Data); n > 1024 {
				t.Errorf("report of %d bytes", n)
			}
		}
		if o := w.engine.options; o.Threads != 3 || math.Abs(o.Duty-2.5/3) > 1e-9 || o.Nice != 19 || !o.Sense {
			t.Errorf("engine %+v", o)
		}

		w.Kill("miner-1", int64(time.Second))
		w.NextState(ctx, mesos.TASK_KILLING)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}

func TestPausedMiner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("miner-1")
		for epoch, paused := range []bool{true, false} {
			w.tell(&message.ToExecutor{Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{
				Epoch: uint64(epoch) + 5, Addresses: []string{"10.0.0.1:3333"}, Paused: paused,
			}}})
			synctest.Wait()
			if w.engine.paused.Load() != paused {
				t.Errorf("told %v, the engine is not", paused)
			}
			want := "mining"
			if paused {
				want = "paused"
			}
			for {
				r := w.nextReport(t.Context()).GetMiner()
				if r.ProxiesEpoch < uint64(epoch)+5 {
					continue
				}
				if r.State != want {
					t.Errorf("state %q, want %q", r.State, want)
				}
				break
			}
		}
		w.Kill("miner-1", -1)
		w.end(nil)
	})
}

func TestReportsKeepTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("miner-1")
		last := time.Now()
		varied := map[time.Duration]bool{}
		for range 20 {
			w.nextReport(t.Context())
			pause := time.Since(last)
			last = time.Now()
			if pause < 4*time.Second || pause > 6*time.Second {
				t.Errorf("pause of %v, expected 5 s ± 20 %%", pause)
			}
			varied[pause] = true
		}
		if len(varied) < 10 {
			t.Errorf("only %d different pauses: no jitter", len(varied))
		}
		w.Kill("miner-1", -1)
		w.end(nil)
	})
}

func TestRefusedTasks(t *testing.T) {
	newer := minerSpec()
	newer.Version = message.Version + 1
	wrongDigest := minerSpec()
	wrongDigest.ExecutorDigest = "bb22"
	raw := func(data string) mesos.TaskInfo {
		info := taskInfo(t, "x", minerSpec())
		info.Data = []byte(data)
		return info
	}
	noPort := proxySpec()
	wrongPort := proxySpec()
	wrongPort.GetProxy().StratumPort = 40000
	tests := []struct {
		name  string
		info  mesos.TaskInfo
		state mesos.TaskState
		text  []string
	}{
		{"no data", raw(""), mesos.TASK_ERROR, []string{"TaskInfo.data", "not a message of Lode"}},
		{"garbage", raw("\xff\xff\xff"), mesos.TASK_ERROR, []string{"TaskInfo.data"}},
		{"newer version", taskInfo(t, "x", newer), mesos.TASK_ERROR, []string{"newer version"}},
		{"other binary", taskInfo(t, "x", wrongDigest), mesos.TASK_FAILED, []string{ownDigest, "bb22"}},
		{"no kind", taskInfo(t, "x", &message.Task{}), mesos.TASK_FAILED, []string{"unknown kind"}},
		{"proxy without ports", taskInfo(t, "x", noPort), mesos.TASK_FAILED, []string{"no port for Stratum"}},
		{"proxy on foreign ports", taskInfo(t, "x", wrongPort, portRange(31000, 31001)), mesos.TASK_FAILED, []string{"port 40000", "31000"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				w.Next(t.Context())
				w.Launch(test.info)
				status := w.NextOf(t.Context(), mesosexec.Call_UPDATE).Update.Status
				if status.GetState() == mesos.TASK_STARTING {
					status = w.NextOf(t.Context(), mesosexec.Call_UPDATE).Update.Status
				}
				if status.GetState() != test.state {
					t.Errorf("%v", status)
				}
				for _, text := range test.text {
					if !strings.Contains(status.GetMessage(), text) {
						t.Errorf("message %q, expected it to tell %q", status.GetMessage(), text)
					}
				}
				w.end(nil)
			})
		})
	}
}

func TestSecondTaskIsRefusedAndTheFirstLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		ctx := t.Context()
		w.Next(ctx)
		first := taskInfo(t, "one", minerSpec(), scalar("cpus", 1))
		w.Launch(first)
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)
		w.Launch(taskInfo(t, "two", minerSpec(), scalar("cpus", 1)))
		if s := w.NextState(ctx, mesos.TASK_FAILED); s.TaskID.Value != "two" || !strings.Contains(s.GetMessage(), "already has task one") {
			t.Errorf("%v", s)
		}
		w.Launch(first) // repeated: nothing happens
		w.Kill("two", -1)
		if s := w.NextState(ctx, mesos.TASK_FAILED); s.TaskID.Value != "two" {
			t.Errorf("%v", s)
		}
		w.Kill("three", -1) // never seen: nothing happens
		w.nextReport(ctx)
		w.Kill("one", -1)
		if s := w.NextState(ctx, mesos.TASK_KILLED); s.TaskID.Value != "one" {
			t.Errorf("%v", s)
		}
		w.end(nil)
	})
}

// The scheduler repeats a KILL until it hears of the end; while the agent has not
// acknowledged it the executor is still there to answer.
func TestErrorEventEndsTheExecutor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("one")
		w.Send(&mesosexec.Event{Type: mesosexec.Event_ERROR, Error: &mesosexec.Event_Error{Message: "you are wrong"}})
		if err := <-w.result; err == nil || !strings.Contains(err.Error(), "you are wrong") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestNoTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		began := time.Now()
		w.end(nil)
		if took := time.Since(began); took != idleLimit {
			t.Errorf("waited %v", took)
		}
	})
}

func TestMaxCompletionTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.Next(t.Context())
		info := taskInfo(t, "one", minerSpec(), scalar("cpus", 1))
		info.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(time.Minute)}
		w.Launch(info)
		w.NextState(t.Context(), mesos.TASK_STARTING)
		w.NextState(t.Context(), mesos.TASK_RUNNING)
		began := time.Now()
		s := w.NextState(t.Context(), mesos.TASK_FAILED)
		if s.GetReason() != mesos.REASON_MAX_COMPLETION_TIME_REACHED || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), s)
		}
		w.end(nil)
	})
}

// A checkpointing executor mines on while its agent is restarted; what happened
// meanwhile is told afterwards.
func TestTaskLivesThroughAnAgentRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := t.Context()
		w.mining("one")
		w.Down(true)
		time.Sleep(10 * time.Minute)
		w.Forget()
		w.Down(false)
		back := time.Now()
		subscribe := w.NextOf(ctx, mesosexec.Call_SUBSCRIBE).Subscribe
		if len(subscribe.UnacknowledgedTasks)+len(subscribe.UnacknowledgedUpdates) != 0 {
			t.Errorf("%v", subscribe)
		}
		w.nextReport(ctx)
		if took := time.Since(back); took > 2*time.Second {
			t.Errorf("the first report came after %v", took)
		}
		w.Kill("one", -1)
		w.NextState(ctx, mesos.TASK_KILLED)
		w.end(nil)
	})
}

func TestDisconnectedWithoutCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.options.Config.Checkpoint = false
		w.mining("one")
		w.Down(true)
		if err := <-w.result; !errors.Is(err, driver.ErrDisconnected) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestForgottenExecutorEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Answer = func(*mesosexec.Call, *http.Request) (int, string) { return 400, "Framework cannot be found" }
		w.start()
		if err := <-w.result; !errors.Is(err, driver.ErrForgotten) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestProxyListMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx := t.Context()
		w.mining("one")
		list := func(epoch uint64, addresses ...string) {
			w.tell(&message.ToExecutor{Event: &message.ToExecutor_Proxies{Proxies: &message.Proxies{Epoch: epoch, Addresses: addresses}}})
		}
		list(5, "10.0.0.2:3333")
		time.Sleep(10 * time.Second)
		w.Forget()
		if r := w.nextReport(ctx).GetMiner(); r.Proxy != "10.0.0.2:3333" || r.ProxiesEpoch != 5 {
			t.Errorf("report %v", r)
		}
		list(4, "10.0.0.1:3333") // late: an older list
		time.Sleep(10 * time.Second)
		w.Forget()
		if r := w.nextReport(ctx).GetMiner(); r.Proxy != "10.0.0.2:3333" || r.ProxiesEpoch != 5 {
			t.Errorf("report %v", r)
		}
		list(6)
		time.Sleep(10 * time.Second)
		w.Forget()
		if r := w.nextReport(ctx).GetMiner(); r.Proxy != "" || r.State != "idle" || r.JobAgeMs != -1 {
			t.Errorf("report %v", r)
		}
		w.Kill("one", -1)
		w.end(nil)
	})
}
