package scheduler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"go.uber.org/goleak"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/core"
	"lode/scheduler/internal/fakemaster"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

const (
	patience     = 30 * time.Second
	nodePassword = "correct-horse-battery-staple"
	masterSecret = "principal-secret-0815"
)

// instance is a scheduler that runs in a test.
type instance struct {
	t      *testing.T
	s      *scheduler.Scheduler
	master *fakemaster.Master
	config scheduler.Config
	result chan error
	stop   context.CancelFunc
	log    *lockedBuffer
	events chan scheduler.Event
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func config(t *testing.T, masters ...string) scheduler.Config {
	t.Helper()
	executor := filepath.Join(t.TempDir(), "lode-executor")
	if err := os.WriteFile(executor, []byte("pretended executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	return scheduler.Config{
		Masters: masters, StateDir: filepath.Join(t.TempDir(), "state"), Listen: "127.0.0.1:0",
		Executor: executor, User: "nobody", Role: "mining", ProxyGrace: scheduler.DefaultProxyGrace,
		PayoutAddress: "sb1qexample",
		Upstreams:     []scheduler.Upstream{{URL: "node:http://127.0.0.1:1", User: "rpc", Password: nodePassword}},
	}
}

// run starts a scheduler with the config.
func run(t *testing.T, master *fakemaster.Master, c scheduler.Config) *instance {
	t.Helper()
	i := &instance{
		t: t, master: master, result: make(chan error, 1), log: new(lockedBuffer), events: make(chan scheduler.Event, 10000),
	}
	c.Logger = slog.New(slog.NewTextHandler(i.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.OnEvent = func(e scheduler.Event) { i.events <- e }
	i.config = c
	s, err := scheduler.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i.s, i.stop = s, cancel
	var wg sync.WaitGroup
	wg.Go(func() { i.result <- s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return i
}

func start(t *testing.T) *instance {
	t.Helper()
	m := fakemaster.New(t)
	return run(t, m, config(t, m.URL()))
}

// call waits for a call of the type and passes over others.
func (i *instance) call(want mesossched.Call_Type) *mesossched.Call {
	i.t.Helper()
	for {
		select {
		case c := <-i.master.Calls:
			if c.Type == want {
				return c
			}
		case <-time.After(patience):
			i.t.Fatalf("no %s call; log:\n%s", want, i.log)
		}
	}
}

func (i *instance) ended() error {
	i.t.Helper()
	select {
	case err := <-i.result:
		return err
	case <-time.After(patience):
		i.t.Fatalf("the scheduler goes on; log:\n%s", i.log)
		return nil
	}
}

func (i *instance) subscribe() {
	i.t.Helper()
	i.call(mesossched.Call_SUBSCRIBE)
	i.master.Send(fakemaster.Subscribed("F1", 15))
}

func (i *instance) stored() *core.State {
	i.t.Helper()
	b, err := os.ReadFile(filepath.Join(i.config.StateDir, "state.json"))
	if err != nil {
		i.t.Fatal(err)
	}
	s, err := core.DecodeState(b)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

// offer sends an offer of an agent with plenty of everything.
func (i *instance) offer(id, agent string) {
	scalar, ranges, role := mesos.SCALAR, mesos.RANGES, "mining"
	allocation := &mesos.Resource_AllocationInfo{Role: &role}
	amount := func(name string, v float64) mesos.Resource {
		return mesos.Resource{Name: name, Type: &scalar, Scalar: &mesos.Value_Scalar{Value: v}, AllocationInfo: allocation}
	}
	i.master.Send(&mesossched.Event{Type: mesossched.Event_OFFERS, Offers: &mesossched.Event_Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: id}, FrameworkID: mesos.FrameworkID{Value: "F1"}, AgentID: mesos.AgentID{Value: agent},
		Hostname: "host-" + agent, AllocationInfo: allocation,
		Resources: []mesos.Resource{amount("cpus", 4), amount("mem", 4096), {
			Name: "ports", Type: &ranges, AllocationInfo: allocation,
			Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: 31000, End: 31009}}},
		}},
	}}}})
}

func (i *instance) update(task mesos.TaskInfo, state mesos.TaskState) (uuid []byte) {
	uuid = []byte(fmt.Sprintf("%-16s", state))[:16]
	source := mesos.SOURCE_EXECUTOR
	i.master.Send(&mesossched.Event{Type: mesossched.Event_UPDATE, Update: &mesossched.Event_Update{Status: mesos.TaskStatus{
		TaskID: task.TaskID, State: &state, AgentID: &task.AgentID, ExecutorID: &task.Executor.ExecutorID, UUID: uuid, Source: &source,
	}}})
	return uuid
}

