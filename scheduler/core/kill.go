package core

import (
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// Why says why the scheduler ends a task; as text, it is for people.
type Why string

// Reasons to end a task.
const (
	WhyOperator    Why = "an operator asked for it"
	WhyLaunch      Why = "it did not come to run in 5 minutes"
	WhyGrace       Why = "there was no proxy for too long"
	WhyRoom        Why = "to make room for the proxy"
	WhyCrowded     Why = "it came back to where there are as many as may be (--constraint)"
	WhySurplus     Why = "it was replaced while its agent was away"
	WhyReplaced    Why = "another proxy took over"
	WhyNotNeeded   Why = "the proxy that it was to replace serves again"
	WhyNoBetter    Why = "it has no work either"
	WhyPlace       Why = "fewer proxies are wanted (--proxies)"
	WhyOutdated    Why = "it is replaced by one with new settings or a new executor"
	WhyVersion     Why = "its executor is of a version that secrets are not given to any more"
	WhyRevoked     Why = "the key of the miners' passwords was revoked"
	WhySilent      Why = "it has not reported for 10 minutes"
	WhyMaintenance Why = "maintenance of its agent begins"
	WhyFewer       Why = "an operator wants fewer miners"
	WhyDrained     Why = "an operator drains its agent"
	WhyEnding      Why = "somebody else ends it, and it does not end"
)

// KILL is not reliable: it is repeated until a terminal update arrives, and after
// shutdownAfter attempts the whole executor is asked to end as well. The pauses grow,
// and all calls together have a rate: thousands of agents that do not answer must not
// keep the master from those that do.
const (
	killFirst     = 5 * time.Second
	killMost      = 2 * time.Minute
	shutdownAfter = 3
	killRate      = 500 // a second
	killBurst     = 2000
	// orphanLife is for how long an unknown task is killed in vain.
	orphanLife = 30 * time.Minute
)

// killing is a task that is to end, for as long as that takes.
type killing struct {
	task, agent, executor string
	begun                 time.Duration
	attempts              int
	over                  bool
	paused                bool // a master does not remember a KILL for an agent that is away
	queued                bool
	orphan                bool
	round                 int // alarms of a round before are void
}

type killQueue struct {
	due    []*killing
	bucket bucket
}

func newKillQueue() killQueue { return killQueue{bucket: newBucket(killRate, killBurst)} }

// kill makes a task unwanted. sendKills does the rest, for as long as it takes.
func (c *Core) kill(t *Task, why Why) {
	if t.Kill != "" {
		return
	}
	c.count(t, -1)
	t.Kill = why
	c.count(t, 1)
	c.changed(t)
	c.startKill(t)
	if t.Kind == KindProxy {
		c.leaveSlot(t)
	}
	c.tell(TaskChanged{Task: c.view(t), Why: why})
}

func (c *Core) startKill(t *Task) {
	k := &killing{task: t.ID, agent: t.AgentID, executor: t.ID, begun: c.clock, paused: away(t.State)}
	t.run.killing = k
	c.queueKill(k)
}

func (c *Core) queueKill(k *killing) {
	if k.over || k.paused || k.queued {
		return
	}
	k.queued = true
	c.kills.due = append(c.kills.due, k)
}

func (c *Core) endKill(k *killing) {
	if k != nil {
		k.over = true
	}
}

func (c *Core) pauseKill(k *killing) {
	if k != nil {
		k.paused = true
	}
}

func (c *Core) resumeKill(k *killing) {
	if k != nil && k.paused {
		k.paused, k.attempts = false, 0
		k.round++
		c.queueKill(k)
	}
}

// restartKills begins anew at a new master.
func (c *Core) restartKills() {
	for _, t := range c.tasks {
		if k := t.run.killing; k != nil {
			k.attempts = 0
			k.round++
			c.queueKill(k)
		}
	}
	for _, id := range sortedKeysOf(c.orphans) {
		k := c.orphans[id]
		k.attempts = 0
		k.round++
		c.queueKill(k)
	}
}

func (c *Core) sendKills() {
	q := &c.kills
	for len(q.due) > 0 {
		k := q.due[0]
		if !k.over && !k.paused && !q.bucket.take(c.clock) {
			return
		}
		q.due[0] = nil
		q.due = q.due[1:]
		k.queued = false
		if k.over || k.paused {
			continue
		}
		if k.orphan && c.clock-k.begun > orphanLife {
			k.over = true
			delete(c.orphans, k.task)
			continue
		}
		c.call(calls.Kill(k.task, k.agent))
		if k.attempts++; k.attempts > shutdownAfter {
			c.call(calls.Shutdown(k.executor, k.agent))
		}
		k.round++
		round := k.round
		c.after(c.jitter(exponential(killFirst, killMost, float64(k.attempts-1))), func() {
			if k.round == round {
				c.queueKill(k)
			}
		})
	}
	q.due = nil
}

func (c *Core) operatorKill(e KillTask) {
	if t := c.state.Tasks[e.ID]; t != nil {
		why := Why(limit(e.Why, 300))
		if why == "" {
			why = WhyOperator
		}
		c.kill(t, why)
	}
}
