package core

import (
	"maps"
	"slices"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
)

// KILL is not reliable: it is repeated until a terminal update arrives, and after
// shutdownAfter attempts the whole executor is asked to end as well.
const (
	killFirst     = 5 * time.Second
	killMost      = time.Minute
	shutdownAfter = 3
)

// kill makes a task unwanted. sendKills does the rest, for as long as it takes.
func (c *Core) kill(t *Task, why string) {
	if t.Kill != "" {
		return
	}
	t.Kill = why
	c.touched.task(t.ID)
	c.changed()
	r := c.runs[t.ID]
	r.killAt, r.killAttempts = time.Time{}, 0
	c.tell(Progress{Type: "task", Task: c.taskStatus(t), Message: "killing: " + why})
}

func (c *Core) sendKills() {
	for _, id := range c.tally().unwanted {
		t, r := c.state.Tasks[id], c.runs[id]
		// A master does not remember a KILL for an agent that is away.
		if away(t.State) || c.now.Before(r.killAt) {
			continue
		}
		c.killCall(id, t.AgentID, id, &r.killAt, &r.killAttempts)
	}
	for _, id := range slices.Sorted(maps.Keys(c.orphans)) {
		if o := c.orphans[id]; !c.now.Before(o.at) {
			c.killCall(id, o.agentID, o.executorID, &o.at, &o.attempts)
		}
	}
}

func (c *Core) killCall(task, agent, executor string, at *time.Time, attempts *int) {
	c.call(calls.Kill(task, agent))
	*attempts++
	if *attempts > shutdownAfter {
		c.call(calls.Shutdown(executor, agent))
	}
	*at = c.now.Add(c.jitter(exponential(killFirst, killMost, float64(*attempts-1))))
}

func (c *Core) operatorKill(e KillTask) {
	if t := c.state.Tasks[e.ID]; t != nil {
		why := e.Why
		if why == "" {
			why = "an operator asked for it"
		}
		c.kill(t, why)
	}
}
