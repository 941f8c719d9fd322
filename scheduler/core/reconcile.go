package core

import (
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// Reconciliation after each subscription: every task is asked about until Mesos
// answers, with growing pauses (a master is silent about agents that have not come
// back to it yet), then an implicit round finds tasks that we do not know. Both are
// repeated from time to time. (docs/reconciliation.md)
const (
	reconcileFirst  = time.Second
	reconcileMost   = time.Minute
	reconcilePeriod = 10 * time.Minute
	reconcileBatch  = 1000
	// holdLaunches is how long after a subscription nothing is launched while tasks
	// of before were not heard of.
	holdLaunches = 10 * time.Second
)

type reconciliation struct {
	started  time.Time
	pending  map[string]*question
	implicit bool // a round of it is due once nothing is pending
	done     bool // every task was heard of since started
	next     time.Time
	fresh    bool      // there are new questions
	looked   time.Time // when it was last seen which are due
}

type question struct {
	at       time.Time
	since    time.Time // first asked; zero: not yet
	attempts int
}

func (r *reconciliation) heard(id string) { delete(r.pending, id) }

// ask makes sure that a task is asked about at the given time or earlier.
func (r *reconciliation) ask(id string, at time.Time) {
	if r.pending == nil {
		r.pending = make(map[string]*question)
	}
	r.fresh = true
	q := r.pending[id]
	switch {
	case q == nil:
		r.pending[id] = &question{at: at}
	case at.Before(q.at):
		q.at = at
	}
}

func (c *Core) startReconciliation() {
	r := &c.recon
	r.started, r.implicit, r.done = c.now, true, false
	r.next = c.now.Add(c.jitter(reconcilePeriod))
	r.pending = make(map[string]*question)
	for id := range c.state.Tasks {
		r.ask(id, c.now)
	}
	c.counters.Reconciliations++
}

// launchesHeld says that it is too early to launch anything.
func (c *Core) launchesHeld() bool {
	return !c.recon.done && c.now.Sub(c.recon.started) < holdLaunches
}

func (c *Core) reconcileStep() {
	r := &c.recon
	if !c.now.Before(r.next) {
		r.implicit = true
		r.next = c.now.Add(c.jitter(reconcilePeriod))
		for id := range c.state.Tasks {
			r.ask(id, c.now)
		}
		c.counters.Reconciliations++
	}
	var due []string
	if r.fresh || c.now.Sub(r.looked) >= time.Second/2 { // not with each of a thousand answers
		r.fresh, r.looked = false, c.now
		for id, q := range r.pending {
			if !c.now.Before(q.at) {
				due = append(due, id)
			}
		}
	}
	if len(due) > 0 {
		slices.Sort(due)
		due = due[:min(len(due), reconcileBatch)]
		call := calls.Reconcile()
		for _, id := range due {
			q := r.pending[id]
			if q.since.IsZero() {
				q.since = c.now
			}
			q.at = c.now.Add(c.jitter(exponential(reconcileFirst, reconcileMost, float64(q.attempts))))
			q.attempts++
			call.Reconcile.Tasks = append(call.Reconcile.Tasks, scheduler.Call_Reconcile_Task{
				TaskID:  mesos.TaskID{Value: id},
				AgentID: &mesos.AgentID{Value: c.state.Tasks[id].AgentID},
			})
		}
		c.call(call)
	}
	if len(r.pending) == 0 || c.now.Sub(r.started) >= holdLaunches {
		r.done = r.done || len(r.pending) == 0
		if r.implicit {
			r.implicit = false
			c.call(calls.Reconcile())
		}
	}
}
