package agent

import (
	"bufio"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

const executorReason = "REASON_COMMAND_EXECUTOR_FAILED" // an executor's own updates have no reason, which prints as the zero one

func (b *bench) restart() {
	b.Helper()
	if err := b.agent.Restart(); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) killAgent() {
	b.Helper()
	if err := b.agent.Kill(); err != nil {
		b.Fatal(err)
	}
	b.master.expect(b.T, "Disconnected ")
}

// acked waits until the agent has taken in all acknowledgements of a task.
func (b *bench) acked(task string) {
	b.Helper()
	waitFor(b.T, "acknowledgement of "+task, func() (none bool) {
		b.agent.ask(func(p *process) { none = len(p.updates.Pending(frameworkID, task)) == 0 })
		return none
	})
}

// signal sends a signal to an executor, whether the agent is up or not.
func (b *bench) signal(executor string, sig syscall.Signal) {
	b.Helper()
	path := filepath.Join(b.agent.config.WorkDir, "slaves/master-S0/frameworks", frameworkID, "executors", executor, "runs/latest")
	run, err := filepath.EvalSymlinks(path)
	if err != nil {
		b.Fatal(err)
	}
	c := b.agent.host.Container(filepath.Base(run))
	if c == nil {
		b.Fatalf("executor %s has no container", executor)
	}
	if err := c.SignalExecutor(sig); err != nil {
		b.Fatal(err)
	}
	if sig == syscall.SIGKILL {
		<-c.Done()
	}
}

// TestRestartWithCheckpoint follows trace 11: an update sent while the agent is down, one not yet acknowledged by the
// scheduler, and all heads twice after the return.
func TestRestartWithCheckpoint(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorReregistration = 3 * time.Second })
	b.master.setAck(func(u link.Update) bool {
		return u.Status.TaskID.Value == "a1" && u.Status.GetState() == mesos.TASK_RUNNING
	})
	b.agent.RunTask(runTask("ar1", "a1", "run"))
	b.master.expect(t, `StatusUpdate a1 TASK_RUNNING `+executorReason+` ""`)
	b.acked("a1")
	second := runTask("ar1", "a2", "run")
	second.LaunchExecutor = false
	b.agent.RunTask(second)
	b.master.expect(t, `StatusUpdate a2 TASK_RUNNING `+executorReason+` ""`)

	b.killAgent()
	b.signal("ar1", syscall.SIGCONT) // it lives
	b.restart()
	again := b.master.wait(t)
	if again.kind != "ReregisterAgent" {
		t.Fatalf("told %s", again)
	}
	r := again.rereg
	if r.ID.Value != "master-S0" || len(r.Frameworks) != 1 || len(r.Executors) != 1 || len(r.Tasks) != 2 {
		t.Fatalf("reregistration is %+v", r)
	}
	if a2 := r.Tasks[1]; a2.State != mesos.TASK_RUNNING || len(a2.Unacked) != 1 || a2.Info.Data != nil || a2.Status.GetState() != mesos.TASK_RUNNING {
		t.Errorf("a2 is %+v", a2)
	}
	b.master.expect(t, `StatusUpdate a2 TASK_RUNNING `+executorReason+` ""`, `StatusUpdate a2 TASK_RUNNING `+executorReason+` ""`)
	b.kill("a1")
	b.master.expect(t, `StatusUpdate a1 TASK_KILLED `+executorReason+` ""`)
}

// TestRestartFindsDeadExecutor follows trace 11: an executor that was killed while the agent was down gives an
// update but no news of its end.
func TestRestartFindsDeadExecutor(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorReregistration = 50 * time.Millisecond })
	b.agent.RunTask(runTask("ar2", "b1", "run"))
	b.master.expect(t, `StatusUpdate b1 TASK_RUNNING `+executorReason+` ""`)
	b.acked("b1")
	b.killAgent()
	b.signal("ar2", syscall.SIGKILL)
	b.master.setAck(func(link.Update) bool { return false })
	b.restart()
	update := `StatusUpdate b1 TASK_FAILED REASON_EXECUTOR_TERMINATED "Executor terminated"`
	b.master.expect(t, "ReregisterAgent ", update, update)
}