func (i *instance) say(task mesos.TaskInfo, m *message.ToScheduler) {
	m.Version, m.TaskId = message.Version, task.TaskID.Value
	b, err := message.Encode(m)
	if err != nil {
		i.t.Fatal(err)
	}
	i.master.Send(&mesossched.Event{Type: mesossched.Event_MESSAGE, Message: &mesossched.Event_Message{
		AgentID: task.AgentID, ExecutorID: task.Executor.ExecutorID, Data: b,
	}})
}

func (i *instance) get(path string) (int, string) {
	i.t.Helper()
	resp, err := http.Get("http://" + i.s.Addr() + path)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// eventually waits until the status is as it should be.
func (i *instance) eventually(what string, ok func(api.Status) bool) api.Status {
	i.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s := i.s.Status(); ok(s) {
			return s
		}
	}
	i.t.Fatalf("never: %s; log:\n%s", what, i.log)
	return api.Status{}
}

func TestProxyThenMiners(t *testing.T) {
	i := start(t)
	// What must be on disk is looked for at the moment at which a call arrives.
	i.master.Answer(func(_ *http.Request, call *mesossched.Call) *fakemaster.Answer {
		if call == nil {
			return nil
		}
		switch call.Type {
		case mesossched.Call_ACCEPT:
			state := i.stored()
			if state.FrameworkID != "F1" {
				t.Errorf("ACCEPT with framework id %q on disk", state.FrameworkID)
			}
			for _, task := range call.Accept.Operations[0].Launch.TaskInfos {
				if state.Tasks[task.TaskID.Value] == nil {
					t.Errorf("%s is launched before it is stored", task.TaskID.Value)
				}
			}
		case mesossched.Call_ACKNOWLEDGE:
			if task := i.stored().Tasks[call.Acknowledge.TaskID.Value]; task == nil || task.State != "TASK_RUNNING" {
				t.Errorf("TASK_RUNNING is acknowledged before it is stored")
			}
		}
		return nil
	})
	subscribe := i.call(mesossched.Call_SUBSCRIBE)
	info := subscribe.Subscribe.FrameworkInfo
	if info.ID != nil || !info.GetCheckpoint() || info.GetFailoverTimeout() != 604800 || info.Name != "lode" ||
		len(info.Roles) != 1 || info.Roles[0] != "mining" || info.Role != nil {
		t.Errorf("framework %+v", info)
	}
	i.master.Send(fakemaster.Subscribed("F1", 15))

	i.offer("O1", "S0")
	accept := i.call(mesossched.Call_ACCEPT).Accept
	proxy := accept.Operations[0].Launch.TaskInfos[0]
	if !strings.HasPrefix(proxy.TaskID.Value, "proxy-0-") || len(accept.Operations[0].Launch.TaskInfos) != 1 {
		t.Fatalf("first launch: %+v", accept.Operations[0].Launch.TaskInfos)
	}
	task, err := message.DecodeTask(proxy.Data)
	if err != nil {
		t.Fatal(err)
	}
	if p := task.GetProxy(); p == nil || p.StratumPort < 31000 || p.HttpPort < 31000 || p.StratumPort == p.HttpPort || p.Upstreams[0] != "node:http://127.0.0.1:1" {
		t.Fatalf("proxy task %v", task)
	}
	uri := proxy.Executor.Command.URIs[0].Value
	if resp, err := http.Head(uri); err != nil || resp.StatusCode != 200 || resp.ContentLength != int64(len("pretended executor")) {
		t.Fatalf("HEAD %s: %v, %v", uri, resp, err)
	}
	resp, err := http.Get(uri)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()

	uuid := i.update(proxy, mesos.TASK_RUNNING)
	if ack := i.call(mesossched.Call_ACKNOWLEDGE).Acknowledge; !bytes.Equal(ack.UUID, uuid) {
		t.Errorf("acknowledged %x, want %x", ack.UUID, uuid)
	}
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: true}}})
	m := i.call(mesossched.Call_MESSAGE).Message
	secrets, err := message.DecodeToExecutor(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if c := secrets.GetSecrets().GetUpstreams()["node:http://127.0.0.1:1"]; c == nil || c.Password != nodePassword || c.User != "rpc" {
		t.Fatalf("secrets %v", secrets)
	}
	key := string(secrets.GetSecrets().WorkerKey)
	if len(key) != 32 {
		t.Errorf("worker key of %d bytes", len(key))
	}
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 1, Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Height: 5}},
	}}})
	i.offer("O2", "S1")
	accept = i.call(mesossched.Call_ACCEPT).Accept
	miner := accept.Operations[0].Launch.TaskInfos[0]
	task, err = message.DecodeTask(miner.Data)
	if err != nil {
		t.Fatal(err)
	}
	mt := task.GetMiner()
	if mt == nil || len(mt.Proxies.GetAddresses()) == 0 || mt.Password != message.WorkerPassword([]byte(key), mt.User) {
		t.Fatalf("miner task %v", task)
	}
	i.update(miner, mesos.TASK_RUNNING)
	i.say(miner, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 1, ExecutorDigest: "abc", Shares: &message.Shares{Accepted: 3, Rejected: 2, Stale: 1},
		Detail: &message.Report_Miner{Miner: &message.MinerReport{Hashrate: 5e6, Threads: 4, Kernel: "shani", State: "mining"}},
	}}})
	status := i.eventually("the miner's hashrate is in the status", func(s api.Status) bool { return s.Hashrate == 5e6 })
	got := status.Tasks[1]
	if got.ID != miner.TaskID.Value || got.Kind != "miner" || got.State != "TASK_RUNNING" || got.AgentID != "S1" ||
		got.Hostname != "host-S1" || got.ExecutorDigest != "abc" || got.Threads != 4 || got.Kernel != "shani" ||
		got.Shares != (api.Shares{Accepted: 3, Rejected: 2, Stale: 1}) {
		t.Errorf("status of the miner: %+v", got)
	}

	// Over HTTP it is the same.
	fetched, err := api.Fetch(t.Context(), i.s.Addr())
	if err != nil || fetched.FrameworkID != "F1" || fetched.Hashrate != 5e6 || !fetched.Connected || fetched.Artifact.URL != uri {
		t.Errorf("%+v, %v", fetched, err)
	}
	if code, body := i.get("/healthz"); code != 200 {
		t.Errorf("healthz: %d %s", code, body)
	}
	code, metrics := i.get("/metrics")
	for _, want := range []string{
		"lode_hashrate 5e+06", `lode_tasks{kind="miner",state="TASK_RUNNING"} 1`, `lode_shares{outcome="stale"} 1`,
		"lode_scheduler_connected 1", "lode_scheduler_artifact_fetches_total 1", "lode_scheduler_launch_seconds_count 2",
	} {
		if code != 200 || !strings.Contains(metrics, want) {
			t.Errorf("metrics (%d) lack %q", code, want)
		}
	}

	// The secrets are nowhere else.
	public := map[string]string{"log": i.log.String(), "metrics": metrics}
	b, err := json.Marshal(i.s.Status())
	if err != nil {
		t.Fatal(err)
	}
	public["status"] = string(b)
	for name, info := range map[string]mesos.TaskInfo{"proxy": proxy, "miner": miner} {
		info.Data = nil // in none of Mesos' state endpoints
		public[name+" task"] = info.String()
	}
	public["miner data"], public["proxy data"] = string(miner.Data), string(proxy.Data)
	for name, text := range public {
		for _, secret := range []string{nodePassword, key, fmt.Sprintf("%x", key)} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in the %s", name)
			}
		}
		if !strings.HasSuffix(name, "data") && strings.Contains(text, mt.Password) {
			t.Errorf("the miner's password is in the %s", name)
		}
	}
	if info, err := os.Stat(filepath.Join(i.config.StateDir, "state.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", info, err)
	}

	seen := make(map[scheduler.EventType]bool)
	for len(i.events) > 0 {
		seen[(<-i.events).Type] = true
	}
	for _, want := range []scheduler.EventType{
		scheduler.EventSubscribed, scheduler.EventOffer, scheduler.EventFetched, scheduler.EventTask, scheduler.EventReport, scheduler.EventProxies,
	} {
		if !seen[want] {
			t.Errorf("no %s event", want)
		}
	}
	i.stop()
	if err := i.ended(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestRestartGoesOnWithTheSameFramework(t *testing.T) {
	i := start(t)
	i.subscribe()
	i.offer("O1", "S0")
	proxy := i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	i.update(proxy, mesos.TASK_RUNNING)
	i.call(mesossched.Call_ACKNOWLEDGE)
	i.stop()
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}
	key := i.stored().WorkerKey

	i = run(t, i.master, i.config)
	if id := i.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo.GetID().GetValue(); id != "F1" {
		t.Fatalf("subscribes as %q", id)
	}
	i.master.Send(fakemaster.Subscribed("F1", 15))
	r := i.call(mesossched.Call_RECONCILE).Reconcile
	if len(r.Tasks) != 1 || r.Tasks[0].TaskID != proxy.TaskID || r.Tasks[0].GetAgentID().GetValue() != "S0" {
		t.Fatalf("reconciles %+v", r)
	}
	state, reason := mesos.TASK_RUNNING, mesos.REASON_RECONCILIATION
	i.master.Send(&mesossched.Event{Type: mesossched.Event_UPDATE, Update: &mesossched.Event_Update{Status: mesos.TaskStatus{
		TaskID: proxy.TaskID, State: &state, AgentID: &proxy.AgentID, Reason: &reason,
	}}})
	if r := i.call(mesossched.Call_RECONCILE).Reconcile; len(r.Tasks) != 0 {
		t.Fatalf("reconciles %+v, want everything", r)
	}
	status := i.eventually("reconciled", func(s api.Status) bool { return s.Reconciled })
	if len(status.Tasks) != 1 || status.Tasks[0].ID != proxy.TaskID.Value || status.Tasks[0].Killing != "" {
		t.Errorf("tasks %+v", status.Tasks)
	}
	if !bytes.Equal(i.stored().WorkerKey, key) {
		t.Error("there is a new worker key")
	}
}

