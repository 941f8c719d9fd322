package scheduler_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
	"lode/scheduler"
	"lode/scheduler/api"
	"lode/scheduler/internal/fakemaster"
)

// operate posts a command, and expects an HTTP status.
func (i *instance) operate(path, body string, want int) string {
	i.t.Helper()
	resp, err := http.Post("http://"+i.s.Addr()+path, "application/json", strings.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != want {
		i.t.Fatalf("POST %s: %d %v, want %d", path, resp.StatusCode, answer, want)
	}
	text, _ := answer["done"].(string)
	if text == "" {
		text, _ = answer["error"].(string)
	}
	return text
}

func (i *instance) controls() (c api.Control) {
	i.t.Helper()
	_, body := i.get(api.ControlPath)
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		i.t.Fatal(err)
	}
	return c
}

// mines brings a proxy and a miner to run.
func (i *instance) mines() (proxy, miner mesos.TaskInfo) {
	i.t.Helper()
	i.subscribe()
	i.offer("O1", "S0")
	proxy = i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	i.update(proxy, mesos.TASK_RUNNING)
	i.say(proxy, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 1, Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Height: 5}},
	}}})
	i.offer("O2", "S1")
	miner = i.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]
	i.update(miner, mesos.TASK_RUNNING)
	i.eventually("the miner runs", func(s api.Status) bool { return len(s.Tasks) == 2 && s.Tasks[1].State == "TASK_RUNNING" })
	return proxy, miner
}

func TestPauseAndResume(t *testing.T) {
	i := start(t)
	_, miner := i.mines()
	i.operate(api.PausePath, `{"reason":"a demonstration"}`, 200)
	if list := i.heard(miner).GetProxies(); list == nil || !list.Paused || len(list.Addresses) == 0 {
		t.Fatalf("the miner is told %v", list)
	}
	if c := i.controls(); !c.Paused || len(c.Log) != 1 || !strings.Contains(c.Log[0].What, "a demonstration") {
		t.Errorf("%+v", c)
	}
	if s := i.s.Status(); len(s.Tasks) != 2 || !strings.Contains(s.Need.Why, "paused") || s.Paused != "by somebody on this machine (a demonstration)" {
		t.Errorf("%d tasks, waiting: %s", len(s.Tasks), s.Need.Why)
	}
	i.operate(api.ResumePath, "", 200)
	if list := i.heard(miner).GetProxies(); list == nil || list.Paused || len(list.Addresses) == 0 {
		t.Errorf("the miner is told %v", list)
	}
}

func TestCommandsAreStored(t *testing.T) {
	i := start(t)
	_, miner := i.mines()
	i.operate(api.AgentsPath+"/host-S1/drain", `{"reason":"its fan is loud"}`, 200)
	if k := i.call(mesossched.Call_KILL).Kill; k.TaskID.Value != miner.TaskID.Value {
		t.Errorf("killed %s", k.TaskID.Value)
	}
	i.operate(api.ScalePath, `{"max_miners":7,"max_cpus":12}`, 200)
	i.operate(api.PausePath, "", 200)
	i.stop()
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}
	again := run(t, i.master, i.config)
	if c := again.controls(); !c.Paused || c.MaxMiners != 7 || c.MaxCPUs != 12 || len(c.Drained) != 1 || c.Drained[0].Reason != "its fan is loud" {
		t.Errorf("after a restart: %+v", c)
	}
}

// A command that is answered survives a crash; if the disk does not take it, the answer
// says so.
func TestCommandsAreStoredWhenTheyAreAnswered(t *testing.T) {
	m := fakemaster.New(t)
	i := run(t, m, config(t, m.URL()), func(s *scheduler.Scheduler) { s.Slow(300 * time.Millisecond) })
	i.mines()
	for range 3 {
		if text := i.operate(api.PausePath, "", 200); text != "mining is paused" || !i.stored().Operator.Paused {
			t.Errorf("%q, and it is not stored", text)
		}
		if text := i.operate(api.ResumePath, "", 200); text != "mining goes on" || i.stored().Operator.Paused {
			t.Errorf("%q, and it is not stored", text)
		}
	}

	var sick atomic.Pointer[error]
	full := error(syscall.ENOSPC)
	n := fakemaster.New(t)
	i = run(t, n, config(t, n.URL()), func(s *scheduler.Scheduler) { s.Sicken(&sick) })
	_, miner := i.mines()
	sick.Store(&full)
	if text := i.operate(api.PausePath, "", 200); !strings.HasPrefix(text, "mining is paused; it takes effect when") || !strings.Contains(text, full.Error()) {
		t.Errorf("with a full disk: %q", text)
	}
	sick.Store(nil)
	if list := i.heard(miner).GetProxies(); list == nil || !list.Paused || !i.stored().Operator.Paused {
		t.Errorf("with room again the miner is told %v", list)
	}
}

