package agent

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// commandTask is the order to run a task with only a command.
func commandTask(task string, command *mesos.CommandInfo) link.RunTask {
	r := runTask("none", task)
	r.Framework.Capabilities = append(r.Framework.Capabilities, mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE})
	r.Task.Executor, r.Task.Command = nil, command
	return r
}

func shell(script string) *mesos.CommandInfo { return &mesos.CommandInfo{Value: &script} }

// expectStates expects updates of a task; "TASK_X message" also looks at the message.
func (b *bench) expectStates(task string, want ...string) {
	b.Helper()
	for _, w := range want {
		state, message, _ := strings.Cut(w, " ")
		b.master.expect(b.T, "StatusUpdate "+task+" "+state+" "+executorReason+" "+strconv.Quote(message))
	}
}

// gone waits until an executor and its container are gone.
func (b *bench) gone() {
	b.Helper()
	waitFor(b.T, "the end of all executors", func() (none bool) {
		b.agent.ask(func(p *process) { none = len(p.order) == 0 })
		return none && len(b.agent.host.Containers()) == 0
	})
}

func (b *bench) sandbox(executor string) string {
	return filepath.Join(b.agent.config.WorkDir, "slaves/master-S0/frameworks", frameworkID, "executors", executor, "runs/latest")
}

func (b *bench) read(executor, name string) string {
	b.Helper()
	content, err := os.ReadFile(filepath.Join(b.sandbox(executor), name))
	if err != nil {
		b.Fatal(err)
	}
	return string(content)
}

// TestCommandTaskEnds runs commands that end by themselves.
func TestCommandTaskEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command *mesos.CommandInfo
		end     string
		stdout  string
	}{
		"finished": {shell("echo hello"), "TASK_FINISHED Command exited with status 0", "hello\n"},
		"failed":   {shell("echo bad; exit 3"), "TASK_FAILED Command exited with status 3", "bad\n"},
		"signal":   {shell("kill -SEGV $$"), "TASK_FAILED Command terminated with signal Segmentation fault", ""},
		"arguments": {
			&mesos.CommandInfo{Shell: ptr(false), Value: ptr("/bin/sh"), Arguments: []string{"name", "-c", `echo "$0 $1"`, "a", "b  c"}},
			"TASK_FINISHED Command exited with status 0", "a b  c\n",
		},
		"found in PATH": {
			&mesos.CommandInfo{Shell: ptr(false), Value: ptr("echo"), Arguments: []string{"echo", "x;y"}},
			"TASK_FINISHED Command exited with status 0", "x;y\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.agent.RunTask(commandTask("t1", c.command))
			b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING")
			got := b.master.wait(t).String()
			state, message, _ := strings.Cut(c.end, " ")
			// Whether a dead process left a core is the machine's affair.
			if want := "StatusUpdate t1 " + state + " " + executorReason + " " + strconv.Quote(message); strings.Replace(got, " (core dumped)", "", 1) != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if out := b.read("t1", "stdout"); out != c.stdout {
				t.Errorf("stdout is %q, want %q", out, c.stdout)
			}
			b.gone()
			if strings.Contains(b.master.history(), "ExitedExecutor") {
				t.Error("the master is told of an executor that it does not know")
			}
		})
	}
}

// TestCommandThatIsNotThere has nothing to run.
func TestCommandThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.agent.RunTask(commandTask("t1", &mesos.CommandInfo{Shell: ptr(false), Value: ptr("./missing")}))
	b.expectStates("t1", "TASK_STARTING", "TASK_FAILED Command exited with status 127")
	b.gone()
}

// TestCommandTaskTakesTooLong has a max_completion_time.
func TestCommandTaskTakesTooLong(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := commandTask("t1", shell("exec sleep 600"))
	r.Task.MaxCompletionTime = &mesos.DurationInfo{Nanoseconds: int64(time.Millisecond)}
	b.agent.RunTask(r)
	b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")
	b.master.expect(t, `StatusUpdate t1 TASK_FAILED REASON_MAX_COMPLETION_TIME_REACHED "Command terminated with signal Terminated"`)
	b.gone()
}

