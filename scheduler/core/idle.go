package core

import (
	"fmt"
	"time"
)

// In idle mode a miner on ordinary resources ends when others keep its agent busy, so that
// Mesos can offer its cpus to them; it comes back later. What is revocable Mesos takes by
// itself.
const (
	// busyShare of an agent's cpus, used by others in all reports of busyPatience, is an
	// agent that needs its cpus.
	busyShare    = 0.75
	busyPatience = 30 * time.Second
	// An agent is left to others for busyFirst, and twice as long, up to busyMost, each
	// time that it is found busy again within busyForget.
	busyFirst  = 2 * time.Minute
	busyMost   = time.Hour
	busyForget = 2 * time.Hour
)

// busyness is what is remembered of the others on an agent.
type busyness struct {
	since time.Time // in all reports since then they used busyShare; zero: not in the last one
	times int       // that the agent was left to them lately
	left  time.Time // when last
	until time.Time // no miner before
}

// see takes in what others use of an agent. It says whether the agent is to be left to
// them now.
func (b *busyness) see(now time.Time, share float64) bool {
	if share < busyShare {
		b.since = time.Time{}
		return false
	}
	if b.since.IsZero() {
		b.since = now
	}
	if now.Sub(b.since) < busyPatience {
		return false
	}
	b.since = time.Time{}
	if now.Sub(b.left) > busyForget {
		b.times = 0
	}
	b.left, b.until = now, now.Add(exponential(busyFirst, busyMost, float64(b.times)))
	b.times++
	return true
}

func (b *busyness) wait(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// heedOthers ends a miner whose agent others need.
func (c *Core) heedOthers(t *Task, r *run) {
	if !c.set.IdleMode || t.Revocable || t.Kill != "" || r.report.Miner.Host == nil || r.report.Miner.Host.Cpus == 0 {
		return
	}
	share := float64(r.report.Miner.Host.OthersMilli) / 1000 / float64(r.report.Miner.Host.Cpus)
	if a := c.agent(t.AgentID, t.Hostname); a.busy.see(c.now, share) {
		c.kill(t, Why(fmt.Sprintf("others use %.0f %% of its agent (--mode idle)", 100*share)))
	}
}
