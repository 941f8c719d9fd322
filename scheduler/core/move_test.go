package core

import (
	"fmt"
	"slices"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// successor changes the proxy's settings and brings one with the new ones to run beside it,
// which has not reported yet.
func (s *script) successor() string {
	s.t.Helper()
	s.pass(20 * time.Second)
	s.c.set.CoinbaseTag, s.c.specs = "another", nil
	s.c.slots[0].stale = true
	s.pass(2 * time.Second)
	id := s.launchOne("S4", scalar("cpus", 1, ""), scalar("mem", 4096, ""), ports(31000, 31009))
	s.update(id, mesos.TASK_RUNNING)
	return id
}

// killed are the tasks that the actions since the last step end.
func (s *script) killed() (ids []string) {
	for _, k := range s.calls(scheduler.Call_KILL) {
		ids = append(ids, k.Kill.TaskID.Value)
	}
	return ids
}

// A proxy that serves and is to be replaced goes on until its miners have been told of
// the other one and had time to move.
func TestPlannedMoveBreaksNothing(t *testing.T) {
	s := newScript(t)
	p, miners := s.mining("S1", "S2", "S3")
	p2 := s.successor()
	s.c.lists.bucket.tokens, s.c.lists.bucket.at = 1, s.c.clock // the master takes few messages
	s.proxyReport(p2, true)
	if s.c.proxy().ID != p2 {
		t.Fatal("the other one does not take over")
	}
	if n := len(s.calls(scheduler.Call_MESSAGE)); n != 1 {
		t.Errorf("%d messages to %d miners at once", n, len(miners))
	}
	if k := s.killed(); len(k) != 0 {
		t.Fatalf("it is killed before all miners were told: %v", k)
	}
	s.pass(dismissPause - time.Second)
	if k := s.killed(); len(k) != 0 {
		t.Fatalf("it is killed before they could move: %v", k)
	}
	s.pass(2 * time.Second)
	if k := s.killed(); !slices.Equal(k, []string{p}) {
		t.Errorf("kills %v, want that of %s", k, p)
	}
}

// A proxy that ended meanwhile needs no end.
func TestMovedProxyThatEndsByItself(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1")
	p2 := s.successor()
	s.proxyReport(p2, true)
	s.update(p, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
	s.pass(time.Minute)
	if k := s.killed(); len(k) != 0 || s.c.proxy().ID != p2 {
		t.Errorf("kills %v, the proxy is %s", k, s.c.proxy().ID)
	}
}

func TestProxySize(t *testing.T) {
	for _, test := range []struct {
		proxies, agents int
		cpus            float64 // setting
		mem             int     // setting
		wantCPUs        int64   // thousandths
		wantMem         int64   // MB
	}{
		{1, 1, 0, 0, 1000, 256},
		{1, 20_000, 0, 0, 1000, 256},
		{1, 20_001, 0, 0, 2000, 512},
		{2, 50_000, 0, 0, 3000, 768}, // one has to serve all when the other is lost
		{4, 50_000, 0, 0, 1000, 256},
		{1, 50_000, 0.5, 128, 500, 128},
		{1, 50_000, 0, 2048, 3000, 2048},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			s := newScript(t)
			s.c.set.Proxies, s.c.set.ProxyCPUs, s.c.set.ProxyMem = test.proxies, test.cpus, test.mem
			for i := range test.agents - len(s.c.agents) {
				s.c.agent(fmt.Sprint("A", i), "h")
			}
			slot := s.c.slots[0]
			large := newInventory([]mesos.Resource{scalar("cpus", 8, ""), scalar("mem", 8192, "")}, false)
			if cpus, mem := s.c.proxySize(slot, large); cpus != test.wantCPUs || mem != test.wantMem*1000 {
				t.Errorf("got %d cpus, %d MB", cpus, mem/1000)
			}
			// When no agent has as much, less is better than nothing.
			slot.wanted = s.c.clock - spreadPatience
			small := newInventory([]mesos.Resource{scalar("cpus", 1.5, ""), scalar("mem", 300, "")}, false)
			least, leastMem := s.c.proxyLeast()
			if cpus, mem := s.c.proxySize(slot, small); cpus != min(test.wantCPUs, max(least, 1500)) || mem != min(test.wantMem*1000, max(leastMem, 300_000)) {
				t.Errorf("got %d cpus, %d MB of 1500 and 300", cpus, mem/1000)
			}
		})
	}
}

// A proxy that takes over and does not last gives the place back to the one of before,
// which has gone on for its miners; and it is not tried again at once.
func TestMoveThatDoesNotLast(t *testing.T) {
	for _, test := range []struct {
		name string
		slow bool // the master takes no messages, so that the move takes long
		ends func(s *script, p2 string)
	}{
		{"it fails", false, func(s *script, p2 string) { s.update(p2, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED) }},
		{"its agent is lost", true, func(s *script, p2 string) {
			for id, task := range s.c.state.Tasks {
				s.idle[id] = task.Kind == KindMiner
			}
			s.update(p2, mesos.TASK_UNREACHABLE, mesos.REASON_AGENT_REMOVED)
			s.pass(awayPatience + 8*time.Second)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			p, _ := s.mining("S1", "S2")
			p2 := s.successor()
			if test.slow {
				s.c.lists.bucket.tokens, s.c.lists.bucket.rate = 0, 0
			}
			s.proxyReport(p2, true)
			if s.c.proxy().ID != p2 || s.c.slots[0].next == nil {
				t.Fatal("the other one does not take over, with the one of before beside it")
			}
			test.ends(s, p2)
			if s.c.proxy().ID != p {
				t.Fatalf("the proxy is %s, want the one of before, %s", s.c.proxy().ID, p)
			}
			if got, want := s.c.state.Proxies.Addresses, s.c.state.Tasks[p].Addresses; !slices.Equal(got, want) {
				t.Errorf("miners are told of %v, want %v", got, want)
			}
			if s.c.state.Tasks[p].Kill != "" {
				t.Errorf("the one of before is to end: %s", s.c.state.Tasks[p].Kill)
			}
			if s.c.lostAt != never {
				t.Error("it counts as if no proxy served")
			}
		})
	}
}

// A scheduler that is restarted in the middle of a move gives miners time to move, and
// ends the proxy of before then.
func TestMoveOverARestart(t *testing.T) {
	s := newScript(t)
	p, _ := s.mining("S1", "S2")
	p2 := s.successor()
	s.proxyReport(p2, true)
	set := s.c.set
	c, err := New(set, s.c.state)
	if err != nil {
		t.Fatal(err)
	}
	s.c, s.ends = c, nil
	s.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
	if s.c.proxy().ID != p2 || s.c.slots[0].next == nil || s.c.slots[0].next.ID != p {
		t.Fatalf("after a restart the place has %+v", s.c.slots[0])
	}
	s.pass(20 * time.Second)
	if k := s.killed(); len(k) != 0 {
		t.Fatalf("kills %v before the miners said what they know", k)
	}
	s.pass(30 * time.Second)
	if k := s.killed(); !slices.Contains(k, p) {
		t.Errorf("kills %v, want that of %s", k, p)
	}
}