func mesosError(text string) *mesossched.Event {
	return &mesossched.Event{Type: mesossched.Event_ERROR, Error: &mesossched.Event_Error{Message: text}}
}

func TestRemovedFramework(t *testing.T) {
	i := start(t)
	i.subscribe()
	i.offer("O1", "S0")
	i.call(mesossched.Call_ACCEPT)
	i.stop()
	_ = i.ended()

	i = run(t, i.master, i.config)
	i.call(mesossched.Call_SUBSCRIBE)
	i.master.Send(mesosError("Framework has been removed"))
	i.master.Break()
	err := i.ended()
	if !errors.Is(err, scheduler.ErrFrameworkRemoved) || !strings.Contains(err.Error(), "--new-framework") || strings.Contains(err.Error(), "\n") {
		t.Fatal(err)
	}
	if s := i.stored(); s.FrameworkID != "F1" || len(s.Tasks) != 1 {
		t.Fatalf("the state was not kept: %+v", s)
	}

	key := i.stored().WorkerKey
	c := i.config
	c.NewFramework = true
	i = run(t, i.master, c)
	if info := i.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo; info.ID != nil {
		t.Fatalf("subscribes as %v", info.ID)
	}
	i.master.Send(fakemaster.Subscribed("F2", 15))
	i.eventually("the new framework", func(s api.Status) bool { return s.FrameworkID == "F2" && len(s.Tasks) == 0 })
	if s := i.stored(); !bytes.Equal(s.WorkerKey, key) {
		t.Error("there is a new worker key")
	}
}

