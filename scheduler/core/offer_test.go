package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

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
		{name: "of whatever reservation", resources: []mesos.Resource{
			scalar("cpus", 0.5, ""), reserved(scalar("cpus", 0.5, ""), "mining"), scalar("mem", 200, ""), reserved(scalar("mem", 56, ""), "mining"),
			ports(5, 5), reserved(ports(7, 7), "mining"),
		}, launches: []string{"proxy-0-1"}},
		{name: "no revocable one", resources: []mesos.Resource{revocable(scalar("cpus", 2, "")), scalar("mem", 4096, ""), ports(1, 9)}, want: "declined: a proxy needs 1 cpu"},
		{name: "a proxy needs memory", resources: []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 255, ""), ports(1, 9)}, want: "declined: a proxy needs 256 MB"},
		{name: "a proxy needs ports", resources: []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(5, 5)}, want: "declined: a proxy needs 2 ports"},
		{name: "a proxy needs to be found", change: func(o *mesos.Offer) { o.Hostname, o.URL = "", nil }, want: "declined: a proxy needs an address of its agent"},
		{name: "another role", change: func(o *mesos.Offer) { o.AllocationInfo.Role = strp("other") }, want: "declined: it is for role"},
		{name: "maintenance soon", change: func(o *mesos.Offer) {
			o.Unavailability = &mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: simEpoch.Add(5 * time.Minute).UnixNano()}}
		}, want: "declined: maintenance"},
		{name: "maintenance far off", change: func(o *mesos.Offer) {
			o.Unavailability = &mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: simEpoch.Add(5 * time.Hour).UnixNano()}}
		}, launches: []string{"proxy-0-1"}},
		{name: "held while the proxy starts", before: func(s *script) { s.launchOne("S0") }, want: "held: the proxy is starting"},
		{name: "not kept while the proxy has no work", before: func(s *script) {
			p, _ := s.mining("S1")
			s.idle[p] = true
			s.pass(2 * noWorkLimit)
			s.idle[s.launchOne("S8")] = true // another proxy, which has none either
		}, want: "declined: the proxy has no work: node is syncing"},
		{name: "but not what miners cannot use", before: func(s *script) { s.launchOne("S0") }, resources: []mesos.Resource{scalar("mem", 4096, "")}, want: "declined: no cpus"},
		{name: "a miner takes all cpus", before: func(s *script) { s.mining() }, launches: []string{"miner-S9-2"}},
		{name: "reserved or not", before: func(s *script) { s.mining() }, resources: []mesos.Resource{
			scalar("cpus", 1.5, ""), reserved(scalar("cpus", 0.5, ""), "mining"), scalar("mem", 64, ""), reserved(scalar("mem", 64, ""), "mining"),
		}, launches: []string{"miner-S9-2"}},
		{name: "and revocable ones apart", before: func(s *script) { s.c.set.Revocable = true; s.mining() }, resources: []mesos.Resource{
			scalar("cpus", 2, ""), reserved(scalar("cpus", 3, ""), "mining"), revocable(scalar("cpus", 1, "")), scalar("mem", 4096, ""),
		}, launches: []string{"miner-S9-2", "miner-S9-3"}},
		{name: "of these alone", before: func(s *script) { s.c.set.Revocable, s.c.set.OnlyRevocable = true, true; s.mining() }, resources: []mesos.Resource{
			scalar("cpus", 2, ""), revocable(scalar("cpus", 1, "")), scalar("mem", 4096, ""),
		}, launches: []string{"miner-S9-2"}},
		{name: "only revocable", before: func(s *script) { s.c.set.Revocable, s.c.set.OnlyRevocable = true, true; s.mining() }, want: "declined: its cpus are not revocable"},
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
			if h := s.c.offers.byID["O"]; h != nil {
				why = "held: " + h.why.Text
			}
			if test.want != "" && !strings.HasPrefix(why, test.want) {
				t.Errorf("%q, want %q", why, test.want)
			}
			if len(test.launches) == 0 && s.c.offers.byID["O"] == nil && len(s.calls(scheduler.Call_DECLINE)) != 1 {
				t.Error("the offer is not answered")
			}
			// A held one is given back in time.
			if s.c.offers.byID["O"] != nil {
				s.pass(offerLife + 2*time.Second)
				d := s.calls(scheduler.Call_DECLINE)
				if len(d) == 0 || s.c.offers.byID["O"] != nil {
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
	if len(infos) != 1 || infos[0].Resources[0].Scalar.Value+infos[0].Executor.Resources[0].Scalar.Value != 2.5 {
		t.Fatalf("%v", infos)
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

func TestBucketsBoundRates(t *testing.T) {
	b := newBucket(1/revivePause.Seconds(), reviveBurst)
	n := 0
	for i := range 600 { // a minute
		if b.take(time.Duration(i) * 100 * time.Millisecond) {
			n++
		}
	}
	if n < 10 || n > reviveBurst+13 {
		t.Errorf("%d revivals in a minute", n)
	}
}

func TestMaintenance(t *testing.T) {
	for _, test := range []struct {
		name      string
		calledOff time.Duration // 0: never
		killed    bool
	}{
		{"ends tasks in time", 0, true},
		{"unless it was called off", 10 * time.Minute, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			_, miners := s.mining("S1", "S2")
			start := s.now.Add(20 * time.Minute)
			for at := time.Duration(0); at < 19*time.Minute; at += time.Minute {
				if test.calledOff == 0 || at < test.calledOff {
					s.step(InverseOffers{[]mesos.InverseOffer{{
						OfferID: mesos.OfferID{Value: "I1"}, AgentID: &mesos.AgentID{Value: "S1"},
						Unavailability: mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: start.UnixNano()}, Duration: &mesos.DurationInfo{Nanoseconds: time.Hour.Nanoseconds()}},
					}}})
					if a := s.calls(scheduler.Call_ACCEPT_INVERSE_OFFERS); len(a) != 1 || a[0].AcceptInverseOffers.InverseOfferIDs[0].Value != "I1" {
						t.Fatalf("%v", a)
					}
				}
				s.pass(time.Minute)
				if k := s.calls(scheduler.Call_KILL); len(k) != 0 {
					t.Fatalf("after %v: %d kills", at, len(k))
				}
			}
			s.pass(time.Minute)
			if k := s.calls(scheduler.Call_KILL); (len(k) > 0) != test.killed || test.killed && k[0].Kill.TaskID.Value != miners[0] {
				t.Fatalf("kills %v, expected %t", k, test.killed)
			}
			if s.c.state.Tasks[miners[1]].Kill != "" {
				t.Error("a miner elsewhere is killed")
			}
		})
	}
}

