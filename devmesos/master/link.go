package master

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
)

// The master as its agents see it. Each method only posts: what it does is done by
// the loop.
var _ link.Master = (*Master)(nil)

// RegisterAgent lets a new agent in.
func (m *Master) RegisterAgent(l link.Agent, info mesos.AgentInfo) {
	m.post(func() {
		for _, a := range m.agents {
			if a.link == l { // the answer was lost
				l.Registered(m, mesos.AgentID{Value: a.id})
				return
			}
		}
		if info.Domain != nil && m.info.Domain == nil {
			m.log.Warn("registration of an agent is ignored: it has a domain, and the master has none", "hostname", info.Hostname)
			return
		}
		id := sprintID(m.id, "%s-S%d", m.nextAgent)
		a := newAgent(id, l, info, m.now())
		if m.cfg.Registry.isDownAgent(a) {
			l.Shutdown(machineDown)
			return
		}
		m.nextAgent++
		m.metrics.count("master/slave_registrations")
		m.admit(a)
		m.log.Info("agent registered", "agent", id, "hostname", info.Hostname, "resources", a.total.String())
		l.Registered(m, mesos.AgentID{Value: id})
		m.allocateSoon()
	})
}

// admit adds an agent and starts to ping it.
func (m *Master) admit(a *agent) {
	a.deactivated, a.drain = m.cfg.Registry.state(a.id)
	m.agents[a.id] = a
	m.cfg.Registry.admit(a.id, a.info)
	delete(m.recovered, a.id)
	m.tellWaiters()
	m.notifyAgentAdded(a)
	a.ping = m.every(m.cfg.Timing.AgentPing, func() { m.pingAgent(a) })
}

func (m *Master) pingAgent(a *agent) {
	if a.unanswered >= m.cfg.Timing.AgentPings {
		m.log.Warn("agent does not answer", "agent", a.id, "pings", a.unanswered)
		m.markUnreachable(a, "health check timed out")
		return
	}
	a.unanswered++
	a.link.Ping(m)
}

// Pong is the answer to a ping.
func (m *Master) Pong(id mesos.AgentID) {
	m.post(func() {
		if a := m.agents[id.Value]; a != nil {
			a.unanswered = 0
		}
	})
}

// UnregisterAgent removes an agent that says goodbye: its tasks are lost.
func (m *Master) UnregisterAgent(id mesos.AgentID) {
	m.post(func() {
		if a := m.agents[id.Value]; a != nil {
			m.log.Info("agent unregistered", "agent", a.id)
			m.removeAgent(a, removal{
				state: mesos.TASK_LOST, reason: mesos.REASON_AGENT_REMOVED,
				message: "Agent " + a.info.Hostname + " removed: the agent unregistered", always: true,
			})
			m.cfg.Registry.remove(a.id)
		}
	})
}

// Disconnected is the end of an agent's connection.
func (m *Master) Disconnected(id mesos.AgentID) {
	m.post(func() {
		a := m.agents[id.Value]
		if a == nil || !a.connected {
			return
		}
		m.log.Info("agent disconnected", "agent", a.id)
		a.connected = false
		m.rescindAll(a)
		for _, t := range a.allTasks() {
			if t.fw.info.GetCheckpoint() {
				continue
			}
			m.loseTask(t, mesos.TASK_LOST, mesos.REASON_AGENT_DISCONNECTED, "Agent "+a.info.Hostname+" disconnected", nil)
		}
		for _, of := range a.executors {
			for _, e := range of {
				if !e.fw.info.GetCheckpoint() {
					m.removeExecutor(a, e)
				}
			}
		}
	})
}

// loseTask ends a task from the master's side. An agent that became unreachable may
// bring it back.
func (m *Master) loseTask(t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string, since *time.Time) {
	if isTerminal(t.state) {
		m.removeTask(t) // its agent will tell, if it comes back
		return
	}
	status := m.status(t.fw, t, state, reason, message)
	if since != nil {
		status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: since.UnixNano()}
	}
	m.updateTask(t, status, state)
	if since != nil {
		m.removeUnreachable(t)
	} else {
		m.removeTask(t)
	}
	m.sendUpdate(t.fw, status)
}

// removal is how an agent is removed.
type removal struct {
	state      mesos.TaskState // for frameworks that know partitions
	reason     mesos.TaskStatus_Reason
	message    string
	always     bool       // the state is for all frameworks
	since      *time.Time // set if the agent may come back
	beforehand func()     // done between the updates and the rescinding
}