// TestCommandTaskIsKilled ends a command with and without its consent.
func TestCommandTaskIsKilled(t *testing.T) {
	t.Parallel()
	grace := func(d time.Duration) *mesos.KillPolicy {
		return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(d)}}
	}
	const deaf = `trap "" TERM; echo ready; while :; do sleep 0.05; done`
	for name, c := range map[string]struct {
		script    string
		own, call *mesos.KillPolicy
		again     *mesos.KillPolicy
		end       string
	}{
		"obeys":         {"echo ready; exec sleep 600", grace(time.Hour), nil, nil, "Command terminated with signal Terminated"},
		"exits":         {`trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done`, grace(time.Hour), nil, nil, "Command exited with status 0"},
		"own grace":     {deaf, grace(10 * time.Millisecond), nil, nil, "Command terminated with signal Killed"},
		"call's grace":  {deaf, grace(time.Hour), grace(10 * time.Millisecond), nil, "Command terminated with signal Killed"},
		"shorter later": {deaf, grace(time.Hour), nil, grace(0), "Command terminated with signal Killed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			r := commandTask("t1", shell(c.script))
			r.Task.KillPolicy = c.own
			b.agent.RunTask(r)
			b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING")
			waitFor(t, "the command", func() bool { return b.read("t1", "stdout") == "ready\n" })
			kill := func(policy *mesos.KillPolicy) {
				b.agent.KillTask(mesos.FrameworkID{Value: frameworkID}, mesos.TaskID{Value: "t1"}, policy)
			}
			kill(c.call)
			b.expectStates("t1", "TASK_KILLING")
			if c.again != nil {
				kill(c.again)
			}
			b.expectStates("t1", "TASK_KILLED "+c.end)
			b.gone()
		})
	}
}

// TestCommandTaskSandbox fetches a program and looks at what it finds.
func TestCommandTaskSandbox(t *testing.T) {
	t.Parallel()
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("#!/bin/sh\npwd -P; echo $WORD $MESOS_EXECUTOR_ID $MESOS_HTTP_COMMAND_EXECUTOR [$MESOS_EXECUTOR_AUTHENTICATION_TOKEN]\n"))
	}))
	defer files.Close()
	b := newBench(t, func(c *Config) { c.AuthenticateHTTPExecutors = true })
	r := commandTask("t1", &mesos.CommandInfo{
		Value:       ptr("./tool"),
		URIs:        []mesos.CommandInfo_URI{{Value: files.URL + "/tool", Executable: ptr(true)}},
		Environment: &mesos.Environment{Variables: []mesos.Environment_Variable{{Name: "WORD", Value: ptr("blue")}}},
	})
	b.agent.RunTask(r)
	b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED Command exited with status 0")
	dir, err := filepath.EvalSymlinks(b.sandbox("t1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.read("t1", "stdout"), dir+"\nblue t1 1 []\n"; got != want {
		t.Errorf("stdout is %q, want %q", got, want)
	}
	b.gone()
}

// TestCommandTaskLeavesNothing ends the framework of a command that ignores SIGTERM and has a child in another session.
func TestCommandTaskLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorShutdownGrace = 2500 * time.Millisecond })
	b.agent.RunTask(commandTask("t1", shell(`trap "" TERM; setsid sleep 600 & echo $$ $!; wait`)))
	b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING")
	var pids []string
	waitFor(t, "the command", func() bool { pids = strings.Fields(b.read("t1", "stdout")); return len(pids) == 2 })
	b.agent.ShutdownFramework(mesos.FrameworkID{Value: frameworkID})
	b.gone()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the end of a process", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// TestCommandTaskOutlivesTheAgent kills the agent below a command, which ends meanwhile.
func TestCommandTaskOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorReregistration = 5 * time.Second })
	b.agent.RunTask(commandTask("t1", shell("while [ ! -e go ]; do sleep 0.02; done; exit 4")))
	b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING")
	b.acked("t1")
	b.killAgent()
	if err := os.WriteFile(filepath.Join(b.sandbox("t1"), "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.restart()
	rereg := b.master.expect(t, "ReregisterAgent ")[0].rereg
	if len(rereg.Executors) != 0 || len(rereg.Tasks) != 1 {
		t.Errorf("the agent reports executors %v and tasks %v", rereg.Executors, rereg.Tasks)
	}
	var last told
	for last.update == nil || last.update.Status.GetState() != mesos.TASK_FAILED {
		last = b.master.wait(t)
	}
	if got := last.update.Status.GetMessage(); got != "Command exited with status 4" {
		t.Errorf("message is %q", got)
	}
	b.gone()
}

// TestCommandTaskIsSeen looks at a command task through the agent's own API.
func TestCommandTaskIsSeen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.agent.RunTask(commandTask("t1", shell("exec sleep 600")))
	b.expectStates("t1", "TASK_STARTING", "TASK_RUNNING")
	b.agent.ask(func(p *process) {
		f := p.stateView().Frameworks[0]
		e := f.Executors[0]
		if e.ID != "t1" || e.Source != "t1" || e.Name != "Command Executor (Task: t1) (Command: sh -c 'exec sleep 600')" {
			t.Errorf("executor is %q from %q named %q", e.ID, e.Source, e.Name)
		}
		if e.Tasks[0].ExecutorID != "" || p.getTasks().LaunchedTasks[0].ExecutorID != nil {
			t.Errorf("the task names an executor: %+v", e.Tasks[0])
		}
		if cpus := e.Resources["cpus"].(float64); cpus < 0.19 || cpus > 0.21 {
			t.Errorf("cpus are %v, want those of the task and 0.1", cpus)
		}
	})
	b.kill("t1")
	b.expectStates("t1", "TASK_KILLING", "TASK_KILLED Command terminated with signal Terminated")
	b.gone()
}
