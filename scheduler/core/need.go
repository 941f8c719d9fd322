package core

import (
	"log/slog"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// Whether offers are wanted is a function of what there is, and nothing else: no
// need suppresses them, a need that grows revives them (which lifts all filters and
// makes Mesos allocate every agent anew, so it has a budget).
const (
	reviveBurst = 4
	revivePause = 5 * time.Second
	// roomPatience is how long a proxy waits for a fitting offer before a miner is
	// killed to make room for it, spareRoomPatience how long it does while another one
	// serves, roomPause the time between two such kills.
	roomPatience      = 4 * time.Second
	spareRoomPatience = 30 * time.Second
	roomPause         = 15 * time.Second
	// roomLooks is at how many tasks makeRoom looks.
	roomLooks = 2000
)

type reviver struct {
	suppressed bool
	filtered   bool // an offer was refused since the last revival
	had        need // at the last look
	wanted     bool // a revival is due
	bucket     bucket
	at         time.Duration // the last revival, or subscription
	crowded    bool          // since then an offer was refused for what other tasks do
	freed      uint64        // of places, when that was
}

type need struct{ proxies, miners bool }

func (r *reviver) reset(clock time.Duration) {
	// A SUBSCRIBE lifts filters and suppression.
	r.suppressed, r.filtered, r.wanted, r.had, r.at, r.crowded = false, false, false, need{}, clock, false
	if r.bucket.size == 0 {
		r.bucket = newBucket(1/revivePause.Seconds(), reviveBurst)
	}
}

func (c *Core) convergeNeed() {
	code, _ := c.minersWanted()
	n := need{proxies: c.proxiesWanted() > 0, miners: code == reasonNone || code == reasonPace}
	r := &c.revive
	if (n.proxies && !r.had.proxies) || (n.miners && !r.had.miners) {
		r.wanted = r.filtered || r.suppressed
	}
	r.had = n
	if r.crowded && (n.proxies || n.miners) && r.freed != c.places.freed() && c.clock-r.at >= crowdedPause {
		r.wanted = true
	}
	idle := !n.proxies && !n.miners && !code.soon() && !c.launchesHeld()
	switch {
	case idle && !r.suppressed:
		r.suppressed, r.wanted = true, false
		c.call(calls.SuppressWith(c.set.Roles))
	case (r.wanted || r.suppressed && !idle) && r.bucket.take(c.clock):
		r.suppressed, r.filtered, r.wanted, r.at, r.crowded = false, false, false, c.clock, false
		c.call(calls.ReviveWith(c.set.Roles))
	}
}

// minersWanted says why offers are not wanted for miners; reasonNone: they are. With
// it comes what an ailing proxy says.
func (c *Core) minersWanted() (code reasonCode, detail string) {
	if c.paused() {
		return reasonPaused, ""
	}
	switch c.best() {
	case healthGone, healthSilent:
		return reasonNoProxy, ""
	case healthStarting, healthDoubtful:
		return reasonStarting, ""
	case healthNoWork:
		for _, s := range c.slots {
			if s.active != nil && s.active.run.report != nil {
				detail = s.active.run.report.Proxy.Error
			}
		}
		return reasonNoWork, detail
	}
	if most := c.maxMiners(); most >= 0 && c.sums.live >= most {
		return reasonEnough, ""
	}
	if room := c.cpuRoom(&agent{}, nil); room >= 0 && room < leastMinerCPU {
		return reasonBounded, ""
	}
	if len(c.causes) > 0 {
		if wait, _ := c.causes.wait(KindMiner, c.clock); wait > 0 {
			return reasonMinerBackoff, ""
		}
	}
	if c.minerRoom() <= 0 {
		return reasonPace, ""
	}
	return reasonNone, ""
}

// minerRoom is how many miners may be launched now.
func (c *Core) minerRoom() int {
	window := c.pace.window
	if len(c.causes) > 0 {
		if _, probes := c.causes.wait(KindMiner, c.clock); probes > 0 {
			window = min(window, probes)
		}
	}
	room := window - c.sums.flight
	if most := c.maxMiners(); most >= 0 {
		room = min(room, most-c.sums.live)
	}
	return max(0, room)
}

// makeRoom kills a miner if that is the only way to get a proxy: miners take all
// cpus, so a cluster that lost the agent of its proxy would have no place for
// another one until every miner is killed for want of it.
func (c *Core) makeRoom() {
	s := c.slotToFill()
	patience := roomPatience
	if c.best() == healthServing {
		patience = spareRoomPatience
	}
	if s == nil || !c.settled() || c.revive.wanted || c.clock < c.roomAt ||
		c.clock-max(s.wanted, c.revive.at, c.recon.started, c.proxies.until) < patience || len(c.tasks) == 0 {
		return
	}
	if c.reconsiderOffers(); s.wanted == never { // one that is kept for something else does by now
		return
	}
	var best *Task
	others := c.proxyPlaces(s)
	for i := range min(len(c.tasks), roomLooks) {
		t := c.tasks[(c.swept+i)%len(c.tasks)]
		a := t.run.agent
		if !c.hasRoom(t) || a.hasProxy() && !s.spreadOver(c) || others.Judge(a.place, 0) != nil {
			continue
		}
		if best == nil || t.CPUs < best.CPUs || t.CPUs == best.CPUs && t.ID < best.ID {
			best = t
		}
	}
	if best == nil {
		return
	}
	c.roomAt = c.clock + roomPause
	c.notice(slog.LevelInfo, "killing a miner to make room for the proxy", "task", best.ID, "agent", best.AgentID)
	c.kill(best, WhyRoom)
}

// hasRoom says that a proxy would find room where a miner is, as far as its agent has told.
func (c *Core) hasRoom(t *Task) bool {
	a := t.run.agent
	cpus, mem := c.proxyLeast()
	if t.Kind != KindMiner || t.Kill != "" || away(t.State) || t.Revocable || t.CPUs < cpus || a.until > c.clock {
		return false
	}
	if a.spare.known && (a.spare.mem+c.minerMem() < mem || a.spare.ports < proxyPorts) {
		return false
	}
	_, down := a.maintenance(c.now, maintenanceMargin)
	return !down
}
