package devmesos

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// resubscribe subscribes the framework of another scheduler again.
func (s *scheduler) resubscribe(url string) *scheduler {
	s.t.Helper()
	info := object{"id": value(s.id)}
	for key, v := range testFramework {
		info[key] = v
	}
	return subscribe(s.t, url, info)
}

// runOne starts a cluster with one task that runs.
func runOne(t *testing.T, cfg Config) (*Cluster, *scheduler, object) {
	t.Helper()
	cfg.Timing = quick()
	c := start(t, cfg)
	s := subscribe(t, c.MasterURL(), testFramework)
	offer := s.waitOffer()
	s.launch(offer, "t1", object{"refuse_seconds": 0})
	s.acknowledge(s.waitState("t1", "TASK_RUNNING"))
	return c, s, offer
}

func (s *scheduler) reconcile(task string, offer object) {
	s.t.Helper()
	s.call("RECONCILE", object{"tasks": []any{object{"task_id": value(task), "agent_id": offer["agent_id"]}}})
}

// waitMetric waits until a metric of the master has a value.
func waitMetric(t *testing.T, c *Cluster, name string, want float64) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get(c.MasterURL() + "/metrics/snapshot")
		if err != nil {
			t.Fatal(err)
		}
		var metrics map[string]float64
		err = json.NewDecoder(response.Body).Decode(&metrics)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if metrics[name] == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v, want %v", name, metrics[name], want)
		}
	}
}

func TestMasterFailover(t *testing.T) {
	c, s, offer := runOne(t, Config{})
	if err := c.FailoverMaster(Failover{}); err != nil {
		t.Fatal(err)
	}
	s.waitEnd()
	s = s.resubscribe(c.MasterURL())
	s.waitOffer() // the agent is back
	s.reconcile("t1", offer)
	s.waitState("t1", "TASK_RUNNING")
	s.call("KILL", object{"task_id": value("t1")})
	s.acknowledge(s.waitState("t1", "TASK_KILLED"))
}

func TestMasterFailoverWithAmnesia(t *testing.T) {
	c, s, _ := runOne(t, Config{})
	c.KillMaster()
	s.waitEnd()
	if _, err := http.Get(c.MasterURL() + "/health"); err == nil {
		t.Error("a dead master answers")
	}
	if err := c.StartMaster(true); err != nil {
		t.Fatal(err)
	}
	s = s.resubscribe(c.MasterURL())
	// Nothing is known until the agent is back, which tells of its tasks by itself
	// if it comes after the scheduler.
	s.waitOffer()
	s.call("RECONCILE", object{"tasks": []any{}})
	s.waitState("t1", "TASK_RUNNING")
	if err := c.StartMaster(false); err == nil {
		t.Error("a second master leads")
	}
}

func TestSeveralMasters(t *testing.T) {
	c, s, offer := runOne(t, Config{Masters: 3})
	urls := c.MasterURLs()
	leader := c.MasterURL()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for _, url := range urls {
		response, err := client.Get(url + "/redirect")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Location"); response.StatusCode != 307 || "http:"+got != leader {
			t.Errorf("%s/redirect gives %s %q, want 307 to %s", url, response.Status, got, leader)
		}
	}
	response, err := client.Post(urls[1]+"/api/v1/scheduler", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := response.Header.Get("Location"); response.StatusCode != 307 || "http:"+got != leader+"/api/v1/scheduler" {
		t.Errorf("a standby answers %s %q", response.Status, got)
	}
	if err := c.FailoverMaster(Failover{}); err != nil {
		t.Fatal(err)
	}
	if c.MasterURL() == leader {
		t.Error("the same master leads after the failover")
	}
	s.waitEnd()
	s = s.resubscribe(c.MasterURL())
	s.waitOffer()
	s.reconcile("t1", offer)
	s.waitState("t1", "TASK_RUNNING")
}

func TestAgentRestartKeepsTasks(t *testing.T) {
	c, s, offer := runOne(t, Config{})
	a := c.Agents()[0]
	waitMetric(t, c, "master/outstanding_offers", 1)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	s.waitType("RESCIND")
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	s.waitOffer()
	s.call("MESSAGE", object{"agent_id": offer["agent_id"], "executor_id": value("e-t1"), "data": []byte("x")})
	s.waitType("MESSAGE")
	s.call("KILL", object{"task_id": value("t1")})
	s.waitState("t1", "TASK_KILLED")
}

func TestAgentPartition(t *testing.T) {
	c, s, _ := runOne(t, Config{})
	a := c.Agents()[0]
	a.Partition(true)
	unreachable := s.waitState("t1", "TASK_UNREACHABLE")
	if dig(unreachable, "unreachable_time") == nil || unreachable["reason"] != "REASON_AGENT_REMOVED" {
		t.Errorf("the update is %v", unreachable)
	}
	s.waitType("FAILURE")
	a.Partition(false)
	if back := s.waitState("t1", "TASK_RUNNING"); back["reason"] != "REASON_AGENT_REREGISTERED" {
		t.Errorf("the agent comes back with %v", back)
	}
}

