package core

import (
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// The kernel gives revocable cpus the least weight, so a miner that is the only one
// allowed is on these.
func TestRevocableResourcesArePreferred(t *testing.T) {
	s := newScript(t)
	s.mining()
	s.c.set.Revocable, s.c.set.MaxMiners = true, 1
	s.step(Offers{[]mesos.Offer{{
		ID: mesos.OfferID{Value: "O"}, AgentID: mesos.AgentID{Value: "S9"}, Hostname: "h",
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
		Resources:      []mesos.Resource{scalar("cpus", 4, ""), revocable(scalar("cpus", 1, "")), scalar("mem", 4096, "")},
	}}})
	for _, task := range s.c.state.Tasks {
		if task.Kind == KindMiner && !task.Revocable {
			t.Errorf("%s is on ordinary cpus", task.ID)
		}
	}
}

// A pause ends no task, reaches every miner, is told until they have it, and is undone.
func TestPause(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2")
	addresses := s.c.state.Proxies.Addresses
	s.step(Pause{On: true, Why: "price is 1"})
	lists := s.calls(scheduler.Call_MESSAGE)
	if len(lists) != 2 {
		t.Fatalf("%d messages to two miners", len(lists))
	}
	list := s.opened(lists[0]).GetProxies()
	if !list.Paused || !slices.Equal(list.Addresses, addresses) || s.c.Snapshot(s.now).Paused != "price is 1" {
		t.Errorf("list %v, status %q", list, s.c.Snapshot(s.now).Paused)
	}
	s.minerReport(miners[0], list.Epoch)
	s.pass(time.Minute)
	again := s.calls(scheduler.Call_MESSAGE)
	if len(again) == 0 || !s.opened(again[0]).GetProxies().Paused || again[0].Message.ExecutorID.Value != miners[1] {
		t.Errorf("%d more messages", len(again))
	}
	s.step(Pause{On: true, Why: "price is 2"}) // nothing new for miners
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
		t.Errorf("%d messages though nothing changed", n)
	}
	// A miner that is launched meanwhile begins paused.
	late := s.launchOne("S3")
	if m := s.c.describe(s.c.state.Tasks[late]).GetMiner(); !m.Proxies.Paused {
		t.Error("a new miner does not pause")
	}
	s.step(Pause{})
	if lists := s.calls(scheduler.Call_MESSAGE); len(lists) == 0 || s.opened(lists[0]).GetProxies().Paused || s.c.Snapshot(s.now).Paused != "" {
		t.Errorf("%d messages after the pause", len(lists))
	}
	if n := len(s.calls(scheduler.Call_KILL)); n != 0 {
		t.Errorf("%d kills", n)
	}
}

// A scheduler that starts again does not let miners hash for a moment; one that has no
// rule any more does for good.
func TestPauseAfterARestart(t *testing.T) {
	for _, rule := range []bool{true, false} {
		s := newScript(t)
		s.mining("S1")
		s.step(Pause{On: true, Why: "price is 1"})
		set := s.c.set
		set.MayPause = rule
		c, err := New(set, s.c.state)
		if err != nil {
			t.Fatal(err)
		}
		if c.paused != rule || (c.pausedWhy() != "") != rule {
			t.Errorf("a rule is there: %v, paused: %v", rule, c.paused)
		}
	}
}

func TestForeign(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2", "S3")
	if _, _, known := s.c.Foreign(); known {
		t.Error("known before any miner told")
	}
	for i, host := range []*message.Host{{Cpus: 4, OthersMilli: 1000, Milliwatts: 50_000}, {Cpus: 4, OthersMilli: 3000}} {
		s.say(miners[i], &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
			Sequence: 9, UptimeMs: 9000, Detail: &message.Report_Miner{Miner: &message.MinerReport{Host: host}},
		}}})
	}
	if others, watts, known := s.c.Foreign(); others != 0.5 || watts != 50 || !known {
		t.Errorf("%v %v %v", others, watts, known)
	}
}
