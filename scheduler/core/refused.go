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
			// The next one will be refused as well, so this is not an offer that is just over.
			state, reason, text := mesos.TASK_ERROR, mesos.REASON_TASK_INVALID, "the master refused the ACCEPT: "+limit(e.Why, 300)
			c.end(t, stateError, &mesos.TaskStatus{State: &state, Reason: &reason, Message: &text})
		}
	}
}
