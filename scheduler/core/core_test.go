package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

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
		var infos []mesos.TaskInfo
		for some := range slices.Chunk(offers, paceMost) {
			s.c.pace.window = paceMost
			s.step(Offers{some})
			launched := s.launched()
			for _, info := range launched {
				s.update(info.TaskID.Value, mesos.TASK_RUNNING)
			}
			infos = append(infos, launched...)
		}
		if len(infos) != agents {
			b.Fatalf("%d launches", len(infos))
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

func TestEntriesAreTheState(t *testing.T) {
	s := newScript(t)
	s.mining("S1", "S2")
	entries, err := s.c.state.Entries()
	if err != nil {
		t.Fatal(err)
	}
	kept := make(map[string][]byte)
	for _, e := range entries {
		kept[e.Key] = e.Value
	}
	back, err := RestoreState(kept)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := s.c.state.Encode()
	if got, _ := back.Encode(); string(got) != string(want) {
		t.Errorf("%s\nexpected %s", got, want)
	}
	for _, bad := range []Change{
		{"head", []byte("{")}, {"task/x", []byte("{}")}, {"block/x", []byte("{}")}, {"else", []byte("{}")}, {"head", []byte("{}")},
	} {
		broken := maps.Clone(kept)
		broken[bad.Key] = bad.Value
		if _, err := RestoreState(broken); !errors.Is(err, ErrState) {
			t.Errorf("%s = %s: %v", bad.Key, bad.Value, err)
		}
	}
	delete(kept, "head")
	if _, err := RestoreState(kept); !errors.Is(err, ErrState) {
		t.Errorf("without a head: %v", err)
	}
}