// TestRestartKillsSilentExecutor follows traces 11 and 17: an executor that does not subscribe in time.
func TestRestartKillsSilentExecutor(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorReregistration = 300 * time.Millisecond })
	b.agent.RunTask(runTask("ar3", "c1", "run"))
	b.master.expect(t, `StatusUpdate c1 TASK_RUNNING `+executorReason+` ""`)
	b.acked("c1")
	b.signal("ar3", syscall.SIGSTOP)
	b.killAgent()
	b.restart()
	var rest []string
	for len(rest) < 3 {
		if s := b.master.wait(t).String(); s != rest0(rest) {
			rest = append(rest, s)
		}
	}
	got := strings.Join(rest, "\n")
	for _, want := range []string{
		"ReregisterAgent ", "ExitedExecutor ar3 9",
		`StatusUpdate c1 TASK_GONE REASON_EXECUTOR_REREGISTRATION_TIMEOUT "Executor did not reregister within 300ms"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// rest0 is the last of a list: heads come twice after a registration.
func rest0(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// TestRestartWithoutCheckpoint follows trace 11b: the agent has forgotten the framework, and an executor that
// tries to come back is told so.
func TestRestartWithoutCheckpoint(t *testing.T) {
	t.Parallel()
	for name, orphans := range map[string]bool{"posix launcher": false, "linux launcher": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.KillOrphans = orphans })
			r := runTask("ar4", "d1", "run")
			r.Framework = frameworkInfo(false)
			b.agent.RunTask(r)
			b.master.expect(t, `StatusUpdate d1 TASK_RUNNING `+executorReason+` ""`)
			b.acked("d1")
			containers := b.agent.host.Containers()
			if len(containers) != 1 {
				t.Fatalf("containers: %v", containers)
			}
			c := b.agent.host.Container(containers[0])
			b.killAgent()
			b.restart()
			again := b.master.wait(t)
			if again.kind != "ReregisterAgent" || len(again.rereg.Frameworks)+len(again.rereg.Tasks)+len(again.rereg.Executors) != 0 {
				t.Fatalf("told %s %+v", again, again.rereg)
			}
			<-c.Done()
			if want := map[bool]int32{false: 98 << 8, true: 9}[orphans]; c.Status() != want {
				t.Errorf("executor ended with %d, want %d", c.Status(), want) // 98: it was told 400
			}
		})
	}
}

// TestRestartBeforeDelivery: a task that the executor never got is dropped when the executor subscribes without knowing
// of it, and the executor, which then never had any, is shut down.
func TestRestartBeforeDelivery(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.agent.RunTask(runTask("s1", "s1", "sleep"))
	waitFor(t, "the executor's container", func() bool { return len(b.agent.host.Containers()) == 1 })
	b.killAgent()
	b.restart()
	x := &execClient{agent: b.agent.Endpoint(), framework: frameworkID, executor: "s1"}
	var answer *http.Response
	waitFor(t, "the end of recovery's first phase", func() bool {
		var err error
		answer, err = x.post(x.subscribeCall())
		if err == nil && answer.StatusCode != http.StatusOK {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	})
	defer answer.Body.Close()
	event, err := readEvent(bufio.NewReader(answer.Body))
	if err != nil || event.Type.String() != "SHUTDOWN" {
		t.Errorf("first event is %v, %v", event, err)
	}
	b.master.expect(t, "ReregisterAgent ", `StatusUpdate s1 TASK_DROPPED REASON_AGENT_RESTARTED "Task launched during agent restart"`)
}

// TestRecoveryWindow follows trace 17: 503 to everything, then HEARTBEAT is fine while other calls wait for the end of
// recovery, which they see as 503, too.
func TestRecoveryWindow(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) {
		c.Timing.Recovery = 300 * time.Millisecond
		c.Timing.ExecutorReregistration = 500 * time.Millisecond
	})
	r := runTask("w1", "w1", "sleep")
	b.agent.RunTask(r)
	x := &execClient{agent: b.agent.Endpoint(), framework: frameworkID, executor: "w1"}
	waitFor(t, "the executor's container", func() bool { return len(b.agent.host.Containers()) == 1 })
	b.killAgent()
	if _, err := x.post(x.call(4)); err == nil {
		t.Error("a dead agent answers")
	}
	b.restart()
	var seen []string
	note := func(what string, code int) {
		if s := what + " " + http.StatusText(code); len(seen) == 0 || !contains(seen, s) {
			seen = append(seen, s)
		}
	}
	for b.agent.ask(func(*process) {}) && !contains(seen, "MESSAGE Accepted") && !contains(seen, "MESSAGE Forbidden") && !contains(seen, "MESSAGE Bad Request") {
		for what, call := range map[string]func() int{
			"HEARTBEAT": func() int { return x.status(x.call(4)) },
			"MESSAGE": func() int {
				return x.status(x.messageCall([]byte("m")))
			},
		} {
			note(what, call())
		}
		time.Sleep(time.Millisecond)
	}
	order := strings.Join(seen, ", ")
	if !contains(seen, "HEARTBEAT Service Unavailable") || !contains(seen, "HEARTBEAT Accepted") || !contains(seen, "MESSAGE Service Unavailable") {
		t.Errorf("seen: %s", order)
	}
	b.master.expect(t, "ReregisterAgent ")
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}
