package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/constraint"
)

func constraints(t testing.TB, texts ...string) constraint.List {
	t.Helper()
	list, err := constraint.ParseAll(texts)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// constrain gives a core constraints that runs.
func (s *script) constrain(miners, proxies string) {
	s.c.set.Constraints, s.c.set.ProxyConstraints = constraints(s.t, miners), constraints(s.t, proxies)
	s.c.places = newPlaces(&s.c.set)
}

// racks offers agents, of which each has its rack before its name: "a/S1".
func (s *script) racks(agents ...string) {
	var offers []mesos.Offer
	for _, name := range agents {
		rack, agent, _ := strings.Cut(name, "/")
		s.offers++
		offers = append(offers, mesos.Offer{
			ID: mesos.OfferID{Value: fmt.Sprintf("O%d", s.offers)}, AgentID: mesos.AgentID{Value: agent}, Hostname: "host-" + agent,
			Resources:      []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(31000, 31009)},
			AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
			Attributes:     []mesos.Attribute{{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: rack}}},
		})
	}
	s.step(Offers{offers})
}

// on lists the agents of the tasks that were launched.
func (s *script) on() string {
	var agents []string
	for _, info := range s.launched() {
		agents = append(agents, info.AgentID.Value)
	}
	return strings.Join(agents, " ")
}

// run lets all tasks run that are launched.
func (s *script) run() {
	s.t.Helper()
	for _, info := range s.launched() {
		s.update(info.TaskID.Value, mesos.TASK_RUNNING)
	}
}

func TestConstraintsOfMiners(t *testing.T) {
	for _, test := range []struct {
		constraint string
		batches    []string // of offers
		want       []string // agents that get a miner, for each batch
		why        string   // of the last decision
	}{
		{"rack:IS:a", []string{"a/S1 b/S2"}, []string{"S1"}, "declined: constraint rack:IS:a: rack is b"},
		{"hostname:UNLIKE:host-S1", []string{"a/S1 b/S2"}, []string{"S2"}, ""},
		{"zone:IS:a", []string{"a/S1"}, []string{""}, "declined: constraint zone:IS:a: its agent has no zone"},
		{"rack:MAX_PER:1", []string{"a/S1", "a/S2", "b/S3"}, []string{"S1", "", "S3"}, ""},
		{"rack:UNIQUE", []string{"a/S1", "a/S2"}, []string{"S1", ""}, "declined: constraint rack:UNIQUE: there is one where rack is a"},
		{"rack:CLUSTER", []string{"a/S1", "b/S2", "a/S3"}, []string{"S1", "", "S3"}, ""},
		// A miner on one offer makes room for one on another that came before it.
		{"rack:GROUP_BY:2", []string{"a/S1 a/S2 b/S3"}, []string{"S1 S3 S2"}, ""},
		{"rack:GROUP_BY:2", []string{"a/S1", "a/S2", "b/S3", "b/S4 a/S5"}, []string{"S1", "", "S3", "S4 S5"}, ""},
		{"rack:GROUP_BY", []string{"a/S1", "a/S2", "b/S3", "a/S4"}, []string{"S1", "S2", "S3", ""}, "declined: constraint rack:GROUP_BY: there are more where rack is a than in other groups"},
	} {
		t.Run(test.constraint, func(t *testing.T) {
			s := newScript(t)
			s.mining()
			s.constrain(test.constraint, "")
			for i, batch := range test.batches {
				s.racks(strings.Fields(batch)...)
				if got := s.on(); got != test.want[i] {
					t.Fatalf("batch %d of offers, %s: miners on %q, want %q; %s", i, batch, got, test.want[i], s.why())
				}
				s.run()
			}
			if test.why != "" && s.why() != test.why {
				t.Errorf("%q, want %q", s.why(), test.why)
			}
		})
	}
}

// TestTwoMinersOfAnOffer are two where two may not be.
func TestTwoMinersOfAnOffer(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.c.set.Revocable = true
	s.constrain("hostname:UNIQUE", "")
	s.offer("S1", scalar("cpus", 2, ""), revocable(scalar("cpus", 2, "")), scalar("mem", 4096, ""))
	if got := s.on(); got != "S1" {
		t.Errorf("miners on %q", got)
	}
}

