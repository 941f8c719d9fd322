package e2e

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"lode/scheduler/api"
)

// What an operator got wrong is told where operators look: in the status, and once in
// the scheduler's log. Nothing is mined meanwhile, and nothing restarts in a loop.
func TestMistakesAreTold(t *testing.T) {
	for name, test := range map[string]struct {
		options options
		want    string
	}{
		"wrong password of the node": {options{password: "wrong"}, "the node refused user or password"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.options)
			status := w.until("the status of the proxy says what is wrong", func(s api.Status) bool {
				proxies := tasks(s, "proxy")
				return len(proxies) == 1 && proxies[0].Proxy != nil && strings.Contains(proxies[0].Proxy.Error, test.want)
			})
			if proxy := tasks(status, "proxy")[0]; proxy.Proxy.Ready || proxy.ID != "proxy-0-1" {
				t.Errorf("proxy %s, ready %t: want the first one, not ready", proxy.ID, proxy.Proxy.Ready)
			}
			eventually(t, "the scheduler's log says what is wrong", func() bool {
				return strings.Contains(w.scheduler.output(), test.want)
			}, w.scheduler.output)
			if height := w.height(); height != 0 {
				t.Errorf("height of the node: got %d, want 0", height)
			}
		})
	}
}

// A payout address that a node says is of another network ends the scheduler at once.
func TestAddressOfAnotherNetwork(t *testing.T) {
	const testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx" // of BIP 173
	w := newWorld(t, options{payout: testnet})
	<-w.scheduler.done
	if code := w.scheduler.cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if out := w.scheduler.output(); !strings.Contains(out, "is for testnet3, but the node is on simnet") {
		t.Errorf("it does not say why:\n%s", lastLines(out, 3))
	}
}

// Tasks that fail always alike end lode dev, with what they say.
func TestHopelessDevEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	broken := filepath.Join(t.TempDir(), "lode-executor")
	write(t, broken, "#!/bin/sh\nexit 7\n")
	if err := os.Chmod(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), lode(), "dev", "--executor="+broken, "--agents=3").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v, want exit code 1\n%s", err, out)
	}
	if last := lastLines(strings.TrimSpace(string(out)), 1); !strings.Contains(last, "proxy tasks failed 5 times with the same message") {
		t.Errorf("its last line is %s", last)
	}
}

// A framework that somebody tore down must not come back by itself: its tasks were
// all killed on purpose.
func TestFrameworkRemoved(t *testing.T) {
	w := newWorld(t, options{})
	id := w.mining(2).FrameworkID
	response, err := http.PostForm(w.mesos.MasterURL()+"/teardown", url.Values{"frameworkId": {id}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	for _, when := range []string{"at the teardown", "at a start with the same state"} {
		<-w.scheduler.done
		if code := w.scheduler.cmd.ProcessState.ExitCode(); code != 3 {
			t.Fatalf("exit code %s: got %d, want 3", when, code)
		}
		if out := w.scheduler.output(); !strings.Contains(out, "framework has been removed") || !strings.Contains(out, "--new-framework") {
			t.Errorf("%s it says neither what happened nor what to do:\n%s", when, lastLines(out, 3))
		}
		w.startScheduler()
	}
	<-w.scheduler.done
	eventually(t, "no executor is left", func() bool { return len(w.executors()) == 0 }, func() string { return "" })
	w.args = append(w.args, "--new-framework")
	w.startScheduler()
	if again := w.mining(2).FrameworkID; again == id {
		t.Errorf("framework id after --new-framework: got the old one, %s", id)
	}
	w.noOrphans()
}

// An executor that agents cannot fetch is told with its address, and is not tried in
// a tight loop.
func TestExecutorCannotBeFetched(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	w := newWorld(t, options{flags: []string{"--artifact-advertise=" + server.Listener.Addr().String()}})
	status := w.until("a task failed", func(s api.Status) bool { return len(s.Ended) > 0 })
	end := status.Ended[0]
	if end.State != "TASK_FAILED" || end.Reason != "REASON_CONTAINER_LAUNCH_FAILED" {
		t.Errorf("end of the task: got %s %s, want a failed launch", end.State, end.Reason)
	}
	eventually(t, "the log says what to do", func() bool {
		return strings.Contains(w.scheduler.output(), "it must reach this address, see --artifact-advertise")
	}, w.scheduler.output)
	if n := asked.Load(); n == 0 || n > 20 {
		t.Errorf("the executor was asked for %d times", n)
	}
}

// Containers are run as users that have no name and no home.
func TestDevAsUserWithoutNameAndHome(t *testing.T) {
	if testing.Short() {
		t.Skip("end-to-end test with real processes: left out by -short")
	}
	if os.Getuid() != 0 {
		t.Skip("not tested: only root can be somebody else")
	}
	t.Parallel()
	const nobody = 54321
	// The folders of tests are for their own user alone.
	dir, err := os.MkdirTemp("", "lode-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"lode", "lode-executor", "btcd"} {
		if err := os.Link(filepath.Join(bin, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "lode"), "dev", "--blocks=1", "--listen="+freeAddress(t))
	cmd.Dir, cmd.Env = dir, []string{"HOME=/", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, lastLines(string(out), 5))
	}
}
