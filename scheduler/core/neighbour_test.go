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
	if !list.Paused || !slices.Equal(list.Addresses, addresses) || s.c.Snapshot(s.now).Paused != "by the rule price is 1" {
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
	// None is launched meanwhile, and one that was on its way begins paused.
	s.offer("S3")
	if s.on() != "" || s.why() != "declined: mining is paused by the rule price is 1" {
		t.Errorf("launched on %q: %s", s.on(), s.why())
	}
	if m := s.c.describe(s.c.state.Tasks[miners[0]]).GetMiner(); !m.Proxies.Paused {
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
		if c.paused() != rule || (c.pausedWhy() != "") != rule {
			t.Errorf("a rule is there: %v, paused: %v", rule, c.paused())
		}
	}
}

// An operator and the rule pause mining, each for himself: it goes on when neither
// wants it paused any more, and both survive a restart.
func TestPausedByBoth(t *testing.T) {
	s := newScript(t)
	s.c.set.MayPause = true
	s.mining("S1")
	operate := func(e Operate) string {
		e.Who, e.Result = "alice", new(Result)
		s.step(e)
		return e.Result.Done
	}
	sent := func() (lists int, paused bool) {
		for _, m := range s.calls(scheduler.Call_MESSAGE) {
			lists, paused = lists+1, s.opened(m).GetProxies().Paused
		}
		return lists, paused
	}
	for i, step := range []struct {
		do     func() string
		said   string
		paused string
		lists  int // that the miner is sent at once
	}{
		{func() string { return operate(Operate{Pause: true, Reason: "a demonstration"}) }, "mining is paused", "by alice (a demonstration)", 1},
		{func() string { return operate(Operate{Pause: true}) }, "mining is paused", "by alice", 0},
		{func() string { s.step(Pause{On: true, Why: "price is 1"}); return "" }, "", "by alice and by the rule price is 1", 0},
		{func() string { return operate(Operate{Resume: true}) }, "mining stays paused by the rule price is 1", "by the rule price is 1", 0},
		{func() string { return operate(Operate{Pause: true}) }, "mining is paused", "by alice and by the rule price is 1", 0},
		{func() string { s.step(Pause{}); return "" }, "", "by alice", 0},
		{func() string { return operate(Operate{Resume: true}) }, "mining goes on", "", 1},
		{func() string { return operate(Operate{Resume: true}) }, "mining goes on", "", 0},
	} {
		if said := step.do(); said != step.said {
			t.Errorf("step %d: %q, want %q", i, said, step.said)
		}
		if got := s.c.Snapshot(s.now).Paused; got != step.paused {
			t.Errorf("step %d: paused %q, want %q", i, got, step.paused)
		}
		if lists, paused := sent(); lists != step.lists || lists > 0 && paused != (step.paused != "") {
			t.Errorf("step %d: %d lists, paused: %t", i, lists, paused)
		}
		b, err := s.c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		state, err := DecodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := New(s.c.set, state)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.pausedWhy(); got != step.paused {
			t.Errorf("step %d: after a restart paused %q, want %q", i, got, step.paused)
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
