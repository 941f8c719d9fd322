package core

import (
	"math"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// decaying counts events and forgets half of them every halfLife.
type decaying struct {
	n  float64
	at time.Time
}

const halfLife = 5 * time.Minute

func (d *decaying) count(now time.Time) float64 {
	if d.n == 0 {
		return 0
	}
	return d.n * math.Exp2(-float64(now.Sub(d.at))/float64(halfLife))
}

func (d *decaying) add(now time.Time, n float64) {
	d.n, d.at = d.count(now)+n, now
}

// agent is what is remembered of an agent. It is not stored: a scheduler that was
// restarted may try again.
type agent struct {
	id, hostname string
	failures     decaying
	busy         busyness
	until        time.Time // nothing is launched before
	seen         time.Time
	down         time.Time // start of maintenance; zero: none
	downFor      time.Duration
	downTold     time.Time // when Mesos last told of it
}

// agent returns the record of an agent, making one if there is none.
func (c *Core) agent(id, hostname string) *agent {
	a := c.agents[id]
	if a == nil {
		a = &agent{id: id}
		c.agents[id] = a
	}
	if hostname != "" {
		a.hostname = hostname
	}
	a.seen = c.now
	return a
}

func (a *agent) wait(now time.Time) time.Duration { return max(0, a.until.Sub(now)) }

func (a *agent) leaveAlone(until time.Time) {
	if until.After(a.until) {
		a.until = until
	}
}

func (a *agent) unavailability(u *mesos.Unavailability, now time.Time) {
	if u == nil {
		a.down, a.downFor = time.Time{}, 0
		return
	}
	a.down, a.downFor, a.downTold = time.Unix(0, u.Start.Nanoseconds), 0, now
	if u.Duration != nil {
		a.downFor = time.Duration(u.Duration.Nanoseconds)
	}
}

// maintenance says whether the agent is in maintenance, or will be within margin.
func (a *agent) maintenance(now time.Time, margin time.Duration) (from time.Time, soon bool) {
	if a == nil || a.down.IsZero() || (a.downFor > 0 && now.After(a.down.Add(a.downFor))) {
		return time.Time{}, false
	}
	return a.down, now.Add(margin).After(a.down)
}

// backoff delays launches of one kind of task while none of them comes to run.
type backoff struct {
	failures int // since a task of the kind last ran
	until    time.Time
	alike    repeated
}

func (b *backoff) wait(now time.Time) time.Duration { return max(0, b.until.Sub(now)) }

// exponential returns base, doubled n times, at most limit.
func exponential(base, limit time.Duration, n float64) time.Duration {
	if d := float64(base) * math.Exp2(max(0, n)); d < float64(limit) {
		return time.Duration(d)
	}
	return limit
}

// blame says whose fault the end of a task was.
type blame int

const (
	blameNobody  blame = iota // an offer race, a lost agent, our own wish: launch anew at once
	blamePlace                // the agent would not take it: give the agent some time
	blamePreempt              // revocable resources were taken back
	blameTask                 // the task failed: back off
	blameRequest              // Mesos refuses such a task: back off far
)

// judgeEnd reads the end of a task (docs/task-state-reasons.md).
func judgeEnd(state string, s *mesos.TaskStatus) blame {
	reason := mesos.REASON_COMMAND_EXECUTOR_FAILED
	if s.Reason != nil {
		reason = *s.Reason
	}
	switch reason {
	case mesos.REASON_INVALID_OFFERS, mesos.REASON_RESOURCES_UNKNOWN, mesos.REASON_MASTER_DISCONNECTED:
		return blameNobody
	case mesos.REASON_CONTAINER_PREEMPTED:
		return blamePreempt
	case mesos.REASON_AGENT_DRAINING:
		return blamePlace
	case mesos.REASON_AGENT_REMOVED, mesos.REASON_AGENT_REMOVED_BY_OPERATOR, mesos.REASON_AGENT_DISCONNECTED,
		mesos.REASON_AGENT_RESTARTED, mesos.REASON_AGENT_UNKNOWN, mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT:
		return blameNobody
	case mesos.REASON_TASK_INVALID, mesos.REASON_TASK_UNAUTHORIZED, mesos.REASON_INVALID_FRAMEWORKID:
		return blameRequest
	}
	switch state {
	case stateError:
		return blameRequest
	case stateFailed, stateFinished:
		return blameTask
	case stateDropped, stateKilled:
		return blamePlace
	}
	return blameNobody
}

// blameEnd makes the end of an unkilled task count.
func (c *Core) blameEnd(t *Task, b blame) {
	a := c.agent(t.AgentID, t.Hostname)
	k := c.kinds[t.Kind]
	switch b {
	case blamePreempt:
		a.leaveAlone(c.now.Add(c.jitter(2 * time.Minute)))
	case blamePlace:
		a.failures.add(c.now, 0.5)
		a.leaveAlone(c.now.Add(c.jitter(exponential(2*time.Second, time.Minute, 2*a.failures.count(c.now)-1))))
	case blameTask:
		a.failures.add(c.now, 1)
		a.leaveAlone(c.now.Add(c.jitter(exponential(2*time.Second, 10*time.Minute, a.failures.count(c.now)-1))))
		// The first failure may be a matter of the agent; from the second on, with
		// nothing running in between, the fault is probably our own.
		if k.failures++; k.failures > 1 {
			k.until = c.now.Add(c.jitter(exponential(time.Second, time.Minute, float64(k.failures-2))))
		}
	case blameRequest:
		a.failures.add(c.now, 1)
		k.failures++
		k.until = c.now.Add(c.jitter(exponential(10*time.Second, 10*time.Minute, float64(k.failures-1))))
	}
}
