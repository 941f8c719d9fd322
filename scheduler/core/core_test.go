package core

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
	"lode/scheduler/api"
)

func testCore(t interface{ Fatal(...any) }) *Core {
	c, err := New(Settings{
		Name: "lode", User: "nobody", Role: "mining", FailoverTimeout: time.Hour,
		ArtifactURL: "http://s/artifacts/d/lode-executor", ArtifactDigest: "d",
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
}

func newScript(t *testing.T) *script {
	s := &script{t: t, c: testCore(t), now: simEpoch}
	s.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
	return s
}

func (s *script) step(e Event) { s.actions = s.c.Step(s.now, e) }

// pass lets time go by, with a tick each second, and gathers the actions. Mesos
// answers meanwhile for tasks that run.
func (s *script) pass(d time.Duration) {
	var all []Action
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Second)
		s.step(Tick{})
		all = append(all, s.actions...)
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
		for _, h := range s.c.offers {
			return "held: " + h.why
		}
		return "no decision"
	}
	return d[0].Outcome + ": " + d[0].Reason
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
	m.Version, m.TaskId = message.Version, task
	b, err := message.Encode(m)
	if err != nil {
		s.t.Fatal(err)
	}
	agent := "S0"
	if t := s.c.state.Tasks[task]; t != nil {
		agent = t.AgentID
	}
	s.step(Message{AgentID: agent, ExecutorID: task, Data: b})
}

func (s *script) hello(task string, secrets bool) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: secrets}}})
}

func (s *script) proxyReport(task string, ready bool) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: ready, Error: "node is syncing"}},
	}}})
}

func (s *script) minerReport(task string, epoch uint64) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Detail: &message.Report_Miner{Miner: &message.MinerReport{ProxiesEpoch: epoch, Hashrate: 1}},
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

