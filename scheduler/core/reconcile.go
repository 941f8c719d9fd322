package core

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// Reconciliation after each subscription: every task is asked about until Mesos
// answers, with growing pauses (a master is silent about agents that have not come
// back to it yet), then an implicit round finds tasks that we do not know. Implicit
// rounds come again from time to time, and between them a sweep asks about tasks of
// which nothing was heard. (docs/reconciliation.md)
const (
	reconcileFirst  = time.Second
	reconcileMost   = time.Minute
	reconcilePeriod = 10 * time.Minute
	reconcileBatch  = 1000 // questions a call
	reconcileRate   = 5000 // questions a second
	// holdLaunches is how long after a subscription nothing is launched while tasks
	// of before were not heard of.
	holdLaunches = 10 * time.Second
)

type reconciliation struct {
	started  time.Duration
	pending  int     // tasks that are asked about
	due      []*Task // to be asked about now
	bucket   bucket
	implicit bool // a round of it is due once nothing is pending
	done     bool // every task was heard of since started
	round    int  // subscriptions
}

func newReconciliation() reconciliation {
	return reconciliation{bucket: newBucket(reconcileRate, reconcileRate)}
}

// question is what is asked about one task.
type question struct {
	pending  bool
	queued   bool
	attempts int32
	serial   int32 // alarms of a question before are void
}

// heard notes that Mesos spoke of a task.
func (c *Core) heard(t *Task) {
	t.run.heard = c.clock
	if t.run.asked.pending {
		t.run.asked.pending = false
		c.recon.pending--
	}
}

// ask makes sure that a task is asked about after d at the latest.
func (c *Core) ask(t *Task, d time.Duration) {
	q := &t.run.asked
	if !q.pending {
		*q = question{pending: true, queued: q.queued, serial: q.serial}
		c.recon.pending++
	}
	if d == 0 {
		c.queueQuestion(t)
		return
	}
	q.serial++
	serial := q.serial
	c.after(d, func() {
		if q.serial == serial {
			c.queueQuestion(t)
		}
	})
}

func (c *Core) queueQuestion(t *Task) {
	if q := &t.run.asked; q.pending && !q.queued && t.run.index >= 0 {
		q.queued = true
		c.recon.due = append(c.recon.due, t)
	}
}

func (c *Core) startReconciliation() {
	r := &c.recon
	r.started, r.implicit, r.done = c.clock, true, false
	r.round++
	for _, t := range c.tasks {
		t.run.asked.pending, t.run.asked.attempts = true, 0
		c.queueQuestion(t)
	}
	r.pending = len(c.tasks)
	c.counters.Reconciliations++
	c.nextReconciliation(r.round)
}

// nextReconciliation brings implicit rounds for as long as the subscription lasts.
func (c *Core) nextReconciliation(round int) {
	c.after(c.jitter(reconcilePeriod), func() {
		if c.recon.round == round {
			c.recon.implicit = true
			c.counters.Reconciliations++
			c.nextReconciliation(round)
		}
	})
}

// launchesHeld says that it is too early to launch anything.
func (c *Core) launchesHeld() bool {
	return !c.recon.done && c.clock-c.recon.started < holdLaunches
}

// settled says that the scheduler can see what is going on: it is subscribed, and
// tasks of before were heard of or given their time.
func (c *Core) settled() bool { return c.connected && !c.launchesHeld() }

// sendQuestions asks what is to be asked.
func (c *Core) sendQuestions() {
	r := &c.recon
	for len(r.due) > 0 {
		call := calls.Reconcile()
		for len(r.due) > 0 && len(call.Reconcile.Tasks) < reconcileBatch {
			t := r.due[0]
			q := &t.run.asked
			wanted := q.pending && t.run.index >= 0
			if wanted && !r.bucket.take(c.clock) {
				break
			}
			r.due[0] = nil
			r.due = r.due[1:]
			q.queued = false
			if !wanted {
				continue
			}
			call.Reconcile.Tasks = append(call.Reconcile.Tasks, scheduler.Call_Reconcile_Task{
				TaskID:  mesos.TaskID{Value: t.ID},
				AgentID: &mesos.AgentID{Value: t.AgentID},
			})
			pause := c.jitter(exponential(reconcileFirst, reconcileMost, float64(q.attempts)))
			q.attempts++
			c.ask(t, pause)
		}
		if len(call.Reconcile.Tasks) == 0 {
			break
		}
		c.call(call)
	}
	if len(r.due) == 0 {
		r.due = nil
	}
	if r.pending == 0 || c.clock-r.started >= holdLaunches {
		r.done = r.done || r.pending == 0
		if r.implicit {
			r.implicit = false
			c.call(calls.Reconcile())
		}
	}
}