// TestFreedPlaceIsFilled: what was refused for minutes comes again when the reason has
// gone.
func TestFreedPlaceIsFilled(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.constrain("rack:UNIQUE", "")
	s.racks("a/S1")
	s.run()
	m := s.c.agents["S1"].tasks[0].ID
	s.minerReport(m, s.c.state.Proxies.Epoch)
	s.racks("a/S2")
	if len(s.calls(scheduler.Call_DECLINE)) != 1 {
		t.Fatal(s.why())
	}
	freed := s.c.places.freed()
	s.update(m, mesos.TASK_RUNNING)
	s.update(m, mesos.TASK_KILLING)
	if s.c.places.freed() != freed {
		t.Error("an update of a miner looks like one that has gone")
	}
	s.pass(endingLimit - time.Second)
	if n := len(s.calls(scheduler.Call_REVIVE)); n != 0 {
		t.Fatalf("%d revivals while nothing changed", n)
	}
	s.update(m, mesos.TASK_KILLED)
	if n := len(s.calls(scheduler.Call_REVIVE)); n != 1 {
		t.Fatalf("%d revivals when the place was free", n)
	}
	s.racks("a/S2")
	if s.on() != "S2" {
		t.Error(s.why())
	}
}

// TestPlacesOutliveTheScheduler: who was launched before counts.
func TestPlacesOutliveTheScheduler(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.constrain("rack:MAX_PER:1", "")
	s.racks("a/S1")
	s.run()
	again := func(texts string) *script {
		t.Helper()
		b, err := s.c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		state, err := DecodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		set := s.c.set
		set.Constraints, set.Rand = constraints(t, texts), rand.New(rand.NewPCG(1, 1))
		c, err := New(set, state)
		if err != nil {
			t.Fatal(err)
		}
		n := &script{t: t, c: c, now: s.now, silent: s.silent, idle: s.idle, offers: s.offers, uuids: s.uuids}
		n.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
		for _, id := range sortedKeysOf(c.state.Tasks) {
			n.update(id, mesos.TASK_RUNNING)
		}
		n.proxyReport(c.proxy().ID, true)
		return n
	}
	n := again("rack:MAX_PER:1")
	n.racks("a/S2")
	if got := n.on(); got != "" {
		t.Errorf("a second miner of the rack, on %s", got)
	}
	n.racks("b/S3")
	if got := n.on(); got != "S3" {
		t.Errorf("miners on %q: %s", got, n.why())
	}
	// A field that nobody looked at before is learned from the next offer.
	n = again("hostname:LIKE:host-.*;rack:IS:a;hostname:MAX_PER:1")
	n.racks("a/S1")
	if got := n.on(); got != "" {
		t.Errorf("a second miner of the host, on %s", got)
	}
	if p := n.c.state.Tasks[n.c.agents["S1"].tasks[0].ID].Place; p[constraint.Hostname] != "host-S1" || p["rack"] != "a" {
		t.Errorf("the task is remembered at %v", p)
	}
}

// TestAgentMoves: an agent may come again with other attributes.
func TestAgentMoves(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.constrain("rack:MAX_PER:1", "")
	s.racks("a/S1")
	s.run()
	s.racks("b/S1")
	if got := s.on(); got != "S1" { // its miner is at b now, but was not before
		if got != "" {
			t.Fatal(got)
		}
	}
	s.racks("b/S2")
	if got := s.on(); got != "" {
		t.Errorf("a second miner of rack b, on %s", got)
	}
	s.racks("a/S3")
	if got := s.on(); got != "S3" {
		t.Errorf("nothing is at rack a any more: %q, %s", got, s.why())
	}
}

// TestReturnedIsOneTooMany: its place was taken while it was away.
func TestReturnedIsOneTooMany(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.constrain("rack:UNIQUE", "")
	s.racks("a/S1")
	s.run()
	m := s.c.agents["S1"].tasks[0]
	s.update(m.ID, mesos.TASK_UNREACHABLE)
	s.pass(crowdedPause)
	s.racks("a/S2")
	if s.on() != "S2" {
		t.Fatal(s.why())
	}
	s.run()
	s.update(m.ID, mesos.TASK_RUNNING)
	if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != m.ID || m.Kill != WhyCrowded {
		t.Errorf("%d kills, %q", len(k), m.Kill)
	}
}

