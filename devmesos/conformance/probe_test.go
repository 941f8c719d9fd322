package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fakeAgent is an agent that knows one executor: it streams what it is given, and takes calls.
func fakeAgent(t *testing.T, stream chan string) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !strings.Contains(string(body), "SUBSCRIBE") {
			w.Header().Set("X-Token", r.Header.Get("Authorization"))
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write(body)
			return
		}
		w.Header().Set("Content-Type", string(JSON))
		w.WriteHeader(http.StatusOK)
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case rec, ok := <-stream:
				if !ok {
					return
				}
				fmt.Fprintf(w, "%d\n%s", len(rec), rec)
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// launchProbe starts the probe as an agent would, without Mesos.
func launchProbe(t *testing.T, path, agent, dir string, p *Probe) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, p.URL)
	cmd.Dir = dir
	cmd.Env = []string{
		"MESOS_AGENT_ENDPOINT=" + strings.TrimPrefix(agent, "http://"), "MESOS_EXECUTOR_AUTHENTICATION_TOKEN=t0k", "MESOS_FRAMEWORK_ID=f", "MESOS_EXECUTOR_ID=" + p.ID,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestProbe(t *testing.T) {
	path := BuildProbe(t, "")
	h, err := newHub("", path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	stream := make(chan string, 4)
	agent := fakeAgent(t, stream)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &C{TB: t, ctx: ctx, suite: &suite{target: Target{Patience: 30 * time.Second, Quiet: 100 * time.Millisecond}, hub: h, seq: new(atomic.Int64)}}

	p := h.expect("x1")
	p.c, p.enc, p.framework = c, JSON, "f"
	dir := t.TempDir()
	cmd := launchProbe(t, path, agent.URL, dir, p)
	if !p.wait(ctx) {
		t.Fatal("the probe does not ask for commands")
	}
	pr := p.Process()
	equal(c, "cwd", pr.Cwd, dir)
	equal(c, "argument", pr.Args[1], p.URL)
	equal(c, "pid", pr.PID, cmd.Process.Pid)
	equal(c, "digest", pr.ExecutableDigest, h.digest)
	equal(c, "environment", len(pr.Environ), 4)

	a := p.Call(http.StatusAccepted, Doc{"type": "HEARTBEAT"})
	contains(c, "echo", a.Body, `"executor_id":{"value":"x1"}`)
	equal(c, "token", a.Header.Get("X-Token"), "Bearer t0k")

	p.Subscribe()
	stream <- `{"type":"SUBSCRIBED"}`
	stream <- `{"type":"MESSAGE","message":{"data":"aGk="}}`
	p.Event("MESSAGE", said("hi"))
	e := p.Event("SUBSCRIBED", ofType("SUBSCRIBED"))
	equal(c, "position", e.N, 0)
	close(stream)
	c.waitEnd(p.current, "the agent's end of the stream")

	child := p.do(spawnCommand()).PID
	if err := syscall.Kill(child, 0); err != nil {
		t.Errorf("child %d: %v", child, err)
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
	p.Exit(3)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("exit: %v, expected status 3", err)
	}

	q := h.expect("x2")
	q.c, q.enc = c, JSON
	cmd = launchProbe(t, path, agent.URL, dir, q)
	if !q.wait(ctx) {
		t.Fatal("the second probe does not ask for commands")
	}
	q.Die(syscall.SIGKILL)
	_ = cmd.Wait()
	if ws, _ := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, expected SIGKILL", cmd.ProcessState)
	}

	r := h.expect("x3")
	r.c, r.enc = c, JSON
	cmd = launchProbe(t, path, agent.URL, dir, r)
	h.retire(r)
	if err := cmd.Wait(); err != nil {
		t.Errorf("a probe that is not needed any more: %v", err)
	}
}

func TestHubServesTheProbe(t *testing.T) {
	path := BuildProbe(t, "")
	h, err := newHub("localhost", path)
	if err == nil {
		defer h.close()
		if !strings.Contains(h.url, "localhost:") {
			t.Errorf("URL %s", h.url)
		}
	}
	h, err = newHub("", path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	cl := newClient(h.url, nil)
	defer cl.close()
	uri := strings.TrimPrefix(h.probeURI(""), h.url)
	for _, method := range []string{"HEAD", "GET"} {
		a, err := cl.send(t.Context(), method, uri, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Status != 200 || a.Header.Get("Content-Length") != fmt.Sprint(len(h.file)) {
			t.Errorf("%s: %d %v", method, a.Status, a.Header)
		}
	}
	if got := methods(h.requests(uri)); got != "HEAD GET " {
		t.Errorf("recorded %q", got)
	}
	if a, err := cl.get(t.Context(), "/nothing"); err != nil || a.Status != 404 {
		t.Errorf("unknown path: %v %v", a, err)
	}
}
