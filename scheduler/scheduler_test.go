package scheduler_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/internal/fakemaster"
)

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
	resp, err := http.Get(uri)
	if err != nil {
		t.Fatal(err)
	}
	executor, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := unpacked(executor); got != "pretended executor" {
		t.Errorf("GET %s: %q", uri, got)
	}
	if resp, err := http.Head(uri); err != nil || resp.StatusCode != 200 || resp.ContentLength != int64(len(executor)) {
		t.Fatalf("HEAD %s: %v, %v", uri, resp, err)
	}

	uuid := i.update(proxy, mesos.TASK_RUNNING)
	if ack := i.call(mesossched.Call_ACKNOWLEDGE).Acknowledge; !bytes.Equal(ack.UUID, uuid) {
		t.Errorf("acknowledged %x, want %x", ack.UUID, uuid)
	}
	private, err := message.NewSecretsKey()
	if err != nil {
		t.Fatal(err)
	}
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{
		NeedSecrets: true, ExecutorDigest: task.ExecutorDigest, PublicKey: private.PublicKey().Bytes(),
	}}})
	secrets, err := message.OpenSecrets(private, proxy.TaskID.Value, i.heard(proxy).GetSealedSecrets())
	if err != nil {
		t.Fatal(err)
	}
	if c := secrets.GetUpstreams()["node:http://127.0.0.1:1"]; c == nil || c.Password != nodePassword || c.User != "rpc" {
		t.Fatalf("secrets %v", secrets)
	}
	key := string(secrets.WorkerKey)
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
	if err != nil || fetched.FrameworkID != "F1" || fetched.Hashrate != 5e6 || !fetched.Connected || fetched.Artifact.Archive != uri {
		t.Errorf("%+v, %v", fetched, err)
	}
	if code, body := i.get("/healthz"); code != 200 {
		t.Errorf("healthz: %d %s", code, body)
	}
	seen := make(map[scheduler.EventType]bool)
	// A fetch is counted when all of it was sent, which may be after its arrival.
	i.told("of the fetch", func(e scheduler.Event) bool { seen[e.Type] = true; return e.Type == scheduler.EventFetched })
	code, metrics := i.get("/metrics")
	for _, want := range []string{
		"lode_hashrate 5e+06", `lode_tasks{kind="miner",state="TASK_RUNNING"} 1`, `lode_shares_total{outcome="stale"} 1`,
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
	if info, err := os.Stat(filepath.Join(i.config.StateDir, "state.log")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v, %v", info, err)
	}

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

func (s submitter) SubmitBlock(_ context.Context, b []byte) (scheduler.BlockFate, error) {
	s.blocks <- b
	return scheduler.BlockFate{State: "confirmed", Confirmations: 1}, s.err
}

func (s submitter) BlockFate(_ context.Context, _ string, height int64) (scheduler.BlockFate, error) {
	return scheduler.BlockFate{State: "orphaned", Confirmations: uint32(height)}, s.err
}

func (s submitter) Tip(context.Context) (scheduler.Tip, error) {
	return scheduler.Tip{Bits: 0x207fffff}, nil
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
	block, hash := easyBlock(600_000) // three parts
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
	if receipt := i.heard(proxy); !bytes.Equal(receipt.GetBlockReceived().GetHash(), hash) {
		t.Fatalf("%v", receipt)
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

// What became of a block without a copy the nodes tell.
func TestFateOfABlockWithoutACopy(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	c.Blocks = submitter{}
	i := run(t, m, c)
	proxy, _ := i.mines()
	hash := bytes.Repeat([]byte{7}, 32)
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 2, Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Blocks: []*message.BlockState{{Height: 9, Hash: hash, State: "submitted"}}}},
	}}})
	is := func(state string) func(api.Status) bool {
		return func(s api.Status) bool { return len(s.Blocks) == 1 && s.Blocks[0].State == state }
	}
	i.eventually("the block is known", is("submitted"))
	i.s.AskFor(hex.EncodeToString(hash), 9)
	i.eventually("a node's word is taken", is("orphaned"))
}
