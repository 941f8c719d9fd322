package agent

import (
	"net/http"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	agentapi "github.com/mesos/mesos-go/api/v1/lib/agent"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"

	"lode/devmesos/internal/wire"
)

// In trace 13 a task runs from the beginning, and what it is made of is only seen in the answers of the
// operator API. From those it is made again here.

// shown is what the agent's own API showed in the recording.
func (p *player) shown() (state *agentapi.Response_GetState, info *mesos.AgentInfo) {
	for _, e := range p.entries {
		var r agentapi.Response
		if e.Dir != "response" || len(e.Body) == 0 || e.Body[0] != '{' || wire.JSON.Unmarshal(e.Body, &r) != nil {
			continue
		}
		if s := r.GetState; s != nil && s.GetTasks != nil && len(s.GetTasks.LaunchedTasks) > 0 {
			state = s
		}
		if r.GetAgent != nil && r.GetAgent.AgentInfo != nil {
			info = r.GetAgent.AgentInfo
		}
	}
	return state, info
}

func (p *player) shownSubscribed() *executorapi.Event_Subscribed {
	state, info := p.shown()
	if state == nil || info == nil {
		p.Fatal("the trace has no executor")
	}
	return &executorapi.Event_Subscribed{
		ExecutorInfo:  state.GetExecutors.Executors[0].ExecutorInfo,
		FrameworkInfo: state.GetFrameworks.Frameworks[0].FrameworkInfo,
		AgentInfo:     *info,
		ContainerID:   state.GetTasks.LaunchedTasks[0].Statuses[0].ContainerStatus.ContainerID,
	}
}

// prelude launches what was running when the recording began.
func (p *player) prelude() {
	if p.entries[0].Dir != "note" {
		return
	}
	state, _ := p.shown()
	if state == nil {
		return
	}
	task := state.GetTasks.LaunchedTasks[0]
	command := state.GetExecutors.Executors[0].ExecutorInfo
	command.Command.URIs[0].Value = p.replace.Replace(command.Command.URIs[0].Value)
	info := mesos.TaskInfo{
		Name: task.Name, TaskID: task.TaskID, AgentID: task.AgentID, Resources: task.Resources,
		Labels: task.Labels, Discovery: task.Discovery, Data: []byte("V-TASKDATA"), Executor: &command,
	}
	p.run(info)
	x := p.client(command.ExecutorID.Value)
	waitFor(p.T, "the executor's process", func() bool {
		ids := p.agent.host.Containers()
		return len(ids) == 1 && p.agent.host.Container(ids[0]).Pid() != 0
	})
	answer, err := x.post(x.subscribeCall())
	if err != nil || answer.StatusCode != http.StatusOK {
		p.Fatal("subscribe: ", err)
	}
	p.Cleanup(func() { answer.Body.Close() })
	status := task.Statuses[0]
	status.ContainerStatus, status.AgentID = nil, nil
	p.update(x, status)
}

// epilogue ends the task and the executor.
func (p *player) epilogue() bool {
	state, _ := p.shown()
	task := state.GetTasks.LaunchedTasks[0]
	x := p.client(task.ExecutorID.Value)
	p.update(x, mesos.TaskStatus{
		TaskID: task.TaskID, State: mesos.TASK_FINISHED.Enum(), Source: mesos.SOURCE_EXECUTOR.Enum(), UUID: []byte("0123456789abcdef"),
	})
	if !p.executorNote(entry{Executor: task.ExecutorID.Value, Note: "executor exits with 0"}) {
		return false
	}
	_, ok := p.master.next(p.T, "ExitedExecutor "+task.ExecutorID.Value)
	waitFor(p.T, "the end of the framework", func() (over bool) {
		p.agent.ask(func(run *process) { over = len(run.order) == 0 })
		return over
	})
	return ok
}

func (p *player) client(executor string) *execClient {
	return &execClient{agent: p.agent.Endpoint(), framework: p.framework.ID.Value, executor: executor}
}

// update sends an update and acknowledges it.
func (p *player) update(x *execClient, status mesos.TaskStatus) {
	call := x.call(executorapi.Call_UPDATE)
	call.Update = &executorapi.Call_Update{Status: status}
	if code := x.status(call); code != http.StatusAccepted {
		p.Fatalf("update: %d", code)
	}
	c, ok := p.master.next(p.T, "StatusUpdate "+status.TaskID.Value)
	if !ok {
		p.Fatal("no update")
	}
	p.agent.AcknowledgeUpdate(*p.framework.ID, status.TaskID, c.update.Status.UUID)
}