// The only agent, drained and undrained: a proxy was wanted all the time, but its offers were
// refused for minutes.
func TestUndrainedAgentIsUsedAgain(t *testing.T) {
	s := newScript(t)
	s.offer("S0", scalar("mem", 4096, ""))
	do := func(e Operate) {
		e.Who, e.Result = "alice", new(Result)
		s.step(e)
		if e.Result.Refused != "" {
			t.Fatal(e.Result.Refused)
		}
	}
	do(Operate{Drain: "S0"})
	s.pass(time.Minute)
	s.offer("S0", scalar("cpus", 4, ""), scalar("mem", 4096, ""))
	if l := s.launched(); len(l) > 0 {
		t.Fatal("something is launched on a drained agent")
	}
	do(Operate{Undrain: "S0"})
	if r := s.calls(scheduler.Call_REVIVE); len(r) != 1 {
		t.Fatalf("%d revivals when the agent came back", len(r))
	}
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
	s.c.agent("S0", "").until = 0
	s.c.offers.byID["stale"] = &heldOffer{agent: s.c.agent("S5", ""), offer: &mesos.Offer{ID: mesos.OfferID{Value: "stale"}, AgentID: mesos.AgentID{Value: "S5"}}}
	s.now = s.now.Add(time.Minute)
	s.step(Subscribed{FrameworkID: "F", Master: "m2"})
	if len(s.c.offers.byID) != 0 {
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
	s.pass(holdLaunches)
	s.offer("S4")
	if len(s.launched()) != 1 {
		t.Errorf("not launched in spite of silence: %s", s.why())
	}
}
