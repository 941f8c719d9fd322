package agent

import (
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/wire"
)

var (
	testFramework = mesos.FrameworkID{Value: frameworkID}
	executorOne   = mesos.ExecutorID{Value: "e1"}
)

// runOne launches task t1 below executor e1 and waits until it runs.
func (b *bench) runOne(mode ...string) {
	b.Helper()
	b.agent.RunTask(runTask("e1", "t1", mode...))
	b.master.expect(b.T, `StatusUpdate t1 TASK_RUNNING `+executorReason+` ""`)
	b.acked("t1")
}

func TestPreemption(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	if !b.agent.PreemptExecutor(testFramework, executorOne) {
		t.Fatal("nothing preempted")
	}
	b.master.expect(t, "ExitedExecutor e1 9", `StatusUpdate t1 TASK_GONE REASON_CONTAINER_PREEMPTED "Container preempted by QoS correction"`)
	if b.agent.PreemptExecutor(testFramework, executorOne) {
		t.Error("preempted twice")
	}
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	if !b.agent.ExceedMemory(testFramework, executorOne) {
		t.Fatal("nothing killed")
	}
	got := b.master.expect(t, "ExitedExecutor e1 9",
		`StatusUpdate t1 TASK_FAILED REASON_CONTAINER_LIMITATION_MEMORY "Memory limit exceeded: Requested: 64MB Maximum Used: 64MB\n\nMEMORY STATISTICS: \n"`)
	if l := got[1].update.Status.Limitation; l == nil || l.Resources[0].Scalar.Value != 64 {
		t.Errorf("limitation is %v", l)
	}
}

// TestPartition cuts the link: updates wait, and go out twice after the return as after any registration.
func TestPartition(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	b.agent.Partition(true)
	if !b.agent.SignalExecutor(testFramework, executorOne, syscall.SIGKILL) {
		t.Fatal("no executor")
	}
	waitFor(t, "the executor's end", func() bool { return len(b.agent.host.Containers()) == 0 })
	b.master.setAck(func(link.Update) bool { return false })
	b.kill("t1") // lost
	waitFor(t, "the update", func() (pending bool) {
		b.agent.ask(func(p *process) { pending = len(p.updates.Pending(frameworkID, "t1")) == 1 })
		return pending
	})
	b.agent.Partition(false)
	update := `StatusUpdate t1 TASK_FAILED REASON_EXECUTOR_TERMINATED "Executor terminated"`
	b.master.expect(t, "ReregisterAgent ", update, update)
}

// TestSilentMaster registers again when no pings come.
func TestSilentMaster(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.PingTimeout = 50 * time.Millisecond })
	b.master.expect(t, "ReregisterAgent ")
	b.agent.Ping(b.master)
	b.master.expect(t, "ReregisterAgent ")
}

func TestLostMessages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	b.agent.DropMessages(1, 1)
	b.tell("e1", "report") // the one that is lost on its way to the executor
	b.tell("e1", "say first")
	b.tell("e1", "say second")
	if c := b.master.wait(t); c.data != "second" {
		t.Errorf("told %s", c)
	}
}

// TestHalfOpenStream lets nothing more through to an executor, and it gets along after a new subscription.
func TestHalfOpenStream(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	stream := func() (s *wire.Stream) {
		b.agent.ask(func(p *process) { s = p.frameworks[frameworkID].executor("e1").stream })
		return s
	}
	frozen := stream()
	if !b.agent.FreezeExecutor(testFramework, executorOne) {
		t.Fatal("no stream")
	}
	b.tell("e1", "say lost")
	if !b.agent.BreakExecutorStream(testFramework, executorOne) { // what the executor's own watchdog would do
		t.Fatal("no stream")
	}
	waitFor(t, "a new subscription", func() bool { return stream() != frozen })
	b.tell("e1", "say found")
	if c := b.master.wait(t); c.data != "found" {
		t.Errorf("told %s", c)
	}
}