func TestConstraintsOfProxies(t *testing.T) {
	s := newScript(t)
	s.constrain("", "rack:LIKE:a|b")
	s.racks("c/S1")
	if want := "declined: constraint rack:LIKE:a|b: rack is c"; s.why() != want {
		t.Errorf("%q, want %q", s.why(), want)
	}
	s.racks("b/S2")
	if got := s.on(); got != "S2" {
		t.Fatalf("the proxy is on %q: %s", got, s.why())
	}
	p := s.c.agents["S2"].tasks[0].ID
	s.run()
	s.proxyReport(p, true)
	s.racks("c/S1", "a/S3", "c/S4")
	if got := s.on(); got != "S1 S3 S4" {
		t.Fatalf("miners on %q", got)
	}
	s.run()
	// No miner is killed to make room where a proxy may not be.
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	s.pass(25 * time.Second)
	for _, k := range s.calls(scheduler.Call_KILL) {
		if k.Kill.AgentID.Value != "S3" {
			t.Errorf("the miner on %s is killed for nothing", k.Kill.AgentID.Value)
		}
	}
	if s.c.agents["S3"].tasks[0].Kill != WhyRoom {
		t.Error("no room is made")
	}
}

// TestProxyTakesOverWhereItWas: constraints are about proxies of different places.
func TestProxyTakesOverWhereItWas(t *testing.T) {
	s := newScript(t)
	s.c.set.Proxies = 2
	s.c.slots = nil
	s.c.restoreSlots()
	s.step(Tick{})
	s.constrain("", "rack:UNIQUE")
	s.racks("a/S1", "a/S2", "b/S3")
	if got := s.on(); got != "S1 S3" {
		t.Fatalf("proxies on %q: %s", got, s.why())
	}
	first := s.c.slots[0]
	for _, slot := range s.c.slots {
		s.update(slot.active.ID, mesos.TASK_RUNNING)
		s.proxyReport(slot.active.ID, true)
	}
	if r := refusal(s.c.proxyPlaces(first).Judge(constraint.Place{"rack": "a"}, 0)); r.Code != reasonNone {
		t.Errorf("its own rack: %s", r.Text)
	}
	if r := refusal(s.c.proxyPlaces(first).Judge(constraint.Place{"rack": "b"}, 0)); r.Code != reasonCrowded {
		t.Errorf("the rack of the other: %v", r)
	}
}

// A constraint that no agent meets, as it is mistyped, stands on top of the status until
// something is launched.
func TestConstraintThatNobodyMeetsIsTold(t *testing.T) {
	told := func(s *script) string {
		for _, p := range s.c.Problems() {
			if p.Kind == "placement" {
				return p.Text
			}
		}
		return ""
	}
	s := newScript(t)
	s.constrain("rack:IS:B", "rack:IS:A")
	s.racks("a/S1", "b/S2")
	s.pass(placePatience / 2)
	if told(s) != "" {
		t.Errorf("%q is told at once", told(s))
	}
	s.pass(placePatience)
	if want := "nothing is launched on the agents that are offered: constraint rack:IS:A: rack is b"; told(s) != want {
		t.Errorf("%q, want %q", told(s), want)
	}
	s.racks("A/S3")
	s.run()
	s.step(Tick{})
	if told(s) != "" {
		t.Errorf("%q is told though the proxy has its place", told(s))
	}
	p := s.c.agents["S3"].tasks[0].ID
	s.proxyReport(p, true)
	s.racks("b/S2")
	s.pass(2 * placePatience)
	if want := "constraint rack:IS:B: rack is b"; !strings.HasSuffix(told(s), want) {
		t.Errorf("%q, want %q", told(s), want)
	}
	s.racks("B/S4")
	s.run()
	s.step(Tick{})
	if told(s) != "" {
		t.Errorf("%q is told though there is a miner", told(s))
	}
}

