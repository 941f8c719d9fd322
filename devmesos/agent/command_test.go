package agent

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"
)

// runCommand runs a command as an executor to its end and gives what it wrote to stdout.
func (b *bench) runCommand(command *mesos.CommandInfo, user string) string {
	b.Helper()
	r := runTask("e1", "t1")
	r.Framework.User = user
	r.Task.Executor.Command = command
	b.agent.RunTask(r)
	b.master.expect(b.T, "ExitedExecutor e1 0", `StatusUpdate t1 TASK_FAILED REASON_EXECUTOR_TERMINATED "Executor terminated"`)
	out, err := os.ReadFile(filepath.Join(b.agent.config.WorkDir, "slaves/master-S0/frameworks", frameworkID, "executors/e1/runs/latest/stdout"))
	if err != nil {
		b.Fatal(err)
	}
	return string(out)
}

// TestShellCommand runs below /bin/sh, ignores arguments, and gets secrets by value.
func TestShellCommand(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.ExecutorEnvironment = map[string]string{"SET_BY": "agent", "ONLY": "agent"} })
	out := b.runCommand(&mesos.CommandInfo{
		Value:     ptr(`echo "$0 $# $SECRET $SET_BY $ONLY $HOME $PATH"; pwd`),
		Arguments: []string{"ignored"},
		Environment: &mesos.Environment{Variables: []mesos.Environment_Variable{
			{Name: "SECRET", Type: mesos.Environment_Variable_SECRET.Enum(), Secret: &mesos.Secret{Type: mesos.Secret_VALUE, Value: &mesos.Secret_Value{Data: []byte("hush")}}},
			{Name: "SET_BY", Value: ptr("command")},
		}},
	}, "root")
	first, dir, _ := strings.Cut(out, "\n")
	if first != "sh 0 hush command agent  "+defaultPath {
		t.Errorf("says %q", first)
	}
	if stderr, _ := os.ReadFile(filepath.Join(strings.TrimSpace(dir), "stderr")); string(stderr) != "Overwriting environment variable 'SET_BY'\n" {
		t.Errorf("stderr is %q", stderr)
	}
}

// TestUserOfTheFramework runs as somebody else, who owns the sandbox.
func TestUserOfTheFramework(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can switch users")
	}
	for name, c := range map[string]struct {
		stay bool
		want string
	}{
		"switch": {false, "nobody nobody nobody"},
		"stay":   {true, "root root root"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(config *Config) {
				config.NoSwitchUser = c.stay
				// The testing package's directories are closed to others.
				if err := os.Chmod(filepath.Dir(config.WorkDir), 0o755); err != nil {
					t.Fatal(err)
				}
			})
			out := b.runCommand(&mesos.CommandInfo{Value: ptr(`echo $(id -un) $(stat -c %U . stdout)`)}, "nobody")
			if strings.TrimSpace(out) != c.want {
				t.Errorf("says %q, want %q", out, c.want)
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Timing.ExecutorHeartbeat = 10 * time.Millisecond })
	b.agent.RunTask(runTask("e1", "t1", "sleep"))
	x := &execClient{agent: b.agent.Endpoint(), framework: frameworkID, executor: "e1"}
	answer, err := x.post(x.subscribeCall())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var got []string
	for records := bufio.NewReader(answer.Body); len(got) < 4; {
		event, err := readEvent(records)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Type.String())
	}
	want := []string{"SUBSCRIBED", "LAUNCH", "HEARTBEAT", "HEARTBEAT"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("events are %v", got)
	}
	if code := x.status(x.call(executorapi.Call_HEARTBEAT)); code != 202 {
		t.Errorf("HEARTBEAT is answered %d", code)
	}
}