func toExecutor(t *testing.T, c *scheduler.Call) *message.ToExecutor {
	t.Helper()
	m, err := message.DecodeToExecutor(c.Message.Data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFirstSubscriptionStoresTheIDBeforeAnythingElse(t *testing.T) {
	c := testCore(t)
	if c.FrameworkInfo().ID != nil {
		t.Error("a new framework has an id")
	}
	actions := c.Step(simEpoch, Subscribed{FrameworkID: "F", Master: "m"})
	if _, ok := actions[0].(Persist); !ok {
		t.Errorf("first action is %T", actions[0])
	}
	if got := c.FrameworkInfo().GetID().GetValue(); got != "F" {
		t.Errorf("subscribes as %q", got)
	}
	actions = c.Step(simEpoch, Subscribed{FrameworkID: "other", Master: "m"})
	if stop, ok := actions[len(actions)-1].(Stop); !ok || !errors.Is(stop.Err, ErrRefused) {
		t.Errorf("another id is taken: %v", actions)
	}
}

func TestCapabilities(t *testing.T) {
	c := testCore(t)
	has := func(want mesos.FrameworkInfo_Capability_Type) bool {
		return slices.ContainsFunc(c.FrameworkInfo().Capabilities, func(c mesos.FrameworkInfo_Capability) bool { return c.Type == want })
	}
	for _, want := range []mesos.FrameworkInfo_Capability_Type{
		mesos.FrameworkInfo_Capability_PARTITION_AWARE, mesos.FrameworkInfo_Capability_TASK_KILLING_STATE, mesos.FrameworkInfo_Capability_MULTI_ROLE,
	} {
		if !has(want) {
			t.Errorf("no %v", want)
		}
	}
	if has(mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES) || has(mesos.FrameworkInfo_Capability_GPU_RESOURCES) {
		t.Error("more than is asked for")
	}
	c.set.Revocable = true
	if !has(mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES) {
		t.Error("no REVOCABLE_RESOURCES")
	}
}

func TestOfferDecisions(t *testing.T) {
	for _, test := range []struct {
		name      string
		before    func(*script)
		resources []mesos.Resource
		change    func(*mesos.Offer)
		want      string // of why; "" with launches
		launches  []string
	}{
		{name: "the first is for the proxy", launches: []string{"proxy-0-1"}},
		{name: "a proxy needs a whole cpu", resources: []mesos.Resource{scalar("cpus", 0.9, ""), scalar("mem", 4096, ""), ports(1, 9)}, want: "declined: a proxy needs 1 cpu"},
		{name: "of one kind", resources: []mesos.Resource{scalar("cpus", 0.5, ""), scalar("cpus", 0.5, "mining"), scalar("mem", 4096, ""), ports(1, 9)}, want: "declined: a proxy needs 1 cpu"},
		{name: "no revocable one", resources: []mesos.Resource{revocable(scalar("cpus", 2, "")), scalar("mem", 4096, ""), ports(1, 9)}, want: "declined: a proxy needs 1 cpu"},
		{name: "a proxy needs memory", resources: []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 255, ""), ports(1, 9)}, want: "declined: a proxy needs 256 MB"},
		{name: "a proxy needs ports", resources: []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(5, 5)}, want: "declined: a proxy needs 2 ports"},
		{name: "another role", change: func(o *mesos.Offer) { o.AllocationInfo.Role = strp("other") }, want: "declined: it is for role"},
		{name: "maintenance soon", change: func(o *mesos.Offer) {
			o.Unavailability = &mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: simEpoch.Add(5 * time.Minute).UnixNano()}}
		}, want: "declined: maintenance"},
		{name: "maintenance far off", change: func(o *mesos.Offer) {
			o.Unavailability = &mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: simEpoch.Add(5 * time.Hour).UnixNano()}}
		}, launches: []string{"proxy-0-1"}},
		{name: "held while the proxy starts", before: func(s *script) { s.launchOne("S0") }, want: "held: the proxy is starting"},
		{name: "held while the proxy has no work", before: func(s *script) {
			p := s.launchOne("S0")
			s.update(p, mesos.TASK_RUNNING)
			s.proxyReport(p, false)
		}, want: "held: the proxy has no work: node is syncing"},
		{name: "but not what miners cannot use", before: func(s *script) { s.launchOne("S0") }, resources: []mesos.Resource{scalar("mem", 4096, "")}, want: "declined: no cpus"},
		{name: "a miner takes all cpus", before: func(s *script) { s.mining() }, launches: []string{"miner-S9-2"}},
		{name: "of each kind", before: func(s *script) { s.c.set.Revocable = true; s.mining() }, resources: []mesos.Resource{
			scalar("cpus", 2, ""), scalar("cpus", 3, "mining"), revocable(scalar("cpus", 1, "")), scalar("mem", 4096, ""),
		}, launches: []string{"miner-S9-2", "miner-S9-3", "miner-S9-4"}},
		{name: "no memory", before: func(s *script) { s.mining() }, resources: []mesos.Resource{scalar("cpus", 2, ""), scalar("mem", 127, "")}, want: "declined: a miner needs 128 MB"},
		{name: "held back", before: func(s *script) { s.mining(); s.c.set.HoldBackCPUs = 4 }, want: "declined: its cpus are held back"},
		{name: "enough miners", before: func(s *script) { s.c.set.MaxMiners = 1; s.mining("S1") }, want: "declined: there are 1 miners"},
		{name: "after a failure", before: func(s *script) {
			s.mining()
			m := s.launchOne("S9")
			s.update(m, mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED)
		}, want: "declined: the agent is left alone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			if test.before != nil {
				test.before(s)
			}
			o := mesos.Offer{
				ID: mesos.OfferID{Value: "O"}, AgentID: mesos.AgentID{Value: "S9"}, Hostname: "h", Resources: test.resources,
				AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
			}
			if o.Resources == nil {
				o.Resources = []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(31000, 31009)}
			}
			if test.change != nil {
				test.change(&o)
			}
			s.step(Offers{[]mesos.Offer{o}})
			var got []string
			for _, info := range s.launched() {
				got = append(got, info.TaskID.Value)
			}
			if !slices.Equal(got, test.launches) {
				t.Errorf("launched %v, want %v", got, test.launches)
			}
			why := s.why()
			if h := s.c.offers["O"]; h != nil {
				why = "held: " + h.why
			}
			if test.want != "" && !strings.HasPrefix(why, test.want) {
				t.Errorf("%q, want %q", why, test.want)
			}
			if len(test.launches) == 0 && s.c.offers["O"] == nil && len(s.calls(scheduler.Call_DECLINE)) != 1 {
				t.Error("the offer is not answered")
			}
			// A held one is given back in time.
			if s.c.offers["O"] != nil {
				s.pass(offerLife + 2*time.Second)
				d := s.calls(scheduler.Call_DECLINE)
				if len(d) == 0 || s.c.offers["O"] != nil {
					t.Error("the offer is kept")
				}
			}
		})
	}
}