func TestLoserOfAFailoverStops(t *testing.T) {
	i := start(t)
	i.subscribe()
	i.eventually("subscribed", func(s api.Status) bool { return s.Connected })
	i.master.Send(mesosError("Framework failed over"))
	i.master.Break()
	if err := i.ended(); !errors.Is(err, scheduler.ErrFailedOver) {
		t.Fatal(err)
	}
	for len(i.master.Calls) > 0 {
		if c := <-i.master.Calls; c.Type == mesossched.Call_SUBSCRIBE {
			t.Error("it subscribes again after the failover")
		}
	}
}

func TestRefusedSubscription(t *testing.T) {
	i := start(t)
	i.call(mesossched.Call_SUBSCRIBE)
	i.master.Send(mesosError("Role 'mining' is not present in the master's --roles"))
	i.master.Break()
	err := i.ended()
	if !errors.Is(err, scheduler.ErrRefused) || !strings.Contains(err.Error(), "Role 'mining'") || strings.Contains(err.Error(), "\n") {
		t.Fatal(err)
	}
}

func TestWrongMasterPassword(t *testing.T) {
	m := fakemaster.New(t)
	m.Answer(func(_ *http.Request, call *mesossched.Call) *fakemaster.Answer {
		if call != nil {
			return &fakemaster.Answer{Code: 401}
		}
		return nil
	})
	c := config(t, m.URL())
	c.Principal, c.Secret = "lode", masterSecret
	i := run(t, m, c)
	err := i.ended()
	if !errors.Is(err, scheduler.ErrUnauthorized) || strings.Contains(err.Error()+i.log.String(), masterSecret) {
		t.Fatal(err)
	}
}

