package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"lode/scheduler/api"
)

// What an operator got wrong is told where operators look: in the status, and once in
// the scheduler's log. Nothing is mined meanwhile, and nothing restarts in a loop.
func TestMistakesAreTold(t *testing.T) {
	const mainnet = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa" // of the genesis block
	for name, test := range map[string]struct {
		options options
		want    string
	}{
		"address of another network": {options{payout: mainnet}, "is for mainnet, but the node is on simnet"},
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