func TestHoldBackLeavesCPUs(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.c.set.HoldBackCPUs = 1.5
	s.offer("S1", scalar("cpus", 4, ""), scalar("mem", 512, ""))
	infos := s.launched()
	if len(infos) != 1 || infos[0].Resources[0].Scalar.Value != 2.5 {
		t.Fatalf("%v", infos)
	}
}

func TestUnknownTasksAreKilledUntilTheyEnd(t *testing.T) {
	s := newScript(t)
	s.update("stranger-1", mesos.TASK_RUNNING)
	if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != "stranger-1" {
		t.Fatalf("kills %v", k)
	}
	if a := s.calls(scheduler.Call_ACKNOWLEDGE); len(a) != 1 {
		t.Errorf("%d acknowledgements", len(a))
	}
	s.pass(2 * time.Minute)
	if k, sh := s.calls(scheduler.Call_KILL), s.calls(scheduler.Call_SHUTDOWN); len(k) < 4 || len(sh) == 0 {
		t.Errorf("%d kills and %d shutdowns in two minutes", len(k), len(sh))
	}
	s.update("stranger-1", mesos.TASK_KILLED)
	s.pass(2 * time.Minute)
	if k := s.calls(scheduler.Call_KILL); len(k) != 0 {
		t.Errorf("killed after its end: %v", k)
	}
}

func TestEveryStatusWithAUUIDIsAcknowledged(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	for range 2 { // the second is a copy
		s.update(p, mesos.TASK_RUNNING)
		if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 1 {
			t.Errorf("%d acknowledgements", n)
		}
	}
	running := mesos.TASK_RUNNING
	s.step(Update{mesos.TaskStatus{TaskID: mesos.TaskID{Value: p}, State: &running, AgentID: &mesos.AgentID{Value: "S0"}}})
	if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 0 {
		t.Error("a status without a uuid is acknowledged")
	}
	s.update(p, mesos.TASK_STARTING) // late
	if s.c.state.Tasks[p].State != stateRunning {
		t.Error("a late TASK_STARTING went back")
	}
	s.step(Update{mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: p}, State: taskState(mesos.TASK_FAILED), AgentID: &mesos.AgentID{Value: "S1"}, UUID: make([]byte, 16),
	}})
	if s.c.state.Tasks[p] == nil {
		t.Error("another agent ended the task")
	}
	if n := len(s.calls(scheduler.Call_ACKNOWLEDGE)); n != 1 {
		t.Error("it is not acknowledged")
	}
}

func taskState(s mesos.TaskState) *mesos.TaskState { return &s }