// TestDrain follows trace 15.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gone bool
		want string
	}{
		"drain":     {false, "StatusUpdate t1 TASK_KILLED REASON_AGENT_DRAINING \"\""},
		"mark gone": {true, "StatusUpdate t1 TASK_GONE_BY_OPERATOR REASON_AGENT_DRAINING \"\""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.runOne("run")
			b.agent.Drain(ptr(3*time.Second), c.gone)
			late := runTask("e2", "t2", "run")
			b.agent.RunTask(late)
			var seen []string
			for range 4 {
				seen = append(seen, b.master.wait(t).String())
			}
			for _, want := range []string{
				c.want, "ExitedExecutor e1 0", "ExitedExecutor e2 -1",
				`StatusUpdate t2 TASK_DROPPED REASON_AGENT_DRAINING "Task was received while agent was already draining"`,
			} {
				if !contains(seen, want) {
					t.Errorf("%s is missing in %q", want, seen)
				}
			}
			waitFor(t, "the end of draining", func() (over bool) {
				b.agent.ask(func(p *process) { over = p.draining == nil })
				return over
			})
		})
	}
}

// TestTaskWithoutExecutor asks for a command executor where there is no launcher to be one.
func TestTaskWithoutExecutor(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Launcher = "" })
	task := runTask("e1", "t1", "run")
	task.Task.Command, task.Task.Executor = task.Task.Executor.Command, nil
	b.agent.RunTask(task)
	const want = `StatusUpdate t1 TASK_DROPPED REASON_CONTAINER_LAUNCH_FAILED "This agent has no launcher for a command executor: a task needs an ExecutorInfo"`
	if got := b.master.wait(t).String(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestDrainPolicy shortens a task's grace but never lengthens it.
func TestDrainPolicy(t *testing.T) {
	policy := func(d time.Duration) *mesos.KillPolicy {
		return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(d)}}
	}
	for name, c := range map[string]struct {
		limit     *time.Duration
		own, want *mesos.KillPolicy
	}{
		"no limit":      {nil, policy(9), nil},
		"no own":        {ptr(3 * time.Nanosecond), nil, policy(3)},
		"own is longer": {ptr(3 * time.Nanosecond), policy(9), policy(3)},
		"own is less":   {ptr(3 * time.Nanosecond), policy(2), nil},
	} {
		if got := (drainConfig{MaxGrace: c.limit}).policy(c.own); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestUnregister follows trace 16b: goodbye first, then the executors are shut down, and the id is kept.
func TestUnregister(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	b.agent.Unregister()
	b.master.expect(t, "UnregisterAgent ", "ExitedExecutor e1 0")
	<-b.agent.Done()
	b.restart()
	b.master.expect(t, "ReregisterAgent ")
	if id, _ := b.agent.ID(); id.Value != "master-S0" {
		t.Errorf("id is %v", id)
	}
}

func TestShutdownByMaster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	b.agent.Shutdown("marked gone")
	b.master.expect(t, "ExitedExecutor e1 0")
	<-b.agent.Done()
}

// TestNewLeader registers with whoever leads, and is quiet without a leader.
func TestNewLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	b.agent.Detected(nil)
	other := newTestMaster()
	b.agent.Detected(other)
	again := other.wait(t)
	if again.kind != "ReregisterAgent" || len(again.rereg.Tasks) != 1 {
		t.Fatalf("told %s", again)
	}
	b.agent.Ping(b.master) // the old one means nothing now
	b.agent.Ping(other)
	b.kill("t1")
	other.expect(t, `StatusUpdate t1 TASK_KILLED `+executorReason+` ""`, "ExitedExecutor e1 0")
}

func TestOversubscribed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.agent.SetOversubscribed([]mesos.Resource{scalar("cpus", 4)})
	got := b.master.wait(t)
	if got.kind != "UpdateOversubscribed" || got.total[0].Revocable == nil || got.total[0].Scalar.Value != 4 {
		t.Fatalf("told %s %v", got, got.total)
	}
	b.agent.Detected(b.master)
	b.master.expect(t, "ReregisterAgent ", "UpdateOversubscribed ")
}

// TestCloseLeavesNothing closes an agent below a stubborn executor that has a child of its own which left the session.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, launcher := range map[string]string{"with launcher": "/proc/self/exe", "direct": ""} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Launcher = launcher })
			r := runTask("e1", "t1")
			r.Task.Executor.Command = &mesos.CommandInfo{Value: ptr("setsid sleep 1000 & trap '' TERM; sleep 1000; true")}
			b.agent.RunTask(r)
			dir := ""
			b.agent.ask(func(p *process) { dir = p.frameworks[frameworkID].executor("e1").directory })
			waitFor(t, "three processes", func() bool { return len(processesOf(dir)) >= 3 })
			b.agent.Close()
			if left := processesOf(dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