func TestAgentLost(t *testing.T) {
	c, s, _ := runOne(t, Config{Agents: make([]AgentConfig, 2)})
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		// Shorter than the pings allow: nobody notices.
		c.Agents()[1].PartitionFor(t.Context(), 100*time.Millisecond)
	}()
	for _, a := range c.Agents() {
		if id, _ := a.ID(); id.Value == dig(s.get("/tasks"), "tasks", 0, "slave_id") {
			a.Lose()
		}
	}
	<-cut
	s.waitState("t1", "TASK_UNREACHABLE")
}

func TestAgentMarkedGone(t *testing.T) {
	c, s, offer := runOne(t, Config{})
	response := post(t, c.MasterURL()+"/api/v1", object{"type": "MARK_AGENT_GONE", "mark_agent_gone": object{"agent_id": offer["agent_id"]}}, nil)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	s.waitState("t1", "TASK_GONE_BY_OPERATOR")
	select {
	case <-c.Agents()[0].Done():
	case <-time.After(patience):
		t.Error("an agent that was marked gone lives on")
	}
}

func TestDrain(t *testing.T) {
	c, s, offer := runOne(t, Config{Agents: make([]AgentConfig, 2)})
	drain := object{"type": "DRAIN_AGENT", "drain_agent": object{"agent_id": offer["agent_id"]}}
	response := post(t, c.MasterURL()+"/api/v1", drain, nil)
	response.Body.Close()
	killed := s.waitState("t1", "TASK_KILLED")
	if killed["reason"] != "REASON_AGENT_DRAINING" {
		t.Errorf("the update is %v", killed)
	}
	s.acknowledge(killed)
	deadline := time.Now().Add(patience)
	for {
		response := post(t, c.MasterURL()+"/api/v1", object{"type": "GET_AGENTS"}, nil)
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if strings.Contains(string(body), `"state":"DRAINED"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent is not drained: %s", body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPreemption(t *testing.T) {
	c, s, offer := runOne(t, Config{})
	a, err := c.AgentByID(mesos.AgentID{Value: dig(offer, "agent_id", "value").(string)})
	if err != nil {
		t.Fatal(err)
	}
	if !a.PreemptExecutor(mesos.FrameworkID{Value: s.id}, mesos.ExecutorID{Value: "e-t1"}) {
		t.Fatal("there is no executor to preempt")
	}
	if gone := s.waitState("t1", "TASK_GONE"); gone["reason"] != "REASON_CONTAINER_PREEMPTED" {
		t.Errorf("the update is %v", gone)
	}
}

func TestOddFraming(t *testing.T) {
	for _, framing := range []Framing{SplitFrames, JoinedFrames} {
		timing := quick()
		c := start(t, Config{Timing: timing})
		c.Master().Framing(framing)
		s := subscribe(t, c.MasterURL(), testFramework)
		s.launch(s.waitOffer(), "t1", nil)
		s.acknowledge(s.waitState("t1", "TASK_RUNNING"))
		c.Master().UnknownEvent(s.id)
		s.waitType("EVENT_OF_THE_FUTURE")
	}
}

func TestHalfOpenStreamIsReplaced(t *testing.T) {
	c, s, _ := runOne(t, Config{})
	if !c.Master().HalfOpen(s.id) {
		t.Fatal("no stream")
	}
	again := s.resubscribe(c.MasterURL())
	again.call("RECONCILE", object{"tasks": []any{}})
	again.waitState("t1", "TASK_RUNNING")
}

func TestRevocableResources(t *testing.T) {
	c := start(t, Config{Timing: quick(), Agents: []AgentConfig{{Oversubscribed: "cpus:4"}}})
	s := subscribe(t, c.MasterURL(), object{"user": "root", "name": "r", "capabilities": []any{object{"type": "REVOCABLE_RESOURCES"}}})
	s.wait("revocable cpus", func(event object) bool {
		offers, _ := dig(event, "offers", "offers").([]any)
		for _, o := range offers {
			for _, r := range dig(o, "resources").([]any) {
				if dig(r, "revocable") != nil && dig(r, "scalar", "value") == 4.0 {
					return true
				}
			}
			s.call("DECLINE", object{"offer_ids": []any{dig(o, "id")}, "filters": object{"refuse_seconds": 0}})
		}
		return false
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	c, s, _ := runOne(t, Config{})
	dir := c.temporary
	if dir == "" {
		t.Fatal("the cluster has no temporary folder")
	}
	pids, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil || len(pids) == 0 {
		t.Skip("no /proc on this system")
	}
	c.Close()
	s.waitEnd()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", dir)
	}
	for _, file := range pids {
		if environ, err := os.ReadFile(file); err == nil && strings.Contains(string(environ), dir) {
			t.Errorf("a process of the cluster lives on: %s", file)
		}
	}
}

func TestConfigurationErrors(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  Config
		want string
	}{
		"listen":     {Config{Listen: "nowhere"}, "listen address"},
		"no host":    {Config{Listen: ":0"}, "give a host"},
		"resources":  {Config{Agents: []AgentConfig{{Resources: "cpus"}}}, `resource "cpus"`},
		"revocable":  {Config{Agents: []AgentConfig{{Oversubscribed: "cpus:x"}}}, "oversubscribed"},
		"attributes": {Config{Agents: []AgentConfig{{Attributes: "x"}}}, `attribute "x"`},
	} {
		if c, err := Start(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %s", name, err, test.want)
			if err == nil {
				c.Close()
			}
		}
	}
}
