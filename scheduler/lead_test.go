package scheduler_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/internal/fakemaster"
	"lode/zookeeper/zktest"
)

// member is one of several schedulers that elect who leads.
type member struct {
	*instance
	at string // host:port
}

// join starts a scheduler with an executor of its own.
func join(t *testing.T, m *fakemaster.Master, state, executor string) *member {
	t.Helper()
	c := config(t, m.URL())
	c.StateDir, c.ZooKeeper = "", state
	if err := os.WriteFile(c.Executor, []byte(executor), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Listen = freeAddress(t)
	s := &member{instance: &instance{t: t, master: m, result: make(chan error, 1), log: new(lockedBuffer), config: c}, at: c.Listen}
	c.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	var wg sync.WaitGroup
	wg.Go(func() { s.result <- scheduler.Lead(ctx, c) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if t.Failed() {
			t.Logf("log of the scheduler at %s:\n%s", s.at, s.log)
		}
	})
	return s
}

// ask gets a path; redirects are not followed.
func (m *member) ask(path string) (*http.Response, string) {
	m.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	resp, err := client.Get("http://" + m.at + path)
	if err != nil {
		return &http.Response{Header: http.Header{}}, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return &http.Response{Header: http.Header{}}, err.Error()
	}
	return resp, unpacked(b)
}

// says waits until a path is answered so.
func (m *member) says(path string, code int, text string) {
	m.t.Helper()
	var resp *http.Response
	var body string
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if resp, body = m.ask(path); resp.StatusCode == code && strings.Contains(body, text) {
			return
		}
	}
	m.t.Fatalf("%s of %s is %d %q, want %d and %q", path, m.at, resp.StatusCode, body, code, text)
}

func TestLeadership(t *testing.T) {
	e := zktest.Start(t, 3)
	t.Run("the next one goes on", func(t *testing.T) { takeOver(t, "zk://"+e.Hosts()+"/one") })
	t.Run("a stolen subscription", func(t *testing.T) { stolenSubscription(t, "zk://"+e.Hosts()+"/two") })
	t.Run("no connection is left", func(t *testing.T) { connectionLimit(t) })
	t.Run("without a quorum", func(t *testing.T) { leaderWithoutQuorum(t, e) }) // the last: it kills
}

func takeOver(t *testing.T, state string) {
	m := fakemaster.New(t)
	leader := join(t, m, state, "executor of the first")
	leader.subscribe()
	leader.offer("O1", "S0")
	proxy := leader.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	uuid := leader.update(proxy, mesos.TASK_RUNNING)
	if ack := leader.call(mesossched.Call_ACKNOWLEDGE).Acknowledge; string(ack.UUID) != string(uuid) {
		t.Errorf("acknowledged %q", ack.UUID)
	}
	standby := join(t, m, state, "executor of the second")
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		standby.says(path, 200, "standing by; the leader is http://"+leader.at)
	}
	resp, _ := standby.ask("/api/v1/tasks?state=TASK_RUNNING")
	if want := "http://" + leader.at; resp.StatusCode != 307 || resp.Header.Get("Location") != want+"/api/v1/tasks?state=TASK_RUNNING" || resp.Header.Get(api.LeaderHeader) != want {
		t.Errorf("%d, %v", resp.StatusCode, resp.Header)
	}
	if s, err := api.Fetch(t.Context(), standby.at); err != nil || len(s.Tasks) != 1 || s.Tasks[0].ID != proxy.TaskID.Value {
		t.Errorf("status through a standby: %v, %v", s, err)
	}
	checked := standby.config
	checked.ZooKeeper = state
	for _, f := range scheduler.Check(t.Context(), checked) {
		if strings.HasPrefix(f.What, "state in ") && (f.Err != nil || !strings.Contains(f.Detail, "http://"+leader.at+" leads, 1 stand by")) {
			t.Errorf("check: %+v", f)
		}
	}
	// Any of them serves the executor of any.
	uri := proxy.Executor.Command.URIs[0].Value
	path := uri[strings.Index(uri, leader.at)+len(leader.at):]
	standby.says(path, 200, "executor of the first") // when it is copied

	leader.stop()
	if err := leader.ended(); err != nil {
		t.Fatal(err)
	}
	subscribe := standby.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo
	if subscribe.GetID().GetValue() != "F1" {
		t.Errorf("subscribed as %v", subscribe.ID)
	}
	standby.master.Send(fakemaster.Subscribed("F1", 15))
	standby.says("/healthz", 200, "subscribed at")
	if s, err := api.Fetch(t.Context(), standby.at); err != nil || len(s.Tasks) != 1 || s.Tasks[0].ID != proxy.TaskID.Value || s.Tasks[0].State != "TASK_RUNNING" {
		t.Errorf("status of the next: %+v, %v", s, err)
	}
	standby.says(path, 200, "executor of the first")
	third := join(t, m, state, "executor of the third")
	third.says("/healthz", 200, "the leader is http://"+standby.at)
	var digest string
	for deadline := time.Now().Add(patience); digest == "" && time.Now().Before(deadline); {
		if s, err := api.Fetch(t.Context(), standby.at); err == nil {
			digest = s.Artifact.URL[strings.Index(s.Artifact.URL, standby.at)+len(standby.at):]
		}
	}
	third.says(digest, 200, "executor of the second")
	third.says("/artifacts/"+strings.Repeat("0", 64)+"/lode-executor", 307, "")
	standby.says("/artifacts/"+strings.Repeat("0", 64)+"/lode-executor", 404, "")
}

