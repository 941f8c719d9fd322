package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// In idle mode a miner on ordinary resources ends when others keep its agent busy, or when
// another role lacks cpus that its quota guarantees, so that Mesos can offer its cpus to them;
// it comes back later. What is revocable Mesos takes by itself.
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
	// A word about roles counts for roleAge: who has lacked cpus in words without a longer
	// gap for busyPatience needs them.
	roleAge = time.Minute
	// What was given back and is not taken is lacked for another reason, such as nobody in the
	// role who wants it; after roleRetry it is tried again.
	roleRetry = busyMost
)

// busyness is what is remembered of the others on an agent.
type busyness struct {
	since time.Time // in all reports since then they used busyShare; zero: not in the last one
	times int       // that the agent was left to them lately
	left  time.Time // when last
	until time.Time // no miner before
}

// others is what is remembered of them.
func (a *agent) others() *busyness {
	if a.busy == nil {
		a.busy = new(busyness)
	}
	return a.busy
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
	b.leave(now)
	return true
}

// leave notes that the agent is left to others now.
func (b *busyness) leave(now time.Time) {
	if now.Sub(b.left) > busyForget {
		b.times = 0
	}
	b.left, b.until = now, now.Add(exponential(busyFirst, busyMost, float64(b.times)))
	b.times++
}

func (b *busyness) wait(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// heedOthers ends a miner whose agent others need.
func (c *Core) heedOthers(t *Task, r *run) {
	if !c.set.IdleMode || t.Revocable || t.Kill != "" || r.report.Miner.Host == nil || r.report.Miner.Host.Cpus == 0 {
		return
	}
	share := float64(r.report.Miner.Host.OthersMilli) / 1000 / float64(r.report.Miner.Host.Cpus)
	if a := t.run.agent; a.others().see(c.now, share) {
		c.kill(t, Why(fmt.Sprintf("others use %.0f %% of its agent (--mode idle)", 100*share)))
	}
}

// roleNeed is what is remembered of the cpus that other roles lack, in thousandths.
type roleNeed struct {
	since, last time.Time // of the words in a row in which some were lacked
	least       int64     // that were lacked in all of these
	given       int64     // that were given back for what is still lacked
	gave        time.Time
}

// see takes in what other roles lack, and says how much is to be given back now.
func (n *roleNeed) see(now time.Time, lacked int64) (give int64) {
	if now.Sub(n.gave) >= roleRetry {
		n.given = 0
	}
	n.given = min(n.given, lacked) // the rest of it was taken
	open := lacked - n.given
	if open < leastMinerCPU || now.Sub(n.last) > roleAge {
		n.since, n.least = now, open
	}
	n.last, n.least = now, min(n.least, open)
	if open < leastMinerCPU || now.Sub(n.since) < busyPatience {
		return 0
	}
	n.given += n.least
	n.gave = now
	give, n.since, n.least = n.least, now, open
	return give
}

// heedRoles ends as many miners as other roles need the cpus of.
func (c *Core) heedRoles(e RoleNeed) {
	if !c.set.IdleMode {
		return
	}
	for _, t := range c.minersOf(c.roles.see(c.now, max(0, e.Milli))) {
		t.run.agent.others().leave(c.now)
		c.kill(t, Why(fmt.Sprintf("the role %s lacks cpus that its quota guarantees (--mode idle)", limit(e.Role, 255))))
	}
}

// minersOf is miners on ordinary resources that have so many thousandths of a cpu together, if
// there are enough: the largest ones, and last the smallest that has the rest.
func (c *Core) minersOf(milli int64) (chosen []*Task) {
	if milli <= 0 {
		return nil
	}
	var list []*Task
	for _, t := range c.tasks {
		if t.Kind == KindMiner && !t.Revocable && t.Kill == "" && !away(t.State) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *Task) int {
		return cmp.Or(cmp.Compare(b.CPUs, a.CPUs), strings.Compare(a.ID, b.ID))
	})
	for i, t := range list {
		if t.CPUs < milli {
			chosen = append(chosen, t)
			milli -= t.CPUs
			continue
		}
		for _, next := range list[i:] {
			if next.CPUs < milli {
				break
			}
			if next.CPUs < t.CPUs {
				t = next
			}
		}
		return append(chosen, t)
	}
	return chosen
}