func TestEndsAndWhatTheyCost(t *testing.T) {
	for _, test := range []struct {
		name   string
		state  mesos.TaskState
		reason mesos.TaskStatus_Reason
		blamed bool // failures of the agent count
		waits  bool
	}{
		{"offer race", mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, false, false},
		{"agent gone", mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED, false, false},
		{"agent was slow to recover", mesos.TASK_GONE, mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT, false, false},
		{"preempted", mesos.TASK_GONE, mesos.REASON_CONTAINER_PREEMPTED, false, true},
		{"no such user", mesos.TASK_DROPPED, mesos.REASON_EXECUTOR_TERMINATED, true, true},
		{"draining", mesos.TASK_KILLED, mesos.REASON_AGENT_DRAINING, true, true},
		{"crashed", mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED, true, true},
		{"fetch failed", mesos.TASK_FAILED, mesos.REASON_CONTAINER_LAUNCH_FAILED, true, true},
		{"out of memory", mesos.TASK_FAILED, mesos.REASON_CONTAINER_LIMITATION_MEMORY, true, true},
		{"not authorised", mesos.TASK_ERROR, mesos.REASON_TASK_UNAUTHORIZED, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			s.mining()
			m := s.launchOne("S1")
			s.update(m, test.state, test.reason)
			if s.c.state.Tasks[m] != nil {
				t.Fatal("the task is still there")
			}
			if _, ok := s.actions[0].(Persist); !ok {
				t.Errorf("first action is %T", s.actions[0])
			}
			a := s.c.agents["S1"]
			if got := a.failures.count(s.now) > 0; got != test.blamed {
				t.Errorf("failures %v", a.failures.count(s.now))
			}
			if got := a.wait(s.now) > 0; got != test.waits {
				t.Errorf("the agent is left alone for %v", a.wait(s.now))
			}
			e := s.c.Status(s.now).Ended[0]
			if e.ID != m || e.State != test.state.String() || e.Reason != test.reason.String() || e.Wanted {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestBackoffGrowsAndDecays(t *testing.T) {
	s := newScript(t)
	s.mining()
	a := s.c.agent("S1", "")
	var waits []time.Duration
	for range 6 {
		s.c.now = s.now
		s.c.blameEnd(&Task{Kind: KindMiner, AgentID: "S1"}, blameTask)
		waits = append(waits, a.wait(s.now))
		s.now = a.until
	}
	for i := 1; i < len(waits); i++ {
		if float64(waits[i]) < 1.1*float64(waits[i-1]) {
			t.Errorf("waits %v", waits)
			break
		}
	}
	if got := a.failures.count(s.now.Add(time.Hour)); got > 0.01 {
		t.Errorf("%v failures after an hour", got)
	}
	if s.c.kinds[KindMiner].wait(s.c.now) == 0 {
		t.Error("miners are launched as fast as ever")
	}
	m := s.launchOneAfterBackoff("S2")
	s.update(m, mesos.TASK_RUNNING)
	if k := s.c.kinds[KindMiner]; k.failures != 0 || k.wait(s.now) != 0 {
		t.Errorf("a miner runs, and still %+v", k)
	}
}

func (s *script) launchOneAfterBackoff(agent string) string {
	s.pass(2 * time.Minute)
	return s.launchOne(agent)
}

func TestProxyLost(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1", "S2")
	before := s.c.state.Proxies.Epoch
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	messages := s.calls(scheduler.Call_MESSAGE)
	if len(messages) != 2 {
		t.Fatalf("%d messages to two miners", len(messages))
	}
	list := toExecutor(t, messages[0]).GetProxies()
	if list == nil || list.Epoch <= before || len(list.Addresses) != 0 {
		t.Fatalf("list %v", list)
	}
	// The new proxy is told of, again and again until the miners say that they know.
	p2 := s.launchOne("S3")
	if s.c.state.Tasks[p2].Epoch <= list.Epoch {
		t.Errorf("epoch %d of the new proxy", s.c.state.Tasks[p2].Epoch)
	}
	s.update(p2, mesos.TASK_RUNNING)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 2 {
		t.Fatalf("%d messages", n)
	}
	newest := toExecutor(t, s.calls(scheduler.Call_MESSAGE)[0]).GetProxies()
	if len(newest.Addresses) == 0 || newest.Epoch <= list.Epoch {
		t.Fatalf("list %v", newest)
	}
	s.minerReport(miners[0], newest.Epoch)
	s.pass(time.Minute)
	for _, c := range s.calls(scheduler.Call_MESSAGE) {
		if c.Message.ExecutorID.Value != miners[1] {
			t.Errorf("the list is sent again to %s", c.Message.ExecutorID.Value)
		}
	}
	if n := len(s.calls(scheduler.Call_MESSAGE)); n < 2 {
		t.Errorf("the list is sent %d times to a miner that does not have it", n)
	}
	if n := len(s.calls(scheduler.Call_KILL)); n != 0 {
		t.Errorf("%d kills", n)
	}
}

func TestMinersAreKilledAfterTheGrace(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1", "S2", "S3")
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	s.pass(20 * time.Second)
	room := s.calls(scheduler.Call_KILL)
	killed := make(map[string]bool)
	for _, k := range room {
		killed[k.Kill.TaskID.Value] = true
	}
	if len(killed) != 2 { // at 4 s and, as that brings no offer, 15 s later
		t.Errorf("%d miners are killed to make room within 20 s", len(killed))
	}
	s.pass(12 * time.Second)
	for _, k := range s.calls(scheduler.Call_KILL) {
		killed[k.Kill.TaskID.Value] = true
	}
	if len(killed) != len(miners) {
		t.Errorf("%d of %d miners are killed", len(killed), len(miners))
	}
}

func TestNoGrace(t *testing.T) {
	s := newScript(t)
	s.c.set.ProxyGrace = 0
	p, miners := s.mining("S1", "S2")
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	if k := s.calls(scheduler.Call_KILL); len(k) != len(miners) {
		t.Errorf("%d kills at once, want %d", len(k), len(miners))
	}
}

func TestUnreachableProxyIsReplacedAndKilledOnReturn(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	epoch := s.c.state.Proxies.Epoch
	s.update(p, mesos.TASK_UNREACHABLE, mesos.REASON_AGENT_REMOVED)
	s.pass(5 * time.Second)
	if s.c.proxyWanted() || s.c.state.Proxies.Epoch != epoch {
		t.Fatal("it is given up at once")
	}
	s.pass(6 * time.Second)
	if !s.c.proxyWanted() {
		t.Fatal("it is not replaced")
	}
	p2 := s.launchOne("S4")
	s.update(p2, mesos.TASK_RUNNING)
	s.update(p, mesos.TASK_RUNNING, mesos.REASON_AGENT_REREGISTERED)
	if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != p {
		t.Fatalf("kills %v", k)
	}
	s.hello(p, true)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("the old proxy gets secrets")
	}
}

func TestUnreachableMinerThatReturnsGoesOn(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1")
	s.update(miners[0], mesos.TASK_UNREACHABLE, mesos.REASON_AGENT_REMOVED)
	s.pass(5 * time.Minute)
	s.update(miners[0], mesos.TASK_RUNNING, mesos.REASON_AGENT_REREGISTERED)
	s.pass(time.Minute)
	if k := s.calls(scheduler.Call_KILL); len(k) != 0 {
		t.Errorf("kills %v", k)
	}
}

func TestSurplusMinerIsKilledOnReturn(t *testing.T) {
	s := newScript(t)
	s.c.set.MaxMiners = 1
	_, miners := s.mining("S1")
	s.update(miners[0], mesos.TASK_UNREACHABLE, mesos.REASON_AGENT_REMOVED)
	s.launchOne("S2") // replaced at once
	s.update(miners[0], mesos.TASK_RUNNING, mesos.REASON_AGENT_REREGISTERED)
	if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != miners[0] {
		t.Errorf("kills %v", k)
	}
}

func TestSecretsOnlyForTheWantedProxyThatAsks(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1")
	s.hello(p, false)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("secrets without being asked")
	}
	s.hello(miners[0], true)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("secrets for a miner")
	}
	s.hello("proxy-0-77", true)
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("secrets for a stranger")
	}
	m := &message.ToScheduler{Version: message.Version, TaskId: p, Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: true}}}
	b, _ := message.Encode(m)
	s.step(Message{AgentID: "S1", ExecutorID: p, Data: b})
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("secrets for another agent")
	}
	s.step(Message{AgentID: "S1", ExecutorID: miners[0], Data: b})
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Error("secrets for an executor that speaks for the proxy")
	}
	s.hello(p, true)
	sent := s.calls(scheduler.Call_MESSAGE)
	if len(sent) != 1 || toExecutor(t, sent[0]).GetSecrets().GetUpstreams()["node:http://n"].Password != simPassword {
		t.Fatalf("messages %v", sent)
	}
	if got := sent[0].Message; got.ExecutorID.Value != p || got.AgentID.Value != "S0" {
		t.Errorf("secrets go to %s on %s", got.ExecutorID.Value, got.AgentID.Value)
	}
}

