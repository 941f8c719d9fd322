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
	// role who wants it. Mesos keeps it for the role as long as its quota stands; what came back
	// to us all the same is given again after roleRetry.
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
	away        map[string]int64 // by agent: of given, what no miner has again
}

// see takes in what other roles lack, and says how much is to be given back now.
func (n *roleNeed) see(now time.Time, lacked int64) (give int64) {
	if now.Sub(n.gave) >= roleRetry {
		n.given = min(n.given, n.out())
	}
	n.given = min(n.given, lacked) // the rest of it was taken
	open := lacked - n.given
	if lacked < leastMinerCPU {
		n.away = nil
	}
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

// leave notes that a miner on an agent ends for other roles.
func (n *roleNeed) leave(agent string, milli int64) {
	if n.away == nil {
		n.away = make(map[string]int64)
	}
	n.away[agent] += milli
}

// returned notes that a miner is on an agent again, or that the agent is no more.
func (n *roleNeed) returned(agent string) { delete(n.away, agent) }

// out is what was given back and no miner has again.
func (n *roleNeed) out() (milli int64) {
	for _, m := range n.away {
		milli += m
	}
	return milli
}

// heedRoles ends as many miners as other roles need the cpus of.
func (c *Core) heedRoles(e RoleNeed) {
	if !c.set.IdleMode {
		return
	}
	for _, t := range c.minersOf(c.roles.see(c.now, max(0, e.Milli))) {
		t.run.agent.others().leave(c.now)
		c.roles.leave(t.AgentID, t.CPUs-t.Reserved)
		c.kill(t, Why(fmt.Sprintf("the role %s lacks cpus that its quota guarantees (--mode idle)", limit(e.Role, 255))))
	}
}

// minersOf is miners that have so many thousandths of a cpu together which others can have, if
// there are enough: the largest ones, and last the smallest that has the rest.
func (c *Core) minersOf(milli int64) (chosen []*Task) {
	if milli <= 0 {
		return nil
	}
	var list []*Task
	for _, t := range c.tasks {
		if t.Kind == KindMiner && !t.Revocable && t.CPUs > t.Reserved && t.Kill == "" && !away(t.State) {
			list = append(list, t)
		}
	}
	ordinary := func(t *Task) int64 { return t.CPUs - t.Reserved }
	slices.SortFunc(list, func(a, b *Task) int {
		return cmp.Or(cmp.Compare(ordinary(b), ordinary(a)), strings.Compare(a.ID, b.ID))
	})
	for i, t := range list {
		if ordinary(t) < milli {
			chosen = append(chosen, t)
			milli -= ordinary(t)
			continue
		}
		for _, next := range list[i:] {
			if ordinary(next) < milli {
				break
			}
			if ordinary(next) < ordinary(t) {
				t = next
			}
		}
		return append(chosen, t)
	}
	return chosen
}
