package core

import (
	"crypto/hpke"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

func testCore(t interface{ Fatal(...any) }) *Core {
	c, err := New(Settings{
		Name: "lode", User: "nobody", Roles: []string{"mining"}, FailoverTimeout: time.Hour,
		ArtifactURL: "http://s/artifacts/d/lode-executor", ArtifactDigest: "d", ArtifactArchive: "http://s/artifacts/d/lode-executor.tar.gz",
		Upstreams: []string{"node:http://n"}, PayoutAddress: "a", ReportInterval: time.Second,
		ProxyGrace: 30 * time.Second, CanSubmit: true,
		Secrets: map[string]*message.Credentials{"node:http://n": {User: "u", Password: simPassword}},
		Rand:    rand.New(rand.NewPCG(1, 1)),
	}, NewState([]byte(simKey)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// script steps a core through a scene.
type script struct {
	t       *testing.T
	c       *Core
	now     time.Time
	actions []Action // of the last step
	offers  int
	uuids   int
	ends    map[string]*message.Sealer // of the executors
	key     hpke.PrivateKey            // of all executors

	silent, idle map[string]bool // tasks that do not report, or report that they do nothing
}

func newScript(t *testing.T) *script {
	s := &script{t: t, c: testCore(t), now: simEpoch, silent: make(map[string]bool), idle: make(map[string]bool)}
	s.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
	return s
}

func (s *script) step(e Event) { s.actions = s.c.Step(s.now, e) }

// pass lets time go by, with a tick each second, and gathers the actions. Mesos
// answers meanwhile for tasks that run, and those report.
func (s *script) pass(d time.Duration) {
	var all []Action
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		s.step(Tick{})
		all = append(all, s.actions...)
		for _, id := range sortedKeysOf(s.c.state.Tasks) {
			if t := s.c.state.Tasks[id]; t.State == stateRunning && !s.silent[id] && s.now.Unix()%3 == 0 {
				if t.Kind == KindProxy {
					s.proxyReport(id, !s.idle[id])
				} else {
					s.minerReport(id, t.run.knownEpoch)
				}
				all = append(all, s.actions...)
			}
		}
		for _, c := range s.calls(scheduler.Call_RECONCILE) {
			for _, q := range c.Reconcile.Tasks {
				if t := s.c.state.Tasks[q.TaskID.Value]; t != nil && t.State == stateRunning {
					s.step(Update{mesos.TaskStatus{TaskID: q.TaskID, State: taskState(mesos.TASK_RUNNING), AgentID: q.AgentID}})
					all = append(all, s.actions...)
				}
			}
		}
	}
	s.actions = all
}

func (s *script) calls(kind scheduler.Call_Type) []*scheduler.Call {
	var calls []*scheduler.Call
	for _, a := range s.actions {
		if c, ok := a.(Call); ok && c.Type == kind {
			calls = append(calls, c.Call)
		}
	}
	return calls
}

func (s *script) offer(agent string, resources ...mesos.Resource) {
	s.offers++
	if len(resources) == 0 {
		resources = []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(31000, 31009)}
	}
	s.step(Offers{[]mesos.Offer{{
		ID: mesos.OfferID{Value: fmt.Sprintf("O%d", s.offers)}, AgentID: mesos.AgentID{Value: agent}, Hostname: "host-" + agent,
		Resources: resources, AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
	}}})
}

// launched returns the tasks of the ACCEPT calls.
func (s *script) launched() []mesos.TaskInfo {
	var infos []mesos.TaskInfo
	for _, c := range s.calls(scheduler.Call_ACCEPT) {
		for _, op := range c.Accept.Operations {
			infos = append(infos, op.Launch.TaskInfos...)
		}
	}
	return infos
}

func (s *script) launchOne(agent string, resources ...mesos.Resource) string {
	s.t.Helper()
	s.offer(agent, resources...)
	infos := s.launched()
	if len(infos) != 1 {
		s.t.Fatalf("%d launches from an offer of %s: %s", len(infos), agent, s.why())
	}
	return infos[0].TaskID.Value
}

// why is the reason of the last decision.
func (s *script) why() string {
	d := s.c.decisions.newest()
	if len(d) == 0 {
		for _, h := range s.c.offers.byID {
			return "held: " + h.why.Text
		}
		return "no decision"
	}
	return d[0].Outcome + ": " + d[0].Reason.Text
}

func (s *script) update(task string, state mesos.TaskState, reason ...mesos.TaskStatus_Reason) {
	agent := "S0"
	if t := s.c.state.Tasks[task]; t != nil {
		agent = t.AgentID
	}
	s.uuids++
	status := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, State: &state, AgentID: &mesos.AgentID{Value: agent},
		UUID: []byte(fmt.Sprintf("%016d", s.uuids)),
	}
	if len(reason) > 0 {
		status.Reason = &reason[0]
	}
	s.step(Update{status})
}

func (s *script) say(task string, m *message.ToScheduler) {
	s.t.Helper()
	agent := "S0"
	if t := s.c.state.Tasks[task]; t != nil {
		agent = t.AgentID
	}
	s.step(Message{AgentID: agent, ExecutorID: task, Data: s.seal(task, m)})
}

// end is the executor's end of the link of a task.
func (s *script) end(task string) *message.Sealer {
	if s.ends[task] == nil {
		if s.ends == nil {
			s.ends = make(map[string]*message.Sealer)
		}
		s.ends[task] = message.ExecutorEnd(s.c.launchKey(task), s.c.state.Session)
	}
	return s.ends[task]
}

// seal encodes a message as the executor of a task does.
func (s *script) seal(task string, m *message.ToScheduler) []byte {
	s.t.Helper()
	m.Version = message.Version
	if m.TaskId == "" {
		m.TaskId = task
	}
	b, err := s.end(task).Seal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *script) publicKey() []byte {
	if s.key == nil {
		var err error
		if s.key, err = message.NewSecretsKey(); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.key.PublicKey().Bytes()
}

func (s *script) hello(task string, secrets bool) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{
		NeedSecrets: secrets, ExecutorDigest: "d", PublicKey: s.publicKey(),
	}}})
}

