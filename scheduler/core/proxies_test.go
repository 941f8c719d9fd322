package core

import (
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

func TestProxyLost(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1", "S2")
	before := s.c.state.Proxies.Epoch
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	messages := s.calls(scheduler.Call_MESSAGE)
	if len(messages) != 2 {
		t.Fatalf("%d messages to two miners", len(messages))
	}
	list := s.opened(messages[0]).GetProxies()
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
	newest := s.opened(s.calls(scheduler.Call_MESSAGE)[0]).GetProxies()
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

// A proxy that Mesos lost sight of may serve all the while. Whether it does its miners
// tell; another takes over before it is given up.
func TestUnreachableProxy(t *testing.T) {
	for _, test := range []struct {
		name   string
		serves bool
		within time.Duration // another one is wanted
		after  time.Duration
	}{
		{"miners idle", false, awayPatience, time.Second},
		{"miners mine", true, awayLimit + 2*time.Second, awayLimit - 5*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			p, miners := s.mining("S1")
			s.pass(20 * time.Second)
			listed := s.c.state.Proxies
			s.idle[miners[0]] = !test.serves
			s.c.roomAt = never // no miner makes room
			s.update(p, mesos.TASK_UNREACHABLE, mesos.REASON_AGENT_REMOVED)
			s.pass(test.after)
			if s.c.proxiesWanted() != 0 {
				t.Fatal("it is given up at once")
			}
			s.pass(test.within - test.after)
			if s.c.proxiesWanted() == 0 {
				t.Fatal("no other one is wanted")
			}
			s.offer("S4", scalar("cpus", 1, ""), scalar("mem", 4096, ""), ports(31000, 31009))
			if len(s.launched()) != 1 {
				t.Fatalf("%d launches: %s", len(s.launched()), s.why())
			}
			p2 := s.launched()[0].TaskID.Value
			s.update(p2, mesos.TASK_RUNNING)
			if got := s.c.state.Proxies; got.Epoch != listed.Epoch || len(s.calls(scheduler.Call_MESSAGE)) != 0 {
				t.Errorf("miners are told of %v before the other one serves", got)
			}
			s.proxyReport(p2, true)
			if s.c.proxy().ID != p2 || len(s.calls(scheduler.Call_MESSAGE)) != 1 {
				t.Fatalf("the other one does not take over, %d messages", len(s.calls(scheduler.Call_MESSAGE)))
			}
			s.update(p, mesos.TASK_RUNNING, mesos.REASON_AGENT_REREGISTERED)
			if k := s.calls(scheduler.Call_KILL); len(k) != 1 || k[0].Kill.TaskID.Value != p {
				t.Fatalf("kills %v", k)
			}
			s.hello(p, true)
			if n := len(s.calls(scheduler.Call_MESSAGE)); n != 0 {
				t.Error("the old proxy gets secrets")
			}
		})
	}
}

// A proxy that hangs is replaced within seconds when its miners say so, within
// silentLimit when nobody says anything, and not at all while its miners mine.
func TestSilentProxy(t *testing.T) {
	for _, test := range []struct {
		name   string
		miners []string
		idle   bool
		within time.Duration // 0: never
	}{
		{"miners idle", []string{"S1", "S2"}, true, 16 * time.Second},
		{"no miners", nil, false, silentLimit + 4*time.Second},
		{"miners mine", []string{"S1", "S2"}, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			p, miners := s.mining(test.miners...)
			s.pass(20 * time.Second)
			s.silent[p] = true
			for _, m := range miners {
				s.idle[m] = test.idle
			}
			if test.within == 0 {
				s.pass(10 * time.Minute)
				if s.c.proxiesWanted() != 0 {
					t.Error("it is replaced, though it serves")
				}
				return
			}
			s.pass(test.within)
			if s.c.proxiesWanted() == 0 {
				t.Fatal("nobody replaces it")
			}
			if code, _ := s.c.minersWanted(); code == reasonNone {
				t.Error("miners are wanted for a proxy that is silent")
			}
			if s.c.lostAt == never && len(miners) > 0 {
				t.Error("the grace has not begun")
			}
		})
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
	b := s.seal(p, &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: &message.Hello{
		NeedSecrets: true, ExecutorDigest: "d", PublicKey: s.publicKey(),
	}}})
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
	if len(sent) != 1 || s.opened(sent[0]).GetSecrets().GetUpstreams()["node:http://n"].Password != simPassword {
		t.Fatalf("messages %v", sent)
	}
	if got := sent[0].Message; got.ExecutorID.Value != p || got.AgentID.Value != "S0" {
		t.Errorf("secrets go to %s on %s", got.ExecutorID.Value, got.AgentID.Value)
	}
}