func TestSilentLaunchIsAskedFor(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	s.pass(30 * time.Second)
	asked := false
	for _, c := range s.calls(scheduler.Call_RECONCILE) {
		asked = asked || len(c.Reconcile.Tasks) == 1 && c.Reconcile.Tasks[0].TaskID.Value == p
	}
	if !asked {
		t.Fatal("nobody asks for a launch that vanished")
	}
	gone, reason := mesos.TASK_GONE, mesos.REASON_RECONCILIATION
	s.step(Update{mesos.TaskStatus{TaskID: mesos.TaskID{Value: p}, State: &gone, Reason: &reason, AgentID: &mesos.AgentID{Value: "S0"}}})
	if p2 := s.launchOne("S0"); p2 == p {
		t.Error("the task id is used again")
	}
}

func TestLaunchThatTakesForeverIsGivenUp(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	s.update(p, mesos.TASK_STARTING)
	s.pass(launchLimit + 5*time.Second)
	if s.c.state.Tasks[p].Kill == "" || len(s.calls(scheduler.Call_KILL)) == 0 {
		t.Error("it is waited for")
	}
}

func TestSuppressAndRevive(t *testing.T) {
	s := newScript(t)
	s.c.set.MaxMiners = 1
	_, miners := s.mining("S1")
	s.step(Tick{})
	if !s.c.revive.suppressed {
		t.Fatal("offers are wanted for nothing")
	}
	s.update(miners[0], mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 1 || !slices.Equal(r[0].Revive.Roles, []string{"mining"}) {
		t.Fatalf("revivals %v", r)
	}
	s.step(Subscribed{FrameworkID: "F", Master: "m"})
	if s.c.revive.suppressed {
		t.Error("a subscription lifts suppression")
	}
}

func TestRevivalsHaveABudget(t *testing.T) {
	r := reviver{}
	now, n := simEpoch, 0
	for range 600 { // a minute
		if r.token(now) {
			n++
		}
		now = now.Add(100 * time.Millisecond)
	}
	if n < 10 || n > reviveBurst+13 {
		t.Errorf("%d revivals in a minute", n)
	}
}

func TestMaintenanceEndsTasksInTime(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2")
	start := s.now.Add(20 * time.Minute)
	s.step(InverseOffers{[]mesos.InverseOffer{{
		OfferID: mesos.OfferID{Value: "I1"}, AgentID: &mesos.AgentID{Value: "S1"},
		Unavailability: mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: start.UnixNano()}, Duration: &mesos.DurationInfo{Nanoseconds: time.Hour.Nanoseconds()}},
	}}})
	if a := s.calls(scheduler.Call_ACCEPT_INVERSE_OFFERS); len(a) != 1 || a[0].AcceptInverseOffers.InverseOfferIDs[0].Value != "I1" {
		t.Fatalf("%v", a)
	}
	s.pass(19 * time.Minute)
	if k := s.calls(scheduler.Call_KILL); len(k) != 0 {
		t.Fatalf("a minute before: %d kills", len(k))
	}
	s.pass(time.Minute)
	k := s.calls(scheduler.Call_KILL)
	if len(k) == 0 || k[0].Kill.TaskID.Value != miners[0] {
		t.Fatalf("kills %v", k)
	}
	if s.c.state.Tasks[miners[1]].Kill != "" {
		t.Error("a miner elsewhere is killed")
	}
}

