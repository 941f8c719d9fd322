package core

import (
	"math/rand/v2"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/constraint"
)

// Constraints of histories. Those of proxies always leave the first agent, which is
// never lost.
var (
	simConstraints = []string{
		"hostname:UNIQUE", "rack:UNIQUE", "rack:MAX_PER:1", "rack:MAX_PER:2", "rack:GROUP_BY", "rack:GROUP_BY:2", "rack:CLUSTER",
		"rack:UNLIKE:r2", "@zone:LIKE:z[01]", "rack:GROUP_BY;hostname:UNIQUE", "rack:UNLIKE:r1;rack:MAX_PER:2",
	}
	simProxyConstraints = []string{"hostname:IS:host-S0", "rack:IS:r0", "@zone:UNLIKE:z1", "hostname:UNIQUE;rack:LIKE:r[02]"}
)

// constrain gives the agents of some histories a place each, and the scheduler
// constraints.
func (h *harness) constrain(rnd *rand.Rand) {
	for _, a := range h.agents[1:] {
		a.rack, a.zone = rnd.IntN(3), rnd.IntN(3)
	}
	some := func(of []string) constraint.List {
		list, err := constraint.ParseAll([]string{of[rnd.IntN(len(of))]})
		if err != nil {
			h.fail("%v", err)
		}
		return list
	}
	switch rnd.IntN(8) {
	case 0, 1:
		h.constraints = some(simConstraints)
	case 2:
		h.constraints = some(simConstraints)
		if h.proxyN == 1 {
			h.proxyConstraints = some(simProxyConstraints)
		}
	}
}

func (a *simAgent) describe(o *mesos.Offer) {
	o.Attributes = []mesos.Attribute{{Name: "rack", Type: mesos.TEXT, Text: &mesos.Value_Text{Value: "r" + string(rune('0'+a.rack))}}}
	o.Domain = &mesos.DomainInfo{FaultDomain: &mesos.DomainInfo_FaultDomain{
		Region: mesos.DomainInfo_FaultDomain_RegionInfo{Name: "eu"},
		Zone:   mesos.DomainInfo_FaultDomain_ZoneInfo{Name: "z" + string(rune('0'+a.zone))},
	}}
}

// place is where an agent is in truth.
func (a *simAgent) place() constraint.Place {
	o := mesos.Offer{Hostname: "host-" + a.id}
	a.describe(&o)
	return constraint.PlaceOf(&o, []string{constraint.Hostname, constraint.Zone, "rack"})
}

// recount counts the miners that the scheduler wants and that are not away, by where
// they are in truth, without some.
func (h *harness) recount(without map[string]bool) *constraint.Tally {
	tally := constraint.NewTally(h.constraints)
	for _, t := range h.core.tasks {
		if t.Kind == KindMiner && t.Kill == "" && !away(t.State) && !without[t.ID] {
			tally.Add(h.master.agents[t.AgentID].place(), 1)
		}
	}
	return tally
}

// checkPlaces makes sure that constraints hold for each launch of a step.
func (h *harness) checkPlaces(actions []Action) {
	if len(h.constraints)+len(h.proxyConstraints) == 0 {
		return
	}
	var launched []mesos.TaskInfo
	fresh := make(map[string]bool)
	for _, a := range actions {
		if c, ok := a.(Call); ok && c.Type == scheduler.Call_ACCEPT {
			for _, op := range c.Accept.Operations {
				launched = append(launched, op.Launch.TaskInfos...)
			}
		}
	}
	if len(launched) == 0 {
		return
	}
	for _, info := range launched {
		fresh[info.TaskID.Value] = true
	}
	tally := h.recount(fresh)
	for _, info := range launched {
		id, where := info.TaskID.Value, h.master.agents[info.AgentID.Value].place()
		if h.core.state.Tasks[id].Kind == KindProxy {
			if r := constraint.NewTally(h.proxyConstraints).Judge(where, 0); r != nil {
				h.fail("%s is launched on %s: %s", id, info.AgentID.Value, r.Text)
			}
			continue
		}
		if r := tally.Judge(where, 0); r != nil {
			h.fail("%s is launched on %s, which is at %v: %s", id, info.AgentID.Value, where, r.Text)
		}
		tally.Add(where, 1)
	}
}

// constrained says that constraints keep another miner from an agent.
func (h *harness) constrained(a *simAgent) bool {
	return len(h.constraints) > 0 && h.recount(nil).Judge(a.place(), 0) != nil
}

// noProxyHere says that constraints keep a proxy from an agent.
func (h *harness) noProxyHere(a *simAgent) bool {
	return constraint.NewTally(h.proxyConstraints).Judge(a.place(), 0) != nil
}