func TestRoles(t *testing.T) {
	s := newScript(t)
	s.c.set.Roles = []string{"mining", "batch"}
	if got := s.c.FrameworkInfo().Roles; !slices.Equal(got, []string{"mining", "batch"}) {
		t.Errorf("roles %q", got)
	}
	s.mining()
	of := func(r mesos.Resource) mesos.Resource {
		r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: strp("batch")}
		return r
	}
	offer := func(id, role string, resources ...mesos.Resource) mesos.Offer {
		return mesos.Offer{
			ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: "S1"}, Hostname: "h",
			Resources: resources, AllocationInfo: &mesos.Resource_AllocationInfo{Role: &role},
		}
	}
	s.step(Offers{[]mesos.Offer{
		offer("A", "mining", scalar("cpus", 2, ""), scalar("mem", 512, "")),
		offer("B", "batch", of(scalar("cpus", 1, "")), of(reserved(scalar("cpus", 1, ""), "batch")), of(scalar("mem", 512, ""))),
		offer("C", "others", scalar("cpus", 2, ""), scalar("mem", 512, "")),
	}})
	accepts := s.calls(scheduler.Call_ACCEPT)
	if len(accepts) != 2 {
		t.Fatalf("%d offers are taken", len(accepts))
	}
	for i, role := range []string{"mining", "batch"} {
		a := accepts[i].Accept
		if len(a.OfferIDs) != 1 {
			t.Fatalf("%d offers at once", len(a.OfferIDs))
		}
		for _, info := range a.Operations[0].Launch.TaskInfos {
			for _, r := range slices.Concat(info.Resources, info.Executor.Resources) {
				if r.AllocationInfo.GetRole() != role {
					t.Errorf("%s of role %q on an offer for %q", r.Name, r.AllocationInfo.GetRole(), role)
				}
			}
		}
	}
	// What is reserved for us is used, and used first.
	for _, r := range accepts[1].Accept.Operations[0].Launch.TaskInfos[0].Executor.Resources {
		if r.Name == "cpus" && r.GetRole() != "batch" {
			t.Error("reserved cpus are left for last")
		}
	}
	if d := s.calls(scheduler.Call_DECLINE); len(d) != 1 || d[0].Decline.OfferIDs[0].Value != "C" {
		t.Errorf("declined: %v", d)
	}
	s.c.set.MaxMiners = 2
	s.step(Tick{})
	if c := s.calls(scheduler.Call_SUPPRESS); len(c) != 1 || !slices.Equal(c[0].Suppress.Roles, []string{"mining", "batch"}) {
		t.Errorf("suppressed: %v", c)
	}
	s.c.set.MaxMiners = 3
	s.step(Tick{})
	if c := s.calls(scheduler.Call_REVIVE); len(c) != 1 || !slices.Equal(c[0].Revive.Roles, []string{"mining", "batch"}) {
		t.Errorf("revived: %v", c)
	}
}

func TestOptionalCapabilities(t *testing.T) {
	s := newScript(t)
	has := func(c mesos.FrameworkInfo_Capability_Type) bool {
		return slices.ContainsFunc(s.c.FrameworkInfo().Capabilities, func(x mesos.FrameworkInfo_Capability) bool { return x.Type == c })
	}
	for _, optional := range []struct {
		set        *bool
		capability mesos.FrameworkInfo_Capability_Type
	}{
		{&s.c.set.Revocable, mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES},
		{&s.c.set.GPUAgents, mesos.FrameworkInfo_Capability_GPU_RESOURCES},
		{&s.c.set.RegionAware, mesos.FrameworkInfo_Capability_REGION_AWARE},
	} {
		if has(optional.capability) {
			t.Errorf("%v is there unasked", optional.capability)
		}
		if *optional.set = true; !has(optional.capability) {
			t.Errorf("%v is not there", optional.capability)
		}
	}
	// GPUs are left to others.
	s.mining()
	s.offer("S1", scalar("cpus", 2, ""), scalar("gpus", 4, ""), scalar("mem", 512, ""))
	infos := s.launched()
	if len(infos) != 1 {
		t.Fatal(s.why())
	}
	for _, r := range slices.Concat(infos[0].Resources, infos[0].Executor.Resources) {
		if r.Name == "gpus" {
			t.Error("a miner takes GPUs")
		}
	}
}