func TestPeriodicReconciliation(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	s.pass(15 * time.Minute)
	explicit, implicit := 0, 0
	for _, c := range s.calls(scheduler.Call_RECONCILE) {
		if len(c.Reconcile.Tasks) == 0 {
			implicit++
		} else if c.Reconcile.Tasks[0].TaskID.Value == p || len(c.Reconcile.Tasks) == 2 {
			explicit++
		}
	}
	if explicit == 0 || implicit == 0 || explicit > 20 {
		t.Errorf("%d explicit and %d implicit rounds in 15 minutes", explicit, implicit)
	}
}

func TestBlockStates(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	block := bytes.Repeat([]byte{7}, 200)
	hash := hashOf(block)
	send := func() {
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Height: 3, Hash: hash, State: "submitted"}, Parts: 1, Data: block,
		}}})
	}
	report := func(state string, confirmations uint32) {
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
			Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true, Blocks: []*message.BlockState{{
				Height: 3, Hash: hash, State: state, Confirmations: confirmations,
			}}}},
		}}})
	}
	has := func(want Action) bool {
		for _, a := range s.actions {
			if fmt.Sprintf("%T", a) == fmt.Sprintf("%T", want) {
				return true
			}
		}
		return false
	}
	send()
	if _, ok := s.actions[0].(StoreBlock); !ok || !has(Persist{}) || len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Fatalf("%v", s.actions)
	}
	send() // the receipt was lost
	if has(StoreBlock{}) || len(s.calls(scheduler.Call_MESSAGE)) != 1 {
		t.Errorf("sent again: %v", s.actions)
	}
	s.pass(submitPatience + time.Second)
	if !has(SubmitBlock{}) {
		t.Fatal("nobody submits the block")
	}
	name := fmt.Sprintf("%x", reversed(hash))
	s.step(Submitted{Hash: name, Err: "connection refused"})
	s.pass(time.Minute)
	if !has(SubmitBlock{}) {
		t.Fatal("it is not tried again")
	}
	s.step(Submitted{Hash: name, State: "submitted"})
	report("confirmed", 1)
	if b := s.c.Status(s.now).Blocks; len(b) != 1 || b[0].State != "confirmed" || !b[0].Stored {
		t.Fatalf("%+v", b)
	}
	report("submitted", 0) // a proxy that was restarted knows less
	if b := s.c.Status(s.now).Blocks; b[0].State != "confirmed" {
		t.Errorf("%+v", b)
	}
	report("confirmed", 6)
	if !has(DropBlock{}) || s.c.Status(s.now).Blocks[0].Stored {
		t.Errorf("a deep block is kept: %v", s.actions)
	}
	s.pass(time.Hour)
	if has(SubmitBlock{}) {
		t.Error("a confirmed block is submitted")
	}
}