func (s *script) proxyReport(task string, ready bool) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: ready, Error: "node is syncing"}},
	}}})
}

func (s *script) minerReport(task string, epoch uint64) {
	state := "mining"
	if s.idle[task] {
		state = "idle"
	}
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		UptimeMs: uint64(s.now.Sub(simEpoch).Milliseconds()),
		Detail:   &message.Report_Miner{Miner: &message.MinerReport{ProxiesEpoch: epoch, Hashrate: 1, State: state}},
	}}})
}

// mining brings a proxy on S0 and miners on the agents to run.
func (s *script) mining(agents ...string) (proxy string, miners []string) {
	s.t.Helper()
	proxy = s.launchOne("S0")
	s.update(proxy, mesos.TASK_RUNNING)
	s.proxyReport(proxy, true)
	for _, a := range agents {
		m := s.launchOne(a)
		s.update(m, mesos.TASK_RUNNING)
		s.minerReport(m, s.c.state.Proxies.Epoch)
		miners = append(miners, m)
	}
	return proxy, miners
}

// opened reads a framework message as the executor that it is for does.
func (s *script) opened(c *scheduler.Call) *message.ToExecutor {
	s.t.Helper()
	id := c.Message.ExecutorID.Value
	m, err := s.end(id).OpenToExecutor(c.Message.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	if sealed := m.GetSealedSecrets(); sealed != nil {
		secrets, err := message.OpenSecrets(s.key, id, sealed)
		if err != nil {
			s.t.Fatal(err)
		}
		m.Event = &message.ToExecutor_Secrets{Secrets: secrets}
	}
	return m
}

// whole is a Snapshot with what a Walk sees.
type whole struct {
	Snapshot
	Tasks  []TaskView
	Agents []AgentView
}

func everything(c *Core, now time.Time) whole {
	w, all := c.Walk(), whole{Snapshot: c.Snapshot(now)}
	tasks, agents := make([]TaskView, 7), make([]AgentView, 7)
	for more := true; more; {
		var n int
		n, more = w.Tasks(tasks)
		all.Tasks = append(all.Tasks, tasks[:n]...)
	}
	for more := true; more; {
		var n int
		n, more = w.Agents(agents)
		all.Agents = append(all.Agents, agents[:n]...)
	}
	return all
}

func taskState(s mesos.TaskState) *mesos.TaskState { return &s }

// fail ends a task with a message.
func (s *script) fail(task, text string) {
	s.uuids++
	s.step(Update{mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: task}, State: taskState(mesos.TASK_FAILED), Message: &text,
		AgentID: &mesos.AgentID{Value: s.c.state.Tasks[task].AgentID}, UUID: []byte(fmt.Sprintf("%016d", s.uuids)),
	}})
}