// Mesos says that somebody else subscribed, ZooKeeper that this one leads: it takes the
// subscription back, but not for ever.
func stolenSubscription(t *testing.T, state string) {
	m := fakemaster.New(t)
	s := join(t, m, state, "executor")
	for range 4 {
		s.subscribe()
		m.Send(&mesossched.Event{Type: mesossched.Event_ERROR, Error: &mesossched.Event_Error{Message: "Framework failed over"}})
	}
	if err := s.ended(); !errors.Is(err, scheduler.ErrFailedOver) {
		t.Errorf("%v", err)
	}
}

// A server that takes no more connections from a machine holds nobody up for longer
// than that.
func connectionLimit(t *testing.T) {
	e := zktest.Start(t, 1, "maxClientCnxns=2")
	m := fakemaster.New(t)
	first, second := e.Connect(), e.Connect()
	for deadline := time.Now().Add(patience); first.SessionID() == 0 || second.SessionID() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connections")
		}
	}
	s := join(t, m, "zk://"+e.Hosts()+"/full", "executor")
	s.says("/readyz", 503, "cannot take over")
	first.Close()
	second.Close()
	s.subscribe()
	s.says("/healthz", 200, "subscribed at")
}

// A leader that can store nothing goes on with what it has; what must be stored first
// waits.
func leaderWithoutQuorum(t *testing.T, e *zktest.Ensemble) {
	m := fakemaster.New(t)
	s := join(t, m, "zk://"+e.Hosts()+"/three", "executor")
	s.subscribe()
	s.offer("O1", "S0")
	proxy := s.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	e.Servers[0].Kill()
	e.Servers[1].Kill()
	uuid := s.update(proxy, mesos.TASK_RUNNING)
	s.says("/healthz", 503, "stored")
	m.Send(&mesossched.Event{Type: mesossched.Event_OFFERS, Offers: &mesossched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "O2"}, FrameworkID: mesos.FrameworkID{Value: "F1"}, AgentID: mesos.AgentID{Value: "S1"}, Hostname: "host-S1",
	}}}})
	for declined := false; !declined; {
		select {
		case c := <-m.Calls:
			if c.Type == mesossched.Call_ACKNOWLEDGE {
				t.Fatal("acknowledged before it was stored")
			}
			declined = c.Type == mesossched.Call_DECLINE
		case <-time.After(patience):
			t.Fatal("no DECLINE: it does not go on")
		}
	}
	// Nor does it subscribe again before it is certain that it leads.
	m.Break()
	s.says("/healthz", 503, "it is not certain that this scheduler leads")
	for len(m.Calls) > 0 {
		if c := <-m.Calls; c.Type == mesossched.Call_SUBSCRIBE {
			t.Fatal("subscribed without ZooKeeper's word")
		}
	}
	e.Again(e.Servers[0])
	e.Again(e.Servers[1])
	e.Await()
	// With its session, or as the leader of another term.
	if id := s.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo.GetID().GetValue(); id != "F1" {
		t.Errorf("subscribed as %q", id)
	}
	m.Send(fakemaster.Subscribed("F1", 15))
	s.update(proxy, mesos.TASK_RUNNING)
	if ack := s.call(mesossched.Call_ACKNOWLEDGE).Acknowledge; string(ack.UUID) != string(uuid) {
		t.Errorf("acknowledged %q", ack.UUID)
	}
	s.says("/healthz", 200, "subscribed at")
}

// What cannot work is said at the start, not when the leader dies.
func TestLeadRefusesWhatCannotWork(t *testing.T) {
	c := config(t, "http://127.0.0.1:1")
	c.ZooKeeper = "zk://u:s3cret@h"
	var mistake *scheduler.ConfigError
	if err := scheduler.Lead(t.Context(), c); !errors.As(err, &mistake) || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	c.ZooKeeper = "zk://127.0.0.1:1/lode"
	c.Executor = filepath.Join(t.TempDir(), "none")
	if err := scheduler.Lead(t.Context(), c); err == nil || !strings.Contains(err.Error(), "executor") {
		t.Error(err)
	}
	c = config(t, "http://127.0.0.1:1")
	c.ZooKeeper, c.Upstreams = "zk://127.0.0.1:1/lode", nil
	if err := scheduler.Lead(t.Context(), c); !errors.As(err, &mistake) {
		t.Error(err)
	}
}
