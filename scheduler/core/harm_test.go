package core

import (
	"fmt"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

func (s *script) command(e Operate) string {
	e.Who, e.Result = "olga", new(Result)
	s.step(e)
	return e.Result.Done + e.Result.Refused
}

func intp(n int) *int           { return &n }
func floatp(f float64) *float64 { return &f }

// Miners that are away were replaced: a bound is for those that can be seen.
func TestAHigherBoundEndsNothing(t *testing.T) {
	s := newScript(t)
	s.command(Operate{Scale: &Scale{MaxMiners: intp(2)}})
	_, miners := s.mining("S1", "S2")
	for _, id := range miners {
		s.update(id, mesos.TASK_UNREACHABLE)
	}
	for _, a := range []string{"S3", "S4"} {
		id := s.launchOne(a)
		s.update(id, mesos.TASK_RUNNING)
		s.minerReport(id, s.c.state.Proxies.Epoch)
		miners = append(miners, id)
	}
	s.command(Operate{Scale: &Scale{MaxMiners: intp(3)}})
	for _, id := range miners[2:] {
		if why := s.c.state.Tasks[id].Kill; why != "" {
			t.Errorf("%s is killed though one more is wanted: %s", id, why)
		}
	}
	s.update(miners[0], mesos.TASK_RUNNING)
	s.update(miners[1], mesos.TASK_RUNNING)
	if s.c.state.Tasks[miners[0]].Kill != "" || s.c.state.Tasks[miners[1]].Kill == "" {
		t.Errorf("of two that come back, one is one too many: %q, %q", s.c.state.Tasks[miners[0]].Kill, s.c.state.Tasks[miners[1]].Kill)
	}
}

// What comes back is held to every bound of miners.
func TestReturnedAboveABoundOfCPUs(t *testing.T) {
	for name, scale := range map[string]*Scale{
		"all":   {MaxCPUs: floatp(4)},
		"agent": {MaxCPUs: floatp(4), Agent: "S1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.mining()
			first := s.launchOne("S1")
			s.update(first, mesos.TASK_RUNNING)
			s.command(Operate{Scale: scale})
			if s.c.state.Tasks[first].Kill != "" {
				t.Fatal("it is within the bound")
			}
			s.update(first, mesos.TASK_UNREACHABLE)
			second := s.launchOne("S1")
			s.update(second, mesos.TASK_RUNNING)
			s.update(first, mesos.TASK_RUNNING)
			if s.c.state.Tasks[first].Kill == "" || s.c.state.Tasks[second].Kill != "" {
				t.Errorf("the first came back to where the second is: killed %q, %q", s.c.state.Tasks[first].Kill, s.c.state.Tasks[second].Kill)
			}
		})
	}
}

// A miner that somebody else ends and that does not end: an agent's drain waits for it.
func TestKillingThatNeverEnds(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1")
	s.update(miners[0], mesos.TASK_KILLING)
	s.pass(20 * time.Minute)
	if n := len(s.calls(scheduler.Call_SHUTDOWN)); n == 0 {
		t.Errorf("%s is being killed for 20 minutes, and its executor is left alone", miners[0])
	}
}

func TestMoveBeforeMaintenance(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining("S1")
	s.step(InverseOffers{[]mesos.InverseOffer{{
		OfferID: mesos.OfferID{Value: "I"}, AgentID: &mesos.AgentID{Value: "S0"},
		Unavailability: mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: s.now.Add(5 * time.Minute).UnixNano()}},
	}}})
	s.pass(10 * time.Second)
	s.offer("S2")
	if infos := s.launched(); len(infos) == 0 || infos[0].Name != "lode proxy" {
		t.Fatalf("no proxy is launched beside the one whose agent goes: %s", s.why())
	}
	if s.c.state.Tasks[proxy].Kill != "" {
		t.Error("the first is ended")
	}
}

func TestDrainMovesTheProxyFirst(t *testing.T) {
	s := newScript(t)
	proxy, _ := s.mining("S1")
	s.command(Operate{Drain: "S0"})
	if why := s.c.state.Tasks[proxy].Kill; why != "" {
		t.Errorf("the proxy ends before there is another: %s", why)
	}
}

// beside launches the next proxy on an agent, and brings it to serve.
func (s *script) beside(agent string) string {
	s.t.Helper()
	s.pass(2 * time.Second)
	id := s.launchOne(agent, scalar("cpus", 1, ""), scalar("mem", 4096, ""), ports(31000, 31009))
	s.update(id, mesos.TASK_RUNNING)
	s.proxyReport(id, true)
	return id
}

// Of two proxies on agents that go none is better: they do not take turns.
func TestProxiesOnAgentsThatGo(t *testing.T) {
	s := newScript(t)
	first, _ := s.mining("S1", "S2")
	s.command(Operate{Drain: "S0"})
	next := s.beside("S3")
	if s.c.proxy().ID != next || s.c.state.Tasks[first].Kill != "" {
		t.Fatalf("the proxy is %s, the first is killed: %q", s.c.proxy().ID, s.c.state.Tasks[first].Kill)
	}
	s.command(Operate{Drain: "S3"})
	lists := s.c.state.Proxies.Epoch
	s.pass(20 * time.Second)
	if s.c.state.Proxies.Epoch != lists || s.c.proxy() == nil || s.c.proxy().ID != next {
		t.Errorf("miners are told of %d other lists", s.c.state.Proxies.Epoch-lists)
	}
}