func TestUnreachableMasterIsSaidAndTriedAgain(t *testing.T) {
	m := fakemaster.New(t)
	url := m.URL()
	m.Close()
	i := run(t, m, config(t, url))
	i.eventually("the reason is in the status", func(s api.Status) bool {
		return !s.Connected && strings.Contains(s.Error, url)
	})
	if code, body := i.get("/healthz"); code != 503 || !strings.Contains(body, url) {
		t.Errorf("healthz: %d %s", code, body)
	}
	i.stop()
	if err := i.ended(); err != nil {
		t.Error(err)
	}
}

func TestBrokenStreamIsReplaced(t *testing.T) {
	i := start(t)
	i.subscribe()
	i.eventually("subscribed", func(s api.Status) bool { return s.Connected })
	i.master.Break()
	if id := i.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo.GetID().GetValue(); id != "F1" {
		t.Errorf("subscribes as %q", id)
	}
}

func TestTeardown(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	c.Teardown = true
	i := run(t, m, c)
	i.subscribe()
	i.offer("O1", "S0")
	i.call(mesossched.Call_ACCEPT)
	i.stop()
	if id := i.call(mesossched.Call_TEARDOWN).FrameworkID.GetValue(); id != "F1" {
		t.Errorf("teardown of %q", id)
	}
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}
	if s := i.stored(); s.FrameworkID != "" || len(s.Tasks) != 0 {
		t.Errorf("state %+v", s)
	}
}

type submitter struct {
	blocks chan []byte
	err    error
}

func (s submitter) SubmitBlock(_ context.Context, b []byte) (string, error) {
	s.blocks <- b
	return "confirmed", s.err
}

func TestNewFails(t *testing.T) {
	m := fakemaster.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	locked := config(t, m.URL())
	holder, err := scheduler.New(locked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Close() })
	for _, test := range []struct {
		name   string
		change func(*scheduler.Config)
		want   string
		is     error
	}{
		{"no master", func(c *scheduler.Config) { c.Masters = nil }, "--master", nil},
		{"bad master", func(c *scheduler.Config) { c.Masters = []string{"zk://z/mesos"} }, "zk://z/mesos", nil},
		{"no state folder", func(c *scheduler.Config) { c.StateDir = "" }, "--state-dir", nil},
		{"no upstream", func(c *scheduler.Config) { c.Upstreams = nil }, "--node", nil},
		{"password in URL", func(c *scheduler.Config) { c.Upstreams[0].URL = "node:http://u:hunter2@h" }, "--node-password-file", nil},
		{"no address", func(c *scheduler.Config) { c.PayoutAddress = "" }, "--payout-address", nil},
		{"missing executor", func(c *scheduler.Config) { c.Executor = "/nowhere/lode-executor" }, "/nowhere/lode-executor", nil},
		{"taken port", func(c *scheduler.Config) { c.Listen = taken.Addr().String() }, "--listen", nil},
		{"negative grace", func(c *scheduler.Config) { c.ProxyGrace = -1 }, "--proxy-grace", nil},
		{"long failover timeout", func(c *scheduler.Config) { c.FailoverTimeout = 1 << 62 }, "--failover-timeout", nil},
		{"held back too much", func(c *scheduler.Config) { c.HoldBackCPUs = -1 }, "--hold-back-cpus", nil},
		{"secret alone", func(c *scheduler.Config) { c.Secret = "x" }, "--principal", nil},
		{"bad advertised address", func(c *scheduler.Config) { c.ArtifactAdvertise = "http://x/" }, "--artifact-advertise", nil},
		{"no advertised host", func(c *scheduler.Config) { c.ArtifactAdvertise = ":80" }, "--artifact-advertise", nil},
		{"no advertised port", func(c *scheduler.Config) { c.ArtifactAdvertise = "h:http" }, "--artifact-advertise", nil},
		{"state in use", func(c *scheduler.Config) { c.StateDir = locked.StateDir }, locked.StateDir, scheduler.ErrLocked},
		{"corrupt state", func(c *scheduler.Config) { corrupt(t, c, `{"version":1,`) }, "state.json", scheduler.ErrState},
		{"foreign state", func(c *scheduler.Config) { corrupt(t, c, `{}`) }, "version", scheduler.ErrState},
		{"newer state", func(c *scheduler.Config) { corrupt(t, c, `{"version":99,"worker_key":"AAAA"}`) }, "newer", scheduler.ErrState},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := config(t, m.URL())
			test.change(&c)
			_, err := scheduler.New(c)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q, want %q in it", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %q is no %q", err, test.is)
			}
		})
	}
}

