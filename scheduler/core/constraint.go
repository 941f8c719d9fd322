package core

import (
	"maps"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/scheduler/constraint"
)

// Constraints hold for what is launched; tasks that run stay where they are. Where
// wanted miners are is counted as they come and go. Of proxies there are few: they are
// counted when one is to be launched, without those of its own place, for one that
// takes over leaves no two.
const (
	// crowdedPasses is how often offers that came together are looked at: a miner on
	// one of them may make room for one on another.
	crowdedPasses = 4
	// crowdedPause is the least time between revivals because miners have gone from
	// where others may now be.
	crowdedPause = 15 * time.Second
	// placePatience is how long constraints may keep everything from being launched
	// before somebody has to look at it.
	placePatience = time.Minute
)

// places knows where agents and miners are.
type places struct {
	fields []string // of agents that constraints look at; nil: there are no constraints
	miners *constraint.Tally
	vacant uint64 // grows when a proxy leaves its place

	refused string        // the last refusal since something was launched; "": none
	served  time.Duration // when that was
}

func newPlaces(set *Settings) places {
	return places{
		fields: constraint.Fields(set.Constraints, set.ProxyConstraints),
		miners: constraint.NewTally(set.Constraints),
	}
}

// freed grows whenever what was refused for the sake of others may be allowed.
func (p *places) freed() uint64 { return p.miners.Freed() + p.vacant }

// learnPlace takes in where an agent is.
func (c *Core) learnPlace(a *agent, o *mesos.Offer) {
	if len(c.places.fields) == 0 {
		return
	}
	p := constraint.PlaceOf(o, c.places.fields)
	if a.place != nil && maps.Equal(p, a.place) {
		return
	}
	c.setPlace(a, p)
	for _, t := range a.tasks {
		if !maps.Equal(t.Place, p) {
			t.Place = p
			c.changed(t)
		}
	}
}

// setPlace notes where an agent is, and with it its tasks. A Place is never changed.
func (c *Core) setPlace(a *agent, p constraint.Place) {
	for _, t := range a.tasks {
		if t.run.placed {
			c.places.miners.Add(a.place, -1)
			c.places.miners.Add(p, 1)
		}
	}
	a.place = p
}

// countPlace counts a miner where it is for as long as it is wanted and not away. Other
// changes of its state must not look like one that came or went.
func (c *Core) countPlace(t *Task, there bool) {
	there = there && t.Kind == KindMiner && t.Kill == "" && !away(t.State)
	if r := t.run; there != r.placed {
		n := 1
		if !there {
			n = -1
		}
		r.placed = there
		c.places.miners.Add(r.agent.place, n)
	}
}

// refusedPlace notes that constraints keep something from an agent.
func (c *Core) refusedPlace(r Reason) {
	if r.Code == reasonCrowded && !c.revive.crowded {
		c.revive.crowded, c.revive.freed = true, c.places.freed()
	}
	if r.Code == reasonCrowded || r.Code == reasonConstraint {
		c.places.refused = r.Text
	}
}

// watchPlaces complains when there is no proxy, or no miner at all, and constraints keep
// them from agents: they may be mistyped.
func (c *Core) watchPlaces() {
	if len(c.places.fields) == 0 {
		return
	}
	code, _ := c.minersWanted()
	wanted := c.slotToFill() != nil || code == reasonNone && c.sums.live == 0
	if wanted && c.connected && c.places.refused != "" && c.clock-max(c.places.served, c.recon.started) > placePatience {
		c.troubled("placement", "nothing is launched on the agents that are offered: "+c.places.refused)
		return
	}
	c.settle("placement")
}

// minerPlace says why a miner may not be launched on an agent, beside planned ones.
func (c *Core) minerPlace(a *agent, planned int) Reason {
	if len(c.set.Constraints) == 0 {
		return Reason{}
	}
	return refusal(c.places.miners.Judge(a.place, planned))
}

func refusal(r *constraint.Refusal) Reason {
	switch {
	case r == nil:
		return Reason{}
	case r.Fixed:
		return Reason{reasonConstraint, r.Text}
	}
	return Reason{reasonCrowded, r.Text}
}

// proxyPlaces counts the proxies of all places but one.
func (c *Core) proxyPlaces(but *slot) *constraint.Tally {
	tally := constraint.NewTally(c.set.ProxyConstraints)
	if len(c.set.ProxyConstraints) == 0 {
		return tally
	}
	for _, s := range c.slots {
		for _, t := range []*Task{s.active, s.next} {
			if t != nil && s != but {
				tally.Add(t.run.agent.place, 1)
			}
		}
	}
	return tally
}

// overcrowded says that a miner that came back is one too many where it is.
func (c *Core) overcrowded(t *Task) bool {
	return len(c.set.Constraints) > 0 && c.places.miners.Exceeded(t.run.agent.place)
}

// reconsiderCrowded judges offers again that came together and were refused for what
// other tasks do, as long as launches on some of them change that.
func (c *Core) reconsiderCrowded(crowded []*heldOffer) {
	for pass := 2; len(crowded) > 0; pass++ {
		freed, left := c.places.freed(), crowded[:0]
		for _, h := range crowded {
			if v := c.judge(h); v.crowded() && pass < crowdedPasses {
				left = append(left, h)
			} else {
				c.settleOffer(h, v)
			}
		}
		crowded = left
		if freed == c.places.freed() {
			pass = crowdedPasses // they are declined
		}
	}
}

// crowded says that an offer is refused for what other tasks do.
func (v *verdict) crowded() bool { return len(v.launches) == 0 && v.reason.Code == reasonCrowded }