// What is called off while a proxy moves ends no proxy that miners use.
func TestDrainThatIsCalledOff(t *testing.T) {
	for name, back := range map[string]bool{"of the first": false, "of the first, and the other one is drained": true} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			first, _ := s.mining("S1", "S2")
			s.command(Operate{Drain: "S0"})
			next := s.beside("S3")
			s.command(Operate{Undrain: "S0"})
			stays, goes := next, first
			if back {
				s.command(Operate{Drain: "S3"})
				stays, goes = first, next
			}
			s.pass(time.Second)
			if s.c.proxy().ID != stays {
				t.Errorf("the proxy is %s, not %s", s.c.proxy().ID, stays)
			}
			if why := s.c.state.Tasks[goes].Kill; why != "" {
				t.Errorf("%s ends before its miners have moved: %s", goes, why)
			}
			s.pass(20 * time.Second)
			if s.c.state.Tasks[goes].Kill == "" || s.c.state.Tasks[stays].Kill != "" {
				t.Errorf("%s is to end: %q, %s is to stay: %q", goes, s.c.state.Tasks[goes].Kill, stays, s.c.state.Tasks[stays].Kill)
			}
		})
	}
}

// A miner is killed for a proxy only where that would fit.
func TestNoRoomWhereAProxyDoesNotFit(t *testing.T) {
	for name, rest := range map[string][]mesos.Resource{
		"memory": {scalar("cpus", 4, ""), scalar("mem", 200, ""), ports(31000, 31009)},
		"ports":  {scalar("cpus", 4, ""), scalar("mem", 4096, "")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			proxy := s.launchOne("S0")
			s.update(proxy, mesos.TASK_RUNNING)
			s.proxyReport(proxy, true)
			for i := range 10 {
				m := s.launchOne(fmt.Sprint("S", 1+i), rest...)
				s.update(m, mesos.TASK_RUNNING)
				s.minerReport(m, s.c.state.Proxies.Epoch)
			}
			s.c.set.ProxyGrace = time.Hour
			s.update(proxy, mesos.TASK_LOST)
			s.pass(5 * time.Minute)
			for _, id := range sortedKeysOf(s.c.state.Tasks) {
				if why := s.c.state.Tasks[id].Kill; why != "" {
					t.Errorf("%s is killed: %s", id, why)
				}
			}
		})
	}
}

// A master that refuses each ACCEPT is not asked as fast as offers come.
func TestRefusedAcceptsAreHeldBack(t *testing.T) {
	s := newScript(t)
	s.mining()
	n := 0
	for range 60 {
		for i := range 20 {
			s.offer(fmt.Sprint("A", i))
			for _, info := range s.launched() {
				n++
				s.step(Refused{Tasks: []string{info.TaskID.Value}})
			}
		}
		s.pass(time.Second)
	}
	if n > 100 {
		t.Errorf("%d launches in a minute, all refused", n)
	}
}

// A process knows what the one before found out from its first launch on, and not only
// from its first tick.
func TestFirstLaunchIsOfWhatRuns(t *testing.T) {
	s := newScript(t)
	s.c.set.Fallback = Artifact{URL: "http://s/artifacts/c/lode-executor", Digest: "c"}
	state := NewState([]byte(simKey))
	state.FrameworkID, state.Bad = "F", &BadArtifact{Digest: "d", Why: "it does not run", At: s.now}
	var err error
	if s.c, err = New(s.c.set, state); err != nil {
		t.Fatal(err)
	}
	s.step(Subscribed{FrameworkID: "F"})
	if id := s.launchOne("S0"); s.c.state.Tasks[id].Digest != "c" {
		t.Errorf("%s is launched with executor %s, which did not run", id, s.c.state.Tasks[id].Digest)
	}
}

// What an upgrade ends and nothing follows is lost: that must have an end.
func TestUpgradeWithoutSuccessors(t *testing.T) {
	s := newScript(t)
	var agents []string
	for i := range 60 {
		agents = append(agents, fmt.Sprint("M", i))
	}
	_, miners := s.mining(agents...)
	s.c.set.Upgrade = true
	s.c.set.ArtifactDigest, s.c.set.ArtifactURL = "d2", "http://s/artifacts/d2/lode-executor"
	s.c.beginRollout()
	killed := 0
	for range 6 * 60 {
		s.pass(time.Minute)
		for _, id := range miners {
			if tk := s.c.state.Tasks[id]; tk != nil && tk.Kill != "" {
				killed++
				s.update(id, mesos.TASK_KILLED)
			}
		}
	}
	if killed > 4 {
		t.Errorf("%d of %d miners were ended in 6 hours, and nothing came in their place", killed, len(miners))
	}
}

// A state that was brought back from a copy knows older lists than miners have.
func TestStateOfBefore(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1")
	was := s.c.state.Proxies
	s.minerReport(miners[0], was.Epoch+0)
	s.c.state.Epoch, s.c.state.Proxies.Epoch = was.Epoch-1, was.Epoch-1
	s.pass(2 * time.Minute)
	if s.c.state.Proxies.Epoch <= was.Epoch {
		t.Errorf("miners have list %d, the newest is %d, and they take no older one", was.Epoch, s.c.state.Proxies.Epoch)
	}
	lists := s.c.state.Epoch
	for range 20 {
		s.minerReport(miners[0], 1<<63)
		s.pass(time.Second)
	}
	if s.c.state.Epoch != lists {
		t.Errorf("a miner that lies made %d lists", s.c.state.Epoch-lists)
	}
	s.update("miner-S7-41", mesos.TASK_RUNNING)
	if id := s.launchOne("S7"); id != "miner-S7-42" {
		t.Errorf("%s is launched though there is a miner-S7-41", id)
	}
}
