package executor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"
)

func TestKillGrace(t *testing.T) {
	policy := func(d time.Duration) *mesos.KillPolicy {
		return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(d)}}
	}
	tests := []struct {
		name  string
		task  *mesos.KillPolicy
		event time.Duration // < 0: without
		want  time.Duration
	}{
		{"of the event", policy(20 * time.Second), 2 * time.Second, 2 * time.Second},
		{"of the task", policy(20 * time.Second), -1, 20 * time.Second},
		{"default", nil, -1, defaultGrace},
		{"none", nil, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.deafen()()
				w.mining("stubborn", func(info *mesos.TaskInfo) { info.KillPolicy = test.task })
				began := time.Now()
				w.Kill("stubborn", int64(test.event))
				s := w.NextState(t.Context(), mesos.TASK_KILLED)
				if took := time.Since(began); took != test.want {
					t.Errorf("killed after %v, expected %v", took, test.want)
				}
				if !strings.Contains(s.GetMessage(), "grace") {
					t.Errorf("message %q does not say that the task did not stop", s.GetMessage())
				}
				w.end(nil)
			})
		})
	}
}

func TestSecondKillMayShortenTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.deafen()()
		w.mining("stubborn")
		began := time.Now()
		w.Kill("stubborn", int64(time.Minute))
		time.Sleep(time.Second)
		w.Kill("stubborn", int64(time.Hour))
		w.Kill("stubborn", int64(4*time.Second))
		w.NextState(t.Context(), mesos.TASK_KILLED)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("killed after %v", took)
		}
		w.end(nil)
	})
}

func TestSecondKillDoesNotLengthenTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.deafen()()
		w.mining("stubborn")
		began := time.Now()
		w.Kill("stubborn", int64(5*time.Second))
		time.Sleep(time.Second)
		w.Kill("stubborn", int64(time.Hour))
		w.NextState(t.Context(), mesos.TASK_KILLED)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("killed after %v", took)
		}
		w.end(nil)
	})
}

func TestKilledTaskIsNotOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.deafen()()
		w.mining("stubborn", func(info *mesos.TaskInfo) {
			info.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(time.Minute)}
		})
		time.Sleep(50 * time.Second)
		w.Kill("stubborn", int64(30*time.Second))
		w.NextState(t.Context(), mesos.TASK_KILLED)
		w.end(nil)
	})
}

func TestKillOfAnEndedTaskIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.AutoAck = false
		w.start()
		ctx := t.Context()
		w.Next(ctx)
		w.Launch(taskInfo(t, "one", minerSpec(), scalar("cpus", 1)))
		w.NextState(ctx, mesos.TASK_STARTING)
		w.NextState(ctx, mesos.TASK_RUNNING)
		w.Kill("one", -1)
		first := w.NextState(ctx, mesos.TASK_KILLED)
		w.Kill("one", -1)
		second := w.NextState(ctx, mesos.TASK_KILLED)
		if string(first.UUID) == string(second.UUID) {
			t.Error("two updates with one uuid")
		}
		w.cancel(errors.New("test over"))
		<-w.result
	})
}

func TestShutdown(t *testing.T) {
	t.Run("as the first event", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.Subscribed = nil
			w.start()
			w.Next(t.Context())
			began := time.Now()
			w.Shutdown()
			w.end(nil)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("with a task", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.mining("one")
			w.Shutdown()
			w.NextState(t.Context(), mesos.TASK_KILLED)
			w.end(nil)
		})
	})
	t.Run("with a task that does not stop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.deafen()()
			w.mining("one")
			began := time.Now()
			w.Shutdown()
			w.NextState(t.Context(), mesos.TASK_KILLED)
			w.end(nil)
			if took := time.Since(began); took >= w.options.Config.ShutdownGrace {
				t.Errorf("took %v, the agent would have destroyed the container", took)
			}
		})
	})
	t.Run("as the first event after an agent restart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			w.mining("one")
			w.Down(true)
			time.Sleep(time.Minute)
			w.Subscribed = &mesosexec.Event{Type: mesosexec.Event_SHUTDOWN}
			w.Forget()
			w.Down(false)
			w.NextState(ctx, mesos.TASK_KILLED)
			w.end(nil)
		})
	})
	t.Run("and the end of the stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.options.Config.Checkpoint = false
			w.mining("one")
			w.Shutdown()
			synctest.Wait()
			w.Down(true)
			w.end(nil)
		})
	})
	t.Run("without acknowledgements", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.AutoAck = false
			w.mining("one")
			began := time.Now()
			w.Shutdown()
			w.end(nil)
			if !strings.Contains(w.logText.String(), "did not wait for the last updates") {
				t.Error("the log does not say that updates may be lost")
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %v, and others waited for the resources", took)
			}
		})
	})
}

func TestSignalFailsTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mining("one")
		w.cancel(errors.New("signal terminated"))
		s := w.NextState(t.Context(), mesos.TASK_FAILED)
		if !strings.Contains(s.GetMessage(), "signal terminated") {
			t.Errorf("message %q", s.GetMessage())
		}
		w.end(nil)
	})
}
