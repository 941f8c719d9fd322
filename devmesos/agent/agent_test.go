package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

const frameworkID = "master-0000"

// bench is an agent with a master that leads.
type bench struct {
	*testing.T
	agent  *Agent
	master *testMaster
}

// testTiming has no long pauses, but none that could bite a slow machine either.
func testTiming() Timing {
	return Timing{
		RegistrationBackoff: 50 * time.Millisecond,
		Recovery:            time.Millisecond,
		CloseGrace:          time.Nanosecond,
	}
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	config := Config{
		WorkDir:   t.TempDir(),
		Launcher:  "/proc/self/exe",
		Resources: []mesos.Resource{scalar("cpus", 2), scalar("mem", 2048)},
		Timing:    testTiming(),
		Logger:    slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, c := range change {
		c(&config)
	}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	b := &bench{T: t, agent: a, master: newTestMaster()}
	a.Detected(b.master)
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	b.master.expect(t, "RegisterAgent ")
	waitFor(t, "an agent id", func() bool { _, ok := a.ID(); return ok })
	return b
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Logf("%s", b)
	}
	return len(b), nil
}

func scalar(name string, value float64) mesos.Resource {
	return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: value}}
}

func frameworkInfo(checkpoint bool) mesos.FrameworkInfo {
	return mesos.FrameworkInfo{
		User: "root", Name: "test", ID: &mesos.FrameworkID{Value: frameworkID}, Checkpoint: &checkpoint,
		Capabilities: []mesos.FrameworkInfo_Capability{{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE}},
	}
}

// runTask is the order to run a task below the test's own executor in a mode.
func runTask(executor, task string, mode ...string) link.RunTask {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return link.RunTask{
		Framework:      frameworkInfo(true),
		LaunchExecutor: true,
		Task: mesos.TaskInfo{
			Name: task, TaskID: mesos.TaskID{Value: task}, AgentID: mesos.AgentID{Value: "master-S0"},
			Resources: []mesos.Resource{scalar("cpus", 0.1), scalar("mem", 32)},
			Data:      []byte("task data"),
			Executor: &mesos.ExecutorInfo{
				Type: mesos.ExecutorInfo_CUSTOM, ExecutorID: mesos.ExecutorID{Value: executor},
				FrameworkID: &mesos.FrameworkID{Value: frameworkID},
				Name:        ptr("test executor"),
				Resources:   []mesos.Resource{scalar("cpus", 0.1), scalar("mem", 32)},
				Command: &mesos.CommandInfo{
					Shell: ptr(false), Value: &self, Arguments: append([]string{executorName}, mode...),
				},
			},
		},
	}
}

func (b *bench) tell(executor, command string) {
	b.agent.FrameworkMessage(mesos.FrameworkID{Value: frameworkID}, mesos.ExecutorID{Value: executor}, []byte(command))
}

func (b *bench) kill(task string) {
	b.agent.KillTask(mesos.FrameworkID{Value: frameworkID}, mesos.TaskID{Value: task}, nil)
}

// TestLifeOfATask launches a task below an executor that is fetched, kills it and sees the executor end.
func TestLifeOfATask(t *testing.T) {
	for name, launcher := range map[string]string{"with launcher": "/proc/self/exe", "direct": ""} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Launcher = launcher })
			r := runTask("e1", "t1", "run")
			self := *r.Task.Executor.Command.Value
			r.Task.Executor.Command.URIs = []mesos.CommandInfo_URI{{
				Value: self, Executable: ptr(true), Extract: ptr(false), OutputFile: ptr("bin/executor"),
			}}
			r.Task.Executor.Command.Value = ptr("./bin/executor")
			b.agent.RunTask(r)
			got := b.master.expect(t, `StatusUpdate t1 TASK_RUNNING REASON_COMMAND_EXECUTOR_FAILED ""`)
			u := got[0].update
			if u.LatestState != mesos.TASK_RUNNING || u.ExecutorID.Value != "e1" || u.Status.AgentID.GetValue() != "master-S0" {
				t.Errorf("update is %v", u)
			}
			if c := u.Status.ContainerStatus; c.GetExecutorPID() == 0 || c.NetworkInfos[0].IPAddresses[0].GetIPAddress() != "127.0.0.1" {
				t.Errorf("container status is %v", c)
			}

			b.tell("e1", "report")
			message := b.master.wait(t)
			var self2 selfReport
			if err := json.Unmarshal([]byte(message.data), &self2); err != nil {
				t.Fatalf("%s: %v", message, err)
			}
			if stat, err := os.Stat(filepath.Join(self2.Dir, "bin/executor")); err != nil || stat.Mode().Perm() != 0o755 {
				t.Errorf("fetched executor: %v, %v", stat, err)
			}

			b.kill("t1")
			b.master.expect(t, `StatusUpdate t1 TASK_KILLED REASON_COMMAND_EXECUTOR_FAILED ""`, "ExitedExecutor e1 0")
		})
	}
}
