package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/updates"
	"lode/devmesos/internal/link"
)

// ownUpdate makes a status update of the agent's own.
func (p *process) ownUpdate(f *framework, id mesos.TaskID, executor *mesos.ExecutorID, s mesos.TaskState,
	reason mesos.TaskStatus_Reason, message string, limited []mesos.Resource,
) {
	random := uuid.New()
	status := mesos.TaskStatus{
		TaskID:     id,
		State:      &s,
		Message:    &message,
		Source:     mesos.SOURCE_AGENT.Enum(),
		Reason:     &reason,
		ExecutorID: executor,
		Timestamp:  now(),
		UUID:       random[:],
	}
	if len(limited) > 0 {
		status.Limitation = &mesos.TaskResourceLimitation{Resources: limited}
	}
	p.statusUpdate(f, status)
}

// statusUpdate takes in an update of an executor or of the agent itself (Slave::statusUpdate).
func (p *process) statusUpdate(f *framework, status mesos.TaskStatus) {
	if f.terminating {
		return // it cannot acknowledge any more
	}
	status.AgentID = p.info.ID
	if status.Timestamp == nil {
		status.Timestamp = now()
	}
	p.tagDraining(f, &status)
	fromExecutor := status.GetSource() == mesos.SOURCE_EXECUTOR
	e, t := f.executorOf(status.TaskID.Value)
	if e == nil {
		// Such an update is not acknowledged to the executor, but it does reach the scheduler (recorded, trace 03c).
		p.manage(f, status, nil, nil)
		return
	}
	if fromExecutor && t.phase != phaseQueued {
		p.fillContainerStatus(e, &status)
	}
	if t.transition(status) {
		p.counters.count(status)
		p.manage(f, status, e, t)
	}
	if fromExecutor {
		e.sendAcknowledged(status.TaskID, status.UUID)
	}
}

// manage gives an update to the update manager, which sends and resends it.
func (p *process) manage(f *framework, status mesos.TaskStatus, e *executor, t *task) {
	u := updates.Update{Framework: f.id(), Status: status}
	if status.ExecutorID != nil {
		u.Executor = status.ExecutorID.Value
	} else if e != nil {
		u.Executor = e.id()
	}
	var journal updates.Journal
	if e != nil && e.checkpoint {
		journal = p.journal(e, t)
	}
	if err := p.updates.Update(u, journal); err != nil {
		p.log.Error("status update is lost", "task", status.TaskID.Value, "error", err)
	}
}

// tagDraining marks what draining killed.
func (p *process) tagDraining(f *framework, status *mesos.TaskStatus) {
	s := status.GetState()
	if p.draining == nil || s != mesos.TASK_KILLING && s != mesos.TASK_KILLED {
		return
	}
	status.Reason = mesos.REASON_AGENT_DRAINING.Enum()
	if p.draining.MarkGone && f.has(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
		status.State = mesos.TASK_GONE_BY_OPERATOR.Enum()
	}
}

// fillContainerStatus adds what the agent knows of the container.
func (p *process) fillContainerStatus(e *executor, status *mesos.TaskStatus) {
	if e.state == executorTerminated {
		return
	}
	var c mesos.ContainerStatus
	if status.ContainerStatus != nil {
		c = *status.ContainerStatus
	}
	c.ContainerID = &mesos.ContainerID{Value: e.container}
	if e.pid != 0 {
		c.ExecutorPID = ptr(uint32(e.pid)) //nolint:gosec // process ids are positive
	}
	if len(c.NetworkInfos) == 0 {
		c.NetworkInfos = []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{{
			Protocol:  mesos.IPv4.Enum(),
			IPAddress: ptr(p.agent.ip()),
		}}}}
	}
	status.ContainerStatus = &c
}

// forward sends the head of an update stream to the master, with the latest state that the agent knows.
func (p *process) forward(u updates.Update) {
	if p.state != running {
		return
	}
	out := link.Update{
		FrameworkID: mesos.FrameworkID{Value: u.Framework},
		ExecutorID:  mesos.ExecutorID{Value: u.Executor},
		Status:      u.Status,
		LatestState: u.Status.GetState(),
	}
	if f := p.frameworks[u.Framework]; f != nil {
		if _, t := f.executorOf(u.Status.TaskID.Value); t != nil {
			t.forwarded, t.forwardedID = u.Status.State, u.Status.UUID
			out.LatestState = t.state
		}
	}
	p.say(func(m link.Master, id mesos.AgentID) { m.StatusUpdate(id, out) })
}

// acknowledge is the scheduler's acknowledgement of an update.
func (p *process) acknowledge(framework, taskID string, id []byte) {
	if p.state != running {
		return
	}
	ended, err := p.updates.Acknowledge(framework, taskID, id)
	if err != nil {
		if !errors.Is(err, updates.ErrNoStream) && !errors.Is(err, updates.ErrUnexpected) {
			p.log.Error("acknowledgement failed", "task", taskID, "error", err)
		}
		return
	}
	f := p.frameworks[framework]
	if f == nil {
		return
	}
	e, t := f.executorOf(taskID)
	if e == nil {
		return
	}
	if ended && t.phase == phaseTerminated {
		e.complete(t)
	}
	if e.state == executorTerminated && !e.incomplete() {
		p.removeExecutor(e)
	}
	p.removeIfIdle(f)
}

func (p *process) updateFramework(info mesos.FrameworkInfo) {
	if p.state != running {
		return
	}
	f := p.frameworks[info.ID.GetValue()]
	if f == nil || f.terminating {
		return
	}
	f.info = info
	if info.GetCheckpoint() {
		p.checkpointFramework(f)
	}
}

// executorMessage hands a message of an executor to the master; there is no other way and no second try.
func (p *process) executorMessage(e *executor, data []byte) {
	if p.state != running || e.framework.terminating || p.agent.faults.dropMessage(toScheduler) {
		p.counters.messagesInvalid++
		return
	}
	p.counters.messagesValid++
	p.say(func(m link.Master, id mesos.AgentID) {
		m.ExecutorMessage(id, *e.framework.info.ID, e.info.ExecutorID, slices.Clone(data))
	})
}

// schedulerMessage hands a message to an executor, if it runs.
func (p *process) schedulerMessage(framework, executorID string, data []byte) {
	f := p.frameworks[framework]
	if p.state != running || f == nil || f.terminating {
		p.counters.messagesInvalid++
		return
	}
	e := f.executor(executorID)
	if e == nil || e.state != executorRunning || p.agent.faults.dropMessage(toExecutor) {
		p.counters.messagesInvalid++
		return
	}
	p.counters.messagesValid++
	e.sendMessage(data)
}

// now is a time in seconds, as statuses have it.
func now() *float64 {
	return ptr(float64(time.Now().UnixNano()) / 1e9)
}
