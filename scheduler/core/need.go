package core

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// Whether offers are wanted is a function of what there is, and nothing else: no
// need suppresses them, a need that grows revives them (which lifts all filters and
// makes Mesos allocate every agent anew, so it has a budget).
const (
	reviveBurst = 4
	revivePause = 5 * time.Second
	// readyPatience is how long a running proxy may be silent before it counts as
	// ready: its reports may be lost.
	readyPatience = 15 * time.Second
	// roomPatience is how long a proxy waits for a fitting offer before a miner is
	// killed to make room for it, roomPause the time between two such kills.
	roomPatience = 4 * time.Second
	roomPause    = 15 * time.Second
)

type reviver struct {
	suppressed bool
	filtered   bool // an offer was refused since the last revival
	had        need // at the last look
	wanted     bool // a revival is due
	tokens     float64
	at         time.Time // when tokens was right
}

type need struct{ proxy, miners bool }

func (r *reviver) reset() {
	// A SUBSCRIBE lifts filters and suppression.
	r.suppressed, r.filtered, r.wanted, r.had = false, false, false, need{}
}

func (r *reviver) token(now time.Time) bool {
	if r.at.IsZero() {
		r.tokens = reviveBurst
	} else {
		r.tokens = min(reviveBurst, r.tokens+float64(now.Sub(r.at))/float64(revivePause))
	}
	r.at = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

func (c *Core) convergeNeed() {
	miners, _, soon := c.minersWanted()
	n := need{proxy: c.proxyWanted(), miners: miners}
	r := &c.revive
	if (n.proxy && !r.had.proxy) || (n.miners && !r.had.miners) {
		r.wanted = r.filtered || r.suppressed
	}
	r.had = n
	idle := !n.proxy && !n.miners && !soon && !c.launchesHeld()
	switch {
	case idle && !r.suppressed:
		r.suppressed, r.wanted = true, false
		c.call(suppress(c.set.Role))
	case (r.wanted || r.suppressed && !idle) && r.token(c.now):
		r.suppressed, r.filtered, r.wanted = false, false, false
		c.call(calls.ReviveWith([]string{c.set.Role}))
	}
}

func suppress(role string) *scheduler.Call { return calls.SuppressWith([]string{role}) }

// proxy returns the proxy that is wanted, whatever its state; nil: there is none.
func (c *Core) proxy() *Task { return c.tally().proxy }

func (c *Core) proxyWanted() bool { return c.proxy() == nil }

// minersWanted says whether offers are wanted for miners, else why not and whether
// that is expected to change within seconds.
func (c *Core) minersWanted() (wanted bool, why string, soon bool) {
	if c.state.Operator.Paused {
		return false, "mining is paused by an operator", false
	}
	p := c.proxy()
	switch {
	case p == nil:
		return false, "there is no proxy", true
	case p.State == stateStaging || p.State == stateStarting:
		return false, "the proxy is starting", true
	case p.State != stateRunning:
		return false, "the proxy is " + p.State, true
	}
	r := c.runs[p.ID]
	switch {
	case r.report == nil && c.now.Sub(p.Since) < readyPatience:
		return false, "the proxy is starting", true
	case r.report != nil && !r.ready:
		why = "the proxy has no work"
		if d := r.report.Proxy; d != nil && d.Error != "" {
			why += ": " + d.Error
		}
		return false, why, true
	}
	if n, most := c.liveMiners(), c.maxMiners(); most >= 0 && n >= most {
		return false, fmt.Sprintf("there are %d miners, and no more are wanted", n), false
	}
	if room := c.cpuRoom("", "", nil); room >= 0 && room < leastMinerCPU {
		return false, "there are miners on all cpus that an operator wants used", false
	}
	if wait := c.kinds[KindMiner].wait(c.now); wait > 0 {
		return false, "miners failed lately, the next one waits", true
	}
	return true, "", false
}

// makeRoom kills a miner if that is the only way to get a proxy: miners take all
// cpus, so a cluster that lost the agent of its proxy would have no place for
// another one until every miner is killed for want of it.
func (c *Core) makeRoom() {
	if !c.connected || c.launchesHeld() || c.proxyNeededSince.IsZero() ||
		c.now.Sub(c.proxyNeededSince) < roomPatience || c.now.Before(c.roomAt) ||
		c.kinds[KindProxy].wait(c.now) > 0 {
		return
	}
	var best *Task
	for _, id := range c.taskIDs() {
		t := c.state.Tasks[id]
		a := c.agents[t.AgentID]
		_, down := a.maintenance(c.now, maintenanceMargin)
		if t.Kind != KindMiner || t.Kill != "" || away(t.State) || t.Revocable || t.CPUs < proxyCPUs || down {
			continue
		}
		if a != nil && a.wait(c.now) > 0 {
			continue
		}
		if best == nil || t.CPUs < best.CPUs {
			best = t
		}
	}
	if best == nil {
		return
	}
	c.roomAt = c.now.Add(roomPause)
	c.notice(slog.LevelInfo, "killing a miner to make room for the proxy", "task", best.ID, "agent", best.AgentID)
	c.kill(best, "to make room for the proxy")
}