func TestCommandsThatCannotBe(t *testing.T) {
	i := start(t)
	i.mines()
	i.operate(api.TasksPath+"/nobody/restart", "", 404)
	i.operate(api.AgentsPath+"/nowhere/drain", "", 404)
	i.operate(api.AgentsPath+"/S1/undrain", "", 404)
	i.operate(api.UpgradePath, `{"action":"rollback"}`, 409)
	i.operate(api.UpgradePath, `{"action":"pause"}`, 409)
	if c := i.controls(); len(c.Log) != 0 {
		t.Errorf("refused commands are in the log: %v", c.Log)
	}
}

func TestScaleDown(t *testing.T) {
	i := start(t)
	_, miner := i.mines()
	i.operate(api.ScalePath, `{"max_miners":0}`, 200)
	if k := i.call(mesossched.Call_KILL).Kill; k.TaskID.Value != miner.TaskID.Value {
		t.Errorf("killed %s", k.TaskID.Value)
	}
	i.operate(api.ScalePath, `{"max_miners":-1}`, 200)
	if c := i.controls(); c.None || c.MaxMiners != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAgentsCPUsAreBounded(t *testing.T) {
	i := start(t)
	i.mines()
	i.operate(api.ScalePath, `{"agent":"S1","max_cpus":2.5}`, 200)
	i.call(mesossched.Call_KILL) // the one that has 4
	i.operate(api.ScalePath, `{"agent":"S9","max_cpus":2}`, 404)
}

func TestRestartTask(t *testing.T) {
	i := start(t)
	_, miner := i.mines()
	i.operate(api.TasksPath+"/"+miner.TaskID.Value+"/restart", "", 200)
	if k := i.call(mesossched.Call_KILL).Kill; k.TaskID.Value != miner.TaskID.Value {
		t.Errorf("killed %s", k.TaskID.Value)
	}
	i.operate(api.TasksPath+"/"+miner.TaskID.Value+"/restart", "", 409)
}

// An upgrade takes the executor that is at its place now, a rollback the one before,
// also after a restart; agents can fetch both.
func TestUpgradeAndRollback(t *testing.T) {
	i := start(t)
	i.mines()
	before := i.s.Status().Artifact
	if err := os.WriteFile(i.config.Executor, []byte("a new executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	i.operate(api.UpgradePath, `{"action":"start"}`, 200)
	after := i.s.Status().Artifact
	u := i.controls().Upgrade
	if after.Digest == before.Digest || u.State != "running" || u.Old != 2 || u.Previous != before.Digest {
		t.Fatalf("%+v, %+v", after, u)
	}
	i.eventually("a miner is replaced", func(s api.Status) bool { return s.Tasks[1].Killing != "" })
	for _, url := range []string{before.URL, after.URL} {
		resp, err := http.Get(url)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %v, %v", url, resp, err)
		}
		resp.Body.Close()
	}
	i.operate(api.UpgradePath, `{"action":"pause"}`, 200)
	if u := i.controls().Upgrade; u.State != "paused" {
		t.Errorf("%+v", u)
	}
	i.operate(api.UpgradePath, `{"action":"rollback"}`, 200)
	if got := i.s.Status().Artifact; got.Digest != before.Digest {
		t.Errorf("after the rollback: %+v", got)
	}
	i.stop()
	if err := i.ended(); err != nil {
		t.Fatal(err)
	}
	again := run(t, i.master, i.config)
	if got := again.s.Status().Artifact; got.Digest != before.Digest {
		t.Errorf("after a restart new tasks get %s", got.Digest)
	}
	again.operate(api.UpgradePath, `{"action":"start"}`, 200)
	if got := again.s.Status().Artifact; got.Digest != after.Digest {
		t.Errorf("a later upgrade: %+v", got)
	}
}

func TestEventsOfTheScheduler(t *testing.T) {
	i := start(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.s.Addr()+api.EventsPath+"?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	i.mines()
	i.operate(api.PausePath, "", 200)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	seen := map[string]bool{}
	deadline := time.AfterFunc(patience, func() { resp.Body.Close() })
	defer deadline.Stop()
	for !seen["operator"] && lines.Scan() {
		var e api.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.ID == "" || e.Time.IsZero() {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		seen[e.Type] = true
	}
	if !seen["subscribed"] || !seen["task"] || !seen["operator"] || seen["report"] {
		t.Errorf("seen %v", seen)
	}
}

func TestProbes(t *testing.T) {
	i := start(t)
	if status, _ := i.get("/livez"); status != 200 {
		t.Error(status)
	}
	if status, _ := i.get("/readyz"); status != 503 {
		t.Errorf("ready without a subscription: %d", status)
	}
	i.mines()
	if status, _ := i.get("/readyz"); status != 200 {
		t.Error(status)
	}
}