func corrupt(t *testing.T, c *scheduler.Config, state string) {
	t.Helper()
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.StateDir, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	m := fakemaster.New(t)
	for _, test := range []struct{ listen, advertise, want string }{
		{"127.0.0.1:0", "", "127.0.0.1:PORT"},
		{":0", "", "127.0.0.1:PORT"}, // towards a master on loopback
		{"127.0.0.1:0", "example.org:99", "example.org:99"},
		{"127.0.0.1:0", "example.org", "example.org:PORT"},
		{"127.0.0.1:0", "[fe80::1]:7", "[fe80::1]:7"},
		{"127.0.0.1:0", "example.org:0", "example.org:PORT"},
	} {
		c := config(t, m.URL())
		c.Listen, c.ArtifactAdvertise = test.listen, test.advertise
		s, err := scheduler.New(c)
		if err != nil {
			t.Errorf("%+v: %v", test, err)
			continue
		}
		_, port, _ := net.SplitHostPort(s.Addr())
		want := "http://" + strings.ReplaceAll(test.want, "PORT", port) + "/artifacts/"
		if got := s.Status().Artifact.URL; !strings.HasPrefix(got, want) {
			t.Errorf("%+v: %s, want %s", test, got, want)
		}
		s.Close()
	}
}

func TestLoopbackListenerForRemoteMasterIsWarnedOf(t *testing.T) {
	c := config(t, "http://192.0.2.1:5050") // TEST-NET: nothing is sent to it by New
	log := new(lockedBuffer)
	c.Logger = slog.New(slog.NewTextHandler(log, nil))
	s, err := scheduler.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if conn, err := net.Dial("udp", "192.0.2.1:5050"); err != nil {
		t.Skipf("no route to other machines here: %v", err)
	} else {
		conn.Close()
	}
	if !strings.Contains(log.String(), "loopback") {
		t.Errorf("no warning in the log: %s", log)
	}
}

func TestBlockIsStoredBeforeItsReceiptAndSubmitted(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	sub := submitter{blocks: make(chan []byte, 1)}
	c.Blocks = sub
	i := run(t, m, c)
	i.subscribe()
	i.offer("O1", "S0")
	proxy := i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	i.update(proxy, mesos.TASK_RUNNING)
	block := bytes.Repeat([]byte("block"), 120_000) // three parts
	hash := doubleSHA(block[:80])
	name := reverseHex(hash)
	m.Answer(func(_ *http.Request, call *mesossched.Call) *fakemaster.Answer {
		if call != nil && call.Type == mesossched.Call_MESSAGE {
			stored, err := os.ReadFile(filepath.Join(c.StateDir, "blocks", name))
			if err != nil || !bytes.Equal(stored, block) {
				t.Errorf("receipt before the block is stored: %d bytes, %v", len(stored), err)
			}
		}
		return nil
	})
	for part := range 3 {
		end := min(len(block), (part+1)*message.BlockPartSize)
		i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Height: 9, Hash: hash, State: "submitted", Finder: "miner-1"},
			Part:  uint32(part), Parts: 3, Data: block[part*message.BlockPartSize : end],
		}}})
	}
	receipt, err := message.DecodeToExecutor(i.call(mesossched.Call_MESSAGE).Message.Data)
	if err != nil || !bytes.Equal(receipt.GetBlockReceived().GetHash(), hash) {
		t.Fatalf("%v, %v", receipt, err)
	}
	status := i.eventually("the block is in the status", func(s api.Status) bool { return len(s.Blocks) == 1 })
	if b := status.Blocks[0]; b.Hash != name || b.Height != 9 || b.State != "submitted" || !b.Stored || b.Finder != "miner-1" {
		t.Errorf("%+v", b)
	}
	// Nobody confirms it, so the scheduler submits it by itself.
	select {
	case got := <-sub.blocks:
		if !bytes.Equal(got, block) {
			t.Errorf("%d bytes were submitted, want %d", len(got), len(block))
		}
	case <-time.After(patience):
		t.Fatal("the block was not submitted")
	}
	i.eventually("the block is confirmed", func(s api.Status) bool { return s.Blocks[0].State == "confirmed" })
}
