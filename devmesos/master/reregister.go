package master

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
)

// ReregisterAgent takes back an agent with all that it runs.
func (m *Master) ReregisterAgent(l link.Agent, r link.Reregistration) {
	m.post(func() { m.reregister(l, r) })
}

func (m *Master) reregister(l link.Agent, r link.Reregistration) {
	id := r.ID.Value
	if m.cfg.Registry.isGone(id) {
		m.log.Info("agent that was marked gone is shut down", "agent", id)
		l.Shutdown("Agent has been marked gone")
		return
	}
	if m.cfg.Registry.isDownAgent(newAgent(id, l, r.Info, m.now())) {
		l.Shutdown(machineDown)
		return
	}
	m.metrics.count("master/slave_reregistrations")
	for _, info := range r.Frameworks {
		m.meetFramework(l, info)
	}
	a := m.agents[id]
	if a != nil {
		m.reconnect(a, l, r)
	} else {
		a = m.readmit(l, r)
	}
	m.tellWaiters()
	l.Reregistered(m, r.ID)
	for fw, kills := range a.kills {
		for _, task := range sortedKeys(kills) {
			l.KillTask(mesos.FrameworkID{Value: fw}, mesos.TaskID{Value: task}, kills[task])
		}
		delete(a.kills, fw)
	}
	if a.drain != nil && !r.Draining {
		m.startDrain(a)
	}
	m.checkDrained(a)
	m.allocateSoon()
}

// meetFramework learns of a framework from an agent, or has it ended there.
func (m *Master) meetFramework(l link.Agent, info mesos.FrameworkInfo) {
	id := info.GetID().GetValue()
	switch {
	case m.isCompleted(id):
		l.ShutdownFramework(*info.ID)
	case m.frameworks[id] == nil:
		m.recoverFramework(info)
	}
}

// reconnect is the return of an agent that was never removed.
func (m *Master) reconnect(a *agent, l link.Agent, r link.Reregistration) {
	m.log.Info("agent reregistered", "agent", a.id)
	a.setInfo(l, r.Info)
	a.connected, a.unanswered = true, 0
	a.reregistered = m.now()
	m.rescindAll(a)
	m.adoptExecutors(a, r)
	for _, t := range r.Tasks {
		m.adoptTask(a, t)
	}
	for _, t := range a.allTasks() {
		if slices.ContainsFunc(r.Tasks, func(known link.Task) bool {
			return known.FrameworkID.Value == t.fw.id && known.Info.TaskID.Value == t.info.TaskID.Value
		}) {
			continue
		}
		m.log.Info("task is unknown to its agent", "agent", a.id, "task", t.info.TaskID.Value)
		m.loseTask(t, t.fw.orLost(mesos.TASK_DROPPED), mesos.REASON_RECONCILIATION, "Reconciliation: task unknown to the agent", nil)
	}
}

// readmit is the return of an agent that is unknown to this master, or was lost.
func (m *Master) readmit(l link.Agent, r link.Reregistration) *agent {
	id := r.ID.Value
	now := m.now()
	_, expected := m.recovered[id]
	_, unreachable := m.cfg.Registry.unreachableSince(id)
	message := ""
	switch {
	case unreachable:
		message = "Unreachable agent re-reregistered" // so it is spelled
	case !expected:
		message = "Unknown agent reregistered"
	}
	m.log.Info("agent readmitted", "agent", id, "expected", expected, "unreachable", unreachable)
	a := newAgent(id, l, r.Info, now)
	a.reregistered = now
	m.admit(a)
	m.adoptExecutors(a, r)
	for _, reported := range r.Tasks {
		t := m.adoptTask(a, reported)
		if t == nil || message == "" {
			continue
		}
		status := m.status(t.fw, t, t.state, mesos.REASON_AGENT_REREGISTERED, message)
		m.copyHealth(&status, t)
		m.sendUpdate(t.fw, status)
	}
	return a
}

// adoptExecutors makes the executors of an agent those that it reports.
func (m *Master) adoptExecutors(a *agent, r link.Reregistration) {
	for _, of := range a.executors {
		for _, e := range of {
			if !slices.ContainsFunc(r.Executors, func(known link.Executor) bool {
				return known.FrameworkID.Value == e.fw.id && known.Info.ExecutorID.Value == e.info.ExecutorID.Value
			}) {
				m.removeExecutor(a, e)
			}
		}
	}
	for _, e := range r.Executors {
		fw := m.frameworks[e.FrameworkID.Value]
		if fw != nil && a.executors[fw.id][e.Info.ExecutorID.Value] == nil {
			m.addExecutor(a, fw, e.Info)
		}
	}
}

// adoptTask takes over a task that an agent reports; nil if its framework is gone.
func (m *Master) adoptTask(a *agent, reported link.Task) *task {
	fw := m.frameworks[reported.FrameworkID.Value]
	if fw == nil {
		return nil
	}
	id := reported.Info.TaskID.Value
	t := a.tasks[fw.id][id]
	if t == nil {
		t = m.newTask(fw, a, reported.Info, reported.State)
		if e := reported.ExecutorID.Value; e != "" {
			t.executor = e
		}
		t.resources = resources.From(reported.Info.Resources)
	} else if !isTerminal(t.state) {
		t.state = reported.State
		if isTerminal(t.state) {
			m.release(t)
		}
	}
	if reported.Status != nil {
		status := *reported.Status
		status.Data = nil
		t.statuses = append(t.statuses[:0:0], status)
	}
	// What is not acknowledged comes again, head first.
	if len(reported.Unacked) > 0 {
		head := reported.Unacked[0]
		t.reported, t.reportedUUID = head.GetState(), head.UUID
	}
	return t
}