// removeAgent takes an agent out, in the order that schedulers see: updates, rescinded
// offers, FAILURE to every framework.
func (m *Master) removeAgent(a *agent, how removal) {
	a.ping.stop()
	for _, t := range a.allTasks() {
		state := how.state
		if !how.always {
			state = t.fw.orLost(state)
		}
		m.loseTask(t, state, how.reason, how.message, how.since)
	}
	if how.beforehand != nil {
		how.beforehand()
	}
	for _, of := range a.executors {
		for _, e := range of {
			m.removeExecutor(a, e)
		}
	}
	m.rescindAll(a)
	delete(m.agents, a.id)
	m.metrics.count("master/slave_removals")
	m.notifyAgentRemoved(a)
	for _, id := range sortedKeys(m.frameworks) {
		m.send(m.frameworks[id], failureEvent(a.id, "", nil))
	}
}

// markUnreachable removes an agent that may come back with its tasks.
func (m *Master) markUnreachable(a *agent, message string) {
	m.metrics.count("master/slave_unreachable_completed")
	now := m.now()
	m.cfg.Registry.markUnreachable(a.id, now)
	m.removeAgent(a, removal{state: mesos.TASK_UNREACHABLE, reason: mesos.REASON_AGENT_REMOVED, message: message, since: &now})
}

// giveUpRecovered marks agents unreachable that did not come back after a failover.
// Their tasks are not known, so there are no updates.
func (m *Master) giveUpRecovered() {
	for _, id := range sortedKeys(m.recovered) {
		m.log.Warn("agent did not reregister after the failover", "agent", id)
		m.cfg.Registry.markUnreachable(id, m.now())
		delete(m.recovered, id)
		for _, fw := range sortedKeys(m.frameworks) {
			m.send(m.frameworks[fw], failureEvent(id, "", nil))
		}
	}
}

// StatusUpdate forwards an update and keeps what it says.
func (m *Master) StatusUpdate(id mesos.AgentID, u link.Update) {
	m.post(func() {
		m.metrics.count("master/valid_status_updates")
		fw := m.frameworks[u.FrameworkID.Value]
		a := m.agents[id.Value]
		if fw == nil || a == nil {
			m.log.Info("status update dropped: agent or framework is unknown", "agent", id.Value, "framework", u.FrameworkID.Value)
			return
		}
		m.sendUpdate(fw, u.Status)
		t := a.tasks[fw.id][u.Status.TaskID.Value]
		if t == nil {
			return
		}
		m.updateTask(t, u.Status, u.LatestState)
		if isTerminal(t.state) && len(u.Status.UUID) == 0 {
			m.removeTask(t)
		}
	})
}

// ExecutorMessage forwards a message to the scheduler, or loses it.
func (m *Master) ExecutorMessage(id mesos.AgentID, framework mesos.FrameworkID, executor mesos.ExecutorID, data []byte) {
	m.post(func() {
		fw := m.frameworks[framework.Value]
		if fw == nil || m.agents[id.Value] == nil || m.faults.dropMessage() {
			m.metrics.count("master/invalid_executor_to_framework_messages")
			return
		}
		m.metrics.count("master/valid_executor_to_framework_messages")
		m.send(fw, &scheduler.Event{Type: scheduler.Event_MESSAGE, Message: &scheduler.Event_Message{
			AgentID: id, ExecutorID: executor, Data: data,
		}})
	})
}

// ExitedExecutor frees what an executor held and tells the scheduler.
func (m *Master) ExitedExecutor(id mesos.AgentID, framework mesos.FrameworkID, executor mesos.ExecutorID, status int32) {
	m.post(func() {
		a := m.agents[id.Value]
		if a == nil {
			return
		}
		if e := a.executors[framework.Value][executor.Value]; e != nil {
			m.removeExecutor(a, e)
		}
		if fw := m.frameworks[framework.Value]; fw != nil {
			m.send(fw, failureEvent(id.Value, executor.Value, &status))
		}
	})
}

// UpdateOversubscribed sets what the agent can lend beside its own resources. Offers
// that contain such are taken back.
func (m *Master) UpdateOversubscribed(id mesos.AgentID, total []mesos.Resource) {
	m.post(func() {
		a := m.agents[id.Value]
		if a == nil {
			return
		}
		lent := resources.From(total).Filter(isRevocable)
		if lent.Equal(a.oversubscribed) {
			return
		}
		for _, o := range sortedOffers(a.offers) {
			if !o.resources.Filter(isRevocable).Empty() {
				m.rescind(o)
			}
		}
		a.oversubscribed = lent
	})
}

func isRevocable(r mesos.Resource) bool { return r.Revocable != nil }
