package core

import (
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

func TestBusyness(t *testing.T) {
	now := simEpoch
	var b busyness
	sees := func(share float64, for_ time.Duration) (left bool) {
		for end := now.Add(for_); now.Before(end); now = now.Add(3 * time.Second) {
			left = b.see(now, share) || left
		}
		return left
	}
	if sees(0.7, time.Hour) || sees(0.9, 20*time.Second) || sees(0.5, 3*time.Second) || sees(0.9, 20*time.Second) {
		t.Error("left for a load that does not last")
	}
	for i, want := range []time.Duration{busyFirst, 2 * busyFirst, 4 * busyFirst} {
		sees(0.1, time.Minute)
		if !sees(0.9, 36*time.Second) {
			t.Fatalf("not left, time %d", i)
		}
		if got := b.until.Sub(b.left); got != want {
			t.Errorf("left for %v, want %v", got, want)
		}
	}
	for range 20 {
		sees(0.9, time.Minute)
	}
	if got := b.until.Sub(b.left); got != busyMost {
		t.Errorf("left for %v at last", got)
	}
	sees(0.1, busyForget+time.Minute)
	sees(0.9, 36*time.Second)
	if got := b.until.Sub(b.left); got != busyFirst {
		t.Errorf("left for %v after a long quiet time", got)
	}
}

// reportOthers says what others use of a miner's machine with 4 cpus.
func (s *script) reportOthers(task string, sequence uint64, milli uint32) {
	s.say(task, &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: sequence, UptimeMs: sequence * 3000,
		Detail: &message.Report_Miner{Miner: &message.MinerReport{
			ProxiesEpoch: s.c.state.Proxies.Epoch, Host: &message.Host{Cpus: 4, OthersMilli: milli},
		}},
	}}})
}

// A miner in idle mode leaves a busy agent, whose offers are declined for a while, and
// comes back.
func TestIdleMode(t *testing.T) {
	for _, test := range []struct {
		name            string
		mode, revocable bool
		others          uint32
		leaves          bool
	}{
		{"busy", true, false, 3500, true},
		{"idle", true, false, 500, false},
		{"not in idle mode", false, false, 3500, false},
		{"revocable", true, true, 3500, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			_, miners := s.mining("S9")
			s.c.set.IdleMode = test.mode
			s.c.state.Tasks[miners[0]].Revocable = test.revocable
			for i := range uint64(12) {
				s.pass(3 * time.Second)
				s.reportOthers(miners[0], i+2, test.others)
			}
			kills := len(s.calls(scheduler.Call_KILL)) > 0 || s.c.state.Tasks[miners[0]].Kill != ""
			if kills != test.leaves {
				t.Fatalf("killed: %v", kills)
			}
			if !test.leaves {
				return
			}
			s.update(miners[0], mesos.TASK_KILLED)
			offer := func(id string) {
				s.step(Offers{[]mesos.Offer{{
					ID: mesos.OfferID{Value: id}, AgentID: mesos.AgentID{Value: "S9"}, Hostname: "h",
					AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
					Resources:      []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, "")},
				}}})
			}
			offer("O1")
			if n := len(s.launched()); n != 0 || !strings.Contains(s.why(), "busy with other work") {
				t.Errorf("%d launches on a busy agent, %q", n, s.why())
			}
			s.pass(busyFirst)
			offer("O2")
			if n := len(s.launched()); n != 1 {
				t.Errorf("%d launches later: %q", n, s.why())
			}
		})
	}
}