func TestBadBlocks(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining()
	hash := make([]byte, 32)
	for name, b := range map[string]*message.Block{
		"no state":       {Parts: 1, Data: make([]byte, 200)},
		"short hash":     {Block: &message.BlockState{Hash: hash[:31]}, Parts: 1, Data: make([]byte, 200)},
		"no parts":       {Block: &message.BlockState{Hash: hash}, Data: make([]byte, 200)},
		"many parts":     {Block: &message.BlockState{Hash: hash}, Parts: 1 << 31, Data: make([]byte, 200)},
		"part too high":  {Block: &message.BlockState{Hash: hash}, Part: 2, Parts: 2},
		"another hash":   {Block: &message.BlockState{Hash: hash}, Parts: 1, Data: make([]byte, 200)},
		"only a header":  {Block: &message.BlockState{Hash: hashOf(make([]byte, 80))}, Parts: 1, Data: make([]byte, 80)},
		"large part":     {Block: &message.BlockState{Hash: hash}, Parts: 1, Data: make([]byte, message.BlockPartSize+1)},
		"nothing at all": {},
	} {
		bad := s.c.counters.BadMessages
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: b}})
		if s.c.counters.BadMessages != bad+1 || len(s.c.state.Blocks) != 0 || len(s.calls(scheduler.Call_MESSAGE)) != 0 {
			t.Errorf("%s: %v", name, s.actions)
		}
	}
	for i := range 100 { // halves that never become whole
		hash[0] = byte(i)
		s.say(p, &message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Hash: hash}, Parts: 2, Data: []byte{1},
		}}})
	}
	if n := len(s.c.blocks); n > mostAssemblies {
		t.Errorf("%d half blocks are kept", n)
	}
}

func TestErrorEvents(t *testing.T) {
	for text, want := range map[string]error{
		"Framework has been removed": ErrRemoved, "Framework failed over": ErrFailedOver, "Framework disconnected": nil,
	} {
		s := newScript(t)
		s.step(Error{text})
		var got error
		for _, a := range s.actions {
			if stop, ok := a.(Stop); ok {
				got = stop.Err
			}
		}
		if !errors.Is(got, want) || want == nil && got != nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTextOfOthersIsBounded(t *testing.T) {
	if got := limit("a\x1b[31m\n\xff"+strings.Repeat("ü", 100), 20); len(got) > 20 || strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("%q", got)
	}
	for _, f := range []float64{-1, 1e300, nan()} {
		if finite(f) != 0 {
			t.Errorf("finite(%v) = %v", f, finite(f))
		}
	}
}

func nan() float64 { z := 0.0; return z / z }

func hashOf(block []byte) []byte {
	return doubleSHA(block[:80])
}

// FuzzMessages lets executors send what they like: whatever it is, a core must go
// on, and store before it sends.
func FuzzMessages(f *testing.F) {
	for _, m := range []*message.ToScheduler{
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Hello{Hello: &message.Hello{NeedSecrets: true}}},
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Report{Report: &message.Report{Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true}}}}},
		{Version: 1, TaskId: "proxy-0-1", Event: &message.ToScheduler_Block{Block: &message.Block{Block: &message.BlockState{Hash: make([]byte, 32)}, Parts: 1}}},
		{Version: 9, TaskId: "x"},
	} {
		b, err := message.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newScript(t)
		s.mining("S1")
		s.step(Message{AgentID: "S0", ExecutorID: "proxy-0-1", Data: data})
		sent := false
		for _, a := range s.actions {
			switch a.(type) {
			case Call:
				sent = true
			case Persist, StoreBlock:
				if sent {
					t.Error("stored after sending")
				}
			}
		}
		var _ api.Status = s.c.Status(s.now)
	})
}

// FuzzState reads states that somebody damaged.
func FuzzState(f *testing.F) {
	s := NewState([]byte("key"))
	s.FrameworkID = "F"
	s.Tasks["t"] = &Task{ID: "t", Kind: KindMiner, AgentID: "S", State: stateRunning}
	b, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"worker_key":"AAAA","framework_id":"F","tasks":{"a":null}}`))
	f.Add([]byte(`{"version":1,"worker_key":"AAAA","blocks":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Errorf("%v is no ErrState", err)
			}
			return
		}
		// A state that is taken can be worked with, and stored and read again.
		set := testCore(t).set
		c, err := New(set, s)
		if err != nil {
			t.Fatal(err)
		}
		c.Step(simEpoch, Subscribed{FrameworkID: s.FrameworkID, Master: "m"})
		c.Step(simEpoch.Add(time.Second), Tick{})
		c.Status(simEpoch)
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeState(again); err != nil {
			t.Error(err)
		}
	})
}

