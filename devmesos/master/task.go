package master

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// task is a task that the master knows. TaskInfo.data and TaskStatus.data are not
// kept: no endpoint may show them.
type task struct {
	info     mesos.TaskInfo // without data
	fw       *framework
	agent    string
	executor string
	role     string
	// resources are what the task holds of its agent; held is false once they are back.
	resources resources.Set
	held      bool

	state mesos.TaskState // the newest that the agent knows
	// reported is the state of the last status that was forwarded, and its uuid: an
	// acknowledgement with it forgets the task if the state is terminal.
	reported     mesos.TaskState
	reportedUUID []byte
	statuses     []mesos.TaskStatus // one for each run of equal states, without data
}

// isTerminal is false for UNREACHABLE and UNKNOWN, from which tasks come back.
func isTerminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_ERROR, mesos.TASK_LOST,
		mesos.TASK_DROPPED, mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR:
		return true
	default:
		return false
	}
}

// newTask takes a task into account on its agent.
func (m *Master) newTask(fw *framework, a *agent, info mesos.TaskInfo, state mesos.TaskState) *task {
	info.Data = nil
	t := &task{
		info:      info,
		fw:        fw,
		agent:     a.id,
		executor:  info.GetExecutor().GetExecutorID().Value,
		resources: resources.From(info.Resources),
		state:     state,
	}
	t.role = allocationRole(info.Resources)
	if t.executor == "" {
		t.executor = info.TaskID.Value // the command executor has the task's id
	}
	fw.tasks[info.TaskID.Value] = t
	a.addTask(t)
	delete(fw.unreachable, info.TaskID.Value)
	if !isTerminal(state) {
		t.held = true
		m.hold(a, fw, t.role, t.resources)
	}
	m.notifyTaskAdded(t)
	return t
}

func allocationRole(list []mesos.Resource) string {
	for i := range list {
		if info := list[i].AllocationInfo; info != nil {
			return info.GetRole()
		}
	}
	return "*"
}

// status makes a status of the master's own. It has no uuid: nobody acknowledges it.
func (m *Master) status(fw *framework, t *task, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) mesos.TaskStatus {
	return mesos.TaskStatus{
		TaskID:     t.info.TaskID,
		State:      &state,
		Message:    &message,
		Source:     mesos.SOURCE_MASTER.Enum(),
		Reason:     &reason,
		AgentID:    &mesos.AgentID{Value: t.agent},
		ExecutorID: &mesos.ExecutorID{Value: t.executor},
		Timestamp:  timestamp(m.now()),
	}
}

// refuse answers for a task that was never launched.
func (m *Master) refuse(fw *framework, info *mesos.TaskInfo, state mesos.TaskState, reason mesos.TaskStatus_Reason, message string) {
	m.metrics.count("master/tasks_error")
	m.sendUpdate(fw, mesos.TaskStatus{
		TaskID:    info.TaskID,
		State:     &state,
		Message:   &message,
		Source:    mesos.SOURCE_MASTER.Enum(),
		Reason:    &reason,
		AgentID:   &info.AgentID,
		Timestamp: timestamp(m.now()),
	})
}

// updateTask brings a task up to date. latest is the newest state that the agent
// knows, which may be ahead of the status: it gives the resources back if terminal.
func (m *Master) updateTask(t *task, status mesos.TaskStatus, latest mesos.TaskState) {
	if !isTerminal(t.state) {
		t.state = latest
		if isTerminal(latest) {
			m.metrics.countTask(latest)
			m.release(t)
		}
	}
	t.reported, t.reportedUUID = status.GetState(), status.UUID
	status.Data = nil
	if n := len(t.statuses); n > 0 && t.statuses[n-1].GetState() == status.GetState() {
		t.statuses = t.statuses[:n-1]
	}
	t.statuses = append(t.statuses, status)
	m.notifyTaskUpdated(t, status)
}

// release gives a task's resources back, once.
func (m *Master) release(t *task) {
	if a := m.agents[t.agent]; a != nil && t.held {
		m.free(a, t.fw, t.role, t.resources)
	}
	t.held = false
}

// removeTask forgets a task that is over; it stays among the completed ones.
func (m *Master) removeTask(t *task) {
	m.detachTask(t)
	fw := t.fw
	fw.completed = append(fw.completed, t)
	if n := len(fw.completed) - m.cfg.MaxCompletedTasks; n > 0 {
		fw.completed = slices.Delete(fw.completed, 0, n)
	}
}

// maxUnreachableTasks bounds what is remembered per framework
// (--max_unreachable_tasks_per_framework).
const maxUnreachableTasks = 1000

// removeUnreachable keeps a task in mind whose agent may come back.
func (m *Master) removeUnreachable(t *task) {
	m.detachTask(t)
	if len(t.fw.unreachable) < maxUnreachableTasks {
		t.fw.unreachable[t.info.TaskID.Value] = t
	}
}

func (m *Master) detachTask(t *task) {
	m.release(t)
	delete(t.fw.tasks, t.info.TaskID.Value)
	if a := m.agents[t.agent]; a != nil {
		a.removeTask(t)
	}
}
