package agent

import (
	"bytes"
	"encoding/base64"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	schedulerapi "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/wire"
)

// schedulerCall does what the master would do because of a call.
func (p *player) schedulerCall(e entry) bool {
	if e.Path != "/api/v1/scheduler" {
		return true
	}
	var call schedulerapi.Call
	if err := wire.JSON.Unmarshal([]byte(p.replace.Replace(string(e.Body))), &call); err != nil {
		p.Errorf("scheduler call: %v", err)
		return false
	}
	fw := *p.framework.ID
	switch call.Type {
	case schedulerapi.Call_SUBSCRIBE:
		if p.master.connect(true) {
			p.agent.FrameworkReregistered(fw)
		}
	case schedulerapi.Call_ACCEPT:
		for _, op := range call.Accept.Operations {
			for _, task := range op.Launch.GetTaskInfos() {
				p.run(task)
			}
		}
	case schedulerapi.Call_ACKNOWLEDGE:
		recorded := base64.StdEncoding.EncodeToString(call.Acknowledge.UUID)
		id, known := p.uuids[recorded]
		if !known {
			id = call.Acknowledge.UUID
		}
		p.agent.AcknowledgeUpdate(fw, call.Acknowledge.TaskID, id)
	case schedulerapi.Call_KILL:
		if _, known := p.tasks[call.Kill.TaskID.Value]; known && (call.Kill.AgentID == nil || *call.Kill.AgentID == p.master.id) {
			p.agent.KillTask(fw, call.Kill.TaskID, call.Kill.KillPolicy)
		}
	case schedulerapi.Call_SHUTDOWN:
		if call.Shutdown.AgentID == p.master.id {
			p.agent.ShutdownExecutor(fw, call.Shutdown.ExecutorID)
		}
	case schedulerapi.Call_MESSAGE:
		if call.Message.AgentID == p.master.id {
			p.agent.FrameworkMessage(fw, call.Message.ExecutorID, call.Message.Data)
		}
	case schedulerapi.Call_TEARDOWN:
		p.agent.ShutdownFramework(fw)
	}
	return true
}

// run launches a task with what the master adds.
func (p *player) run(task mesos.TaskInfo) {
	x := p.executors[task.Executor.ExecutorID.Value]
	launch := x == nil || !x.launched
	if launch {
		x = &played{launched: true}
		p.executors[task.Executor.ExecutorID.Value] = x
	}
	allocate(task.Resources)
	allocate(task.Executor.Resources)
	if task.AgentID != p.master.id {
		p.Fatalf("task for agent %s", task.AgentID.Value)
	}
	p.tasks[task.TaskID.Value] = task.Executor.ExecutorID.Value
	p.agent.RunTask(link.RunTask{Framework: p.framework, Task: task, LaunchExecutor: launch})
}

func allocate(resources []mesos.Resource) {
	for i := range resources {
		if resources[i].AllocationInfo != nil {
			continue
		}
		resources[i].AllocationInfo = &mesos.Resource_AllocationInfo{Role: ptr("*")}
	}
}

// schedulerEvent expects what the agent told the master.
func (p *player) schedulerEvent(e entry) bool {
	var event schedulerapi.Event
	if wire.JSON.Unmarshal(e.Body, &event) != nil {
		return true // (EOF)
	}
	switch event.Type {
	case schedulerapi.Event_UPDATE:
		want := event.Update.Status
		if want.GetSource() == mesos.SOURCE_MASTER {
			return true
		}
		return p.expectUpdate(want)
	case schedulerapi.Event_FAILURE:
		if event.Failure.ExecutorID == nil {
			return true
		}
		x := p.executors[event.Failure.ExecutorID.Value]
		if sig, ok := map[string]syscall.Signal{"kill -9": syscall.SIGKILL, "kill -TERM": syscall.SIGTERM}[p.lastNote]; ok {
			if !p.agent.SignalExecutor(*p.framework.ID, *event.Failure.ExecutorID, sig) {
				p.Error("no executor to signal")
			}
		}
		c, ok := p.master.next(p.T, "ExitedExecutor "+event.Failure.ExecutorID.Value)
		if !ok {
			return false
		}
		want := event.Failure.GetStatus()
		// A failing fetch and the agent's kill of the waiting launcher were a race in the recording.
		if c.status != want && (want != 9 || p.lastNote != "fetch 500" || c.status != 256) {
			p.Errorf("status is %d, want %d", c.status, want)
		}
		if want != neverRan || x.stream == nil {
			x.launched = false
		}
	case schedulerapi.Event_MESSAGE:
		c, ok := p.master.next(p.T, "ExecutorMessage "+event.Message.ExecutorID.Value)
		if !ok {
			return false
		}
		if want := event.Message.Data; c.data != string(want) {
			p.Errorf("message is %.80q, want %.80q", c.data, want)
		}
	}
	return true
}

func (p *player) expectUpdate(want mesos.TaskStatus) bool {
	channel := "StatusUpdate " + want.TaskID.Value
	c, ok := p.master.next(p.T, channel)
	for ok && c.update.Status.GetState() != want.GetState() && p.seen(c.update.Status.UUID) {
		c, ok = p.master.next(p.T, channel) // time runs faster here, there may be more retries
	}
	if !ok {
		return false
	}
	got := c.update.Status
	p.uuids[base64.StdEncoding.EncodeToString(want.UUID)] = got.UUID
	if want.GetSource() == mesos.SOURCE_AGENT {
		if len(got.UUID) != 16 || got.Timestamp == nil {
			p.Errorf("update without uuid or time: %v", got)
		}
		want.UUID, want.Timestamp = got.UUID, got.Timestamp
	}
	if bytes.Equal(want.UUID, untimed) {
		want.Timestamp = got.Timestamp
	}
	if c := want.ContainerStatus; c != nil {
		if got.ContainerStatus.GetExecutorPID() == 0 {
			p.Errorf("no executor_pid in %v", got)
		}
		c.ExecutorPID = got.ContainerStatus.ExecutorPID
	}
	if isEnd(want.GetState()) {
		delete(p.tasks, want.TaskID.Value)
	}
	p.same("update", wire.AppendJSON(nil, &got), wire.AppendJSON(nil, &want))
	return true
}

// untimed is the uuid of the one update in 03c that its executor sent without a time; the agent adds one.
var untimed, _ = base64.StdEncoding.DecodeString("rlEHJZbQQBOXQLci9RtGIg==")

func isEnd(s mesos.TaskState) bool {
	return s == mesos.TASK_FINISHED || s == mesos.TASK_FAILED || s == mesos.TASK_KILLED || s == mesos.TASK_DROPPED ||
		s == mesos.TASK_LOST || s == mesos.TASK_GONE
}

func (p *player) seen(id []byte) bool {
	for _, known := range p.uuids {
		if bytes.Equal(known, id) {
			return true
		}
	}
	return false
}
