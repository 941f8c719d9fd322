package core

import (
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

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

func TestMinersTellHowTheyShare(t *testing.T) {
	s := newScript(t)
	_, miners := s.mining("S1", "S2")
	s.say(miners[0], &message.ToScheduler{Event: &message.ToScheduler_Report{Report: &message.Report{
		Sequence: 9, UptimeMs: 9000,
		Detail: &message.Report_Miner{Miner: &message.MinerReport{
			Yielded: &message.Yielded{Count: 3, AwayUs: 1e6, ParkedUs: 2e6, CpuUs: 9e6, P99Us: 512},
			Host:    &message.Host{Cpus: 4, Cores: 2, Cgroup: 2, Weight: 400, QuotaMilli: 1500, Policy: "idle"},
		}},
	}}})
	for _, task := range s.c.Status(s.now).Tasks {
		if task.Miner == nil {
			continue
		}
		y, h := task.Miner.Yielded, task.Miner.Host
		if task.ID != miners[0] {
			if y != nil || h != nil { // an executor of before
				t.Errorf("%+v %+v", y, h)
			}
			continue
		}
		if y.Count != 3 || y.Away != 1 || y.Parked != 2 || y.CPU != 9 || y.P99 != 512e-6 || y.Share() != 0.25 {
			t.Errorf("%+v", y)
		}
		if h.Quota != 1.5 || !h.SMT() || !strings.Contains(h.Promise, "weight 400") {
			t.Errorf("%+v", h)
		}
	}
}