func TestGrowingNeedRevives(t *testing.T) {
	s := newScript(t)
	p := s.launchOne("S0")
	s.offer("S1", scalar("mem", 4096, "")) // declined for long
	s.update(p, mesos.TASK_RUNNING)
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 0 {
		t.Fatal("revived for nothing")
	}
	s.proxyReport(p, true) // now miners are wanted
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 1 {
		t.Fatalf("%d revivals when miners became wanted", len(r))
	}
	s.offer("S1", scalar("mem", 4096, ""))
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED) // now a proxy is
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 1 {
		t.Fatalf("%d revivals when a proxy became wanted", len(r))
	}
	s.pass(time.Minute)
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 0 {
		t.Errorf("%d revivals while nothing changed", len(r))
	}
}

func TestResubscriptionVoidsOffersReconcilesAndHoldsLaunches(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1")
	s.update(p, mesos.TASK_KILLED) // a proxy is wanted
	s.c.now = s.now
	s.c.agent("S0", "").until = time.Time{}
	s.c.offers["stale"] = &heldOffer{offer: mesos.Offer{ID: mesos.OfferID{Value: "stale"}, AgentID: mesos.AgentID{Value: "S5"}}, received: s.now}
	s.now = s.now.Add(time.Minute)
	s.step(Subscribed{FrameworkID: "F", Master: "m2"})
	if len(s.c.offers) != 0 {
		t.Error("an offer of before is kept")
	}
	r := s.calls(scheduler.Call_RECONCILE)
	if len(r) != 1 || len(r[0].Reconcile.Tasks) != 1 || r[0].Reconcile.Tasks[0].TaskID.Value != miners[0] {
		t.Fatalf("reconciliation %v", r)
	}
	s.offer("S3")
	if len(s.launched()) != 0 {
		t.Error("launched before tasks of before were heard of")
	}
	s.step(Update{mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: miners[0]}, State: taskState(mesos.TASK_RUNNING), AgentID: &mesos.AgentID{Value: "S1"},
	}})
	if len(s.launched()) != 1 {
		t.Errorf("not launched after: %s", s.why())
	}
	if r := s.calls(scheduler.Call_RECONCILE); len(r) != 1 || len(r[0].Reconcile.Tasks) != 0 {
		t.Errorf("no implicit reconciliation: %v", r)
	}

	// A master that does not answer holds nothing up for long.
	s.step(Subscribed{FrameworkID: "F", Master: "m3"})
	s.update(s.c.proxy().ID, mesos.TASK_KILLED)
	s.now = s.now.Add(holdLaunches)
	s.offer("S4")
	if len(s.launched()) != 1 {
		t.Errorf("not launched in spite of silence: %s", s.why())
	}
}

// BenchmarkCluster brings 5000 agents to mine: offers, launches, updates, reports.
func BenchmarkCluster(b *testing.B) {
	const agents = 5000
	for b.Loop() {
		s := &script{t: new(testing.T), c: testCore(b), now: simEpoch}
		s.step(Subscribed{FrameworkID: "F", Master: "m"})
		s.mining()
		var offers []mesos.Offer
		for i := range agents {
			offers = append(offers, mesos.Offer{
				ID: mesos.OfferID{Value: fmt.Sprintf("O-%d", i)}, AgentID: mesos.AgentID{Value: fmt.Sprintf("A%d", i)}, Hostname: "h",
				Resources:      []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(31000, 31009)},
				AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
			})
		}
		s.step(Offers{offers})
		infos := s.launched()
		if len(infos) != agents {
			b.Fatalf("%d launches", len(infos))
		}
		for _, info := range infos {
			s.update(info.TaskID.Value, mesos.TASK_RUNNING)
		}
		for range 3 {
			for _, info := range infos {
				s.minerReport(info.TaskID.Value, s.c.state.Proxies.Epoch)
			}
			s.step(Tick{})
		}
		s.step(Subscribed{FrameworkID: "F", Master: "m"})
		for _, info := range infos {
			s.update(info.TaskID.Value, mesos.TASK_RUNNING)
		}
	}
	b.ReportMetric(agents, "agents")
}
