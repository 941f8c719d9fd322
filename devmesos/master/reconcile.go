package master

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// reconcile answers a RECONCILE (Master::reconcile): without tasks, with the state of
// every task that is known; else task by task, with silence where an agent that the
// registry knows has not come back yet.
func (m *Master) reconcile(fw *framework, tasks []scheduler.Call_Reconcile_Task) {
	if len(tasks) == 0 {
		for _, id := range sortedKeys(fw.tasks) {
			m.sendUpdate(fw, m.latest(fw.tasks[id]))
		}
		return
	}
	for _, task := range tasks {
		if status := m.reconcileTask(fw, task); status != nil {
			m.sendUpdate(fw, *status)
		}
	}
}

// latest is the state of a known task: what the executor said of its health, but
// neither its message nor its data.
func (m *Master) latest(t *task) mesos.TaskStatus {
	status := m.status(t.fw, t, t.state, mesos.REASON_RECONCILIATION, "Reconciliation: Latest task state")
	m.copyHealth(&status, t)
	return status
}

// copyHealth adds what is known of a task's health and container.
func (m *Master) copyHealth(status *mesos.TaskStatus, t *task) {
	if n := len(t.statuses); n > 0 {
		last := t.statuses[n-1]
		status.Healthy, status.CheckStatus = last.Healthy, last.CheckStatus
	}
	for _, s := range t.statuses {
		if s.ContainerStatus != nil {
			status.ContainerStatus = s.ContainerStatus
		}
	}
}

func (m *Master) reconcileTask(fw *framework, asked scheduler.Call_Reconcile_Task) *mesos.TaskStatus {
	if t := fw.tasks[asked.TaskID.Value]; t != nil {
		status := m.latest(t)
		return &status
	}
	id := asked.GetAgentID().GetValue()
	status := mesos.TaskStatus{
		TaskID:    asked.TaskID,
		Source:    mesos.SOURCE_MASTER.Enum(),
		Reason:    mesos.REASON_RECONCILIATION.Enum(),
		AgentID:   asked.AgentID,
		Timestamp: timestamp(m.now()),
	}
	answer := func(state mesos.TaskState, message string) *mesos.TaskStatus {
		status.State = ptr(fw.orLost(state))
		status.Message = ptr("Reconciliation: " + message)
		return &status
	}
	since, unreachable := m.cfg.Registry.unreachableSince(id)
	_, recovering := m.recovered[id]
	switch {
	case asked.AgentID == nil && len(m.recovered) > 0, recovering:
		return nil
	case m.agents[id] != nil:
		return answer(mesos.TASK_GONE, "Task is unknown to the agent")
	case unreachable:
		status.UnreachableTime = &mesos.TimeInfo{Nanoseconds: since.UnixNano()}
		return answer(mesos.TASK_UNREACHABLE, "Task is unreachable")
	case m.cfg.Registry.isGone(id):
		return answer(mesos.TASK_GONE_BY_OPERATOR, "Task is gone")
	default:
		return answer(mesos.TASK_UNKNOWN, "Task is unknown")
	}
}
