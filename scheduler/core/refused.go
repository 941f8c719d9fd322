package core

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// refusedPatience is how long after an ACCEPT of which nobody knows whether it had an
// effect Mesos is asked about its tasks: they may be on their way.
const refusedPatience = 5 * time.Second

// acceptRefused handles an ACCEPT that launched nothing, or perhaps nothing. Its
// offers are declined already, so that they are not lost.
func (c *Core) acceptRefused(e Refused) {
	if !c.connected || e.Session != c.session {
		return // the reconciliation of the new subscription finds out
	}
	for _, id := range e.Tasks {
		t := c.state.Tasks[id]
		switch {
		case t == nil || t.State != stateStaging:
		case e.Unsure:
			c.ask(t, refusedPatience)
		default:
			dropped, reason, text := mesos.TASK_DROPPED, mesos.REASON_INVALID_OFFERS, "the master refused the ACCEPT"
			c.end(t, stateDropped, &mesos.TaskStatus{State: &dropped, Reason: &reason, Message: &text})
		}
	}
}
