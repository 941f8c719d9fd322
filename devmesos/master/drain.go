package master

import (
	"net/http"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/wire"
)

// drain is how an agent is being emptied.
type drain struct {
	grace    *time.Duration // at most, for every task; nil: the task's own
	markGone bool
	done     bool // DRAINED
	since    time.Time
}

// drainAgent empties an agent: no offers, every task is killed.
func (m *Master) drainAgent(id string, grace *time.Duration, markGone bool) *wire.Refusal {
	a := m.agents[id]
	switch {
	case a == nil:
		return wire.Refuse(http.StatusBadRequest, "Agent '%s' is not recognized", id)
	case a.drain != nil && a.drain.markGone && !markGone:
		return wire.Refuse(http.StatusBadRequest, "Agent '%s' is already draining and will be marked gone", id)
	}
	a.drain = &drain{grace: grace, markGone: markGone, since: m.now()}
	m.setDeactivated(a, true)
	m.startDrain(a)
	m.checkDrained(a)
	return nil
}

func (m *Master) startDrain(a *agent) {
	if a.connected && !a.drain.done {
		a.link.Drain(a.drain.grace, a.drain.markGone)
	}
}

// checkDrained ends the draining of an agent once every task is gone and every
// terminal update acknowledged.
func (m *Master) checkDrained(a *agent) {
	if a.drain == nil || a.drain.done || len(a.tasks) > 0 {
		return
	}
	m.log.Info("agent is drained", "agent", a.id)
	a.drain.done = true
	m.cfg.Registry.setState(a.id, a.deactivated, a.drain)
	if a.drain.markGone {
		m.markGone(a)
	}
}

// setDeactivated says whether an agent may be offered.
func (m *Master) setDeactivated(a *agent, deactivated bool) {
	a.deactivated = deactivated
	if deactivated {
		m.rescindAll(a)
	}
	m.cfg.Registry.setState(a.id, a.deactivated, a.drain)
}

func (m *Master) deactivateAgent(id string) *wire.Refusal {
	a := m.agents[id]
	if a == nil {
		return wire.Refuse(http.StatusBadRequest, "Agent '%s' is not recognized", id)
	}
	m.setDeactivated(a, true)
	return nil
}

func (m *Master) reactivateAgent(id string) *wire.Refusal {
	a := m.agents[id]
	switch {
	case a == nil:
		return wire.Refuse(http.StatusBadRequest, "Agent '%s' is not recognized", id)
	case a.drain != nil && !a.drain.done:
		return wire.Refuse(http.StatusBadRequest, "Agent '%s' is still in the process of draining", id)
	}
	a.drain = nil
	m.setDeactivated(a, false)
	return nil
}

const goneMessage = "Agent has been marked gone"

// markGone removes an agent for good, by an operator's word.
func (m *Master) markGone(a *agent) {
	m.cfg.Registry.markGone(a.id, m.now())
	m.removeAgent(a, removal{
		state: mesos.TASK_GONE_BY_OPERATOR, reason: mesos.REASON_AGENT_REMOVED_BY_OPERATOR,
		message:    goneMessage,
		beforehand: func() { a.link.Shutdown(goneMessage) },
	})
}

// markAgentGone does so for an agent that may be lost already.
func (m *Master) markAgentGone(id string) *wire.Refusal {
	if a := m.agents[id]; a != nil {
		m.markGone(a)
		return nil
	}
	_, unreachable := m.cfg.Registry.unreachableSince(id)
	_, recovered := m.recovered[id]
	switch {
	case m.cfg.Registry.isGone(id):
		return nil
	case !unreachable && !recovered:
		return wire.Refuse(http.StatusNotFound, "Agent '%s' is not recognized", id)
	}
	m.cfg.Registry.markGone(id, m.now())
	delete(m.recovered, id)
	for _, fwID := range sortedKeys(m.frameworks) {
		fw := m.frameworks[fwID]
		for _, taskID := range sortedKeys(fw.unreachable) {
			t := fw.unreachable[taskID]
			if t.agent != id {
				continue
			}
			delete(fw.unreachable, taskID)
			status := m.status(fw, t, fw.orLost(mesos.TASK_GONE_BY_OPERATOR), mesos.REASON_AGENT_REMOVED_BY_OPERATOR, goneMessage)
			m.updateTask(t, status, status.GetState())
			fw.completed = append(fw.completed, t)
			m.sendUpdate(fw, status)
		}
	}
	return nil
}
