package agent

import (
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	agentapi "github.com/mesos/mesos-go/api/v1/lib/agent"

	"lode/devmesos/internal/wire"
)

func (p *process) getTasks() *agentapi.Response_GetTasks {
	answer := new(agentapi.Response_GetTasks)
	for _, f := range append(append([]*framework{}, p.completed...), p.order...) {
		for _, e := range append(append([]*executor{}, f.completed...), f.executors...) {
			for _, t := range e.tasks {
				shown := p.taskMessage(e, t)
				switch t.phase {
				case phaseQueued:
					answer.QueuedTasks = append(answer.QueuedTasks, shown)
				case phaseLaunched:
					answer.LaunchedTasks = append(answer.LaunchedTasks, shown)
				case phaseTerminated:
					answer.TerminatedTasks = append(answer.TerminatedTasks, shown)
				case phaseCompleted:
					answer.CompletedTasks = append(answer.CompletedTasks, shown)
				}
			}
		}
	}
	return answer
}

// taskMessage is a task with its statuses, their data and messages included, as a real agent shows it.
func (p *process) taskMessage(e *executor, t *task) mesos.Task {
	return mesos.Task{
		Name:              t.info.Name,
		TaskID:            t.info.TaskID,
		FrameworkID:       *e.framework.info.ID,
		ExecutorID:        t.named(),
		AgentID:           *p.info.ID,
		State:             &t.state,
		Resources:         t.info.Resources,
		Statuses:          t.statuses,
		StatusUpdateState: t.forwarded,
		StatusUpdateUUID:  t.forwardedID,
		Labels:            t.info.Labels,
		Discovery:         t.info.Discovery,
		Container:         t.info.Container,
		HealthCheck:       t.info.HealthCheck,
		KillPolicy:        t.info.KillPolicy,
	}
}

func (p *process) getExecutors() *agentapi.Response_GetExecutors {
	answer := new(agentapi.Response_GetExecutors)
	for _, f := range append(append([]*framework{}, p.completed...), p.order...) {
		for _, e := range f.executors {
			answer.Executors = append(answer.Executors, agentapi.Response_GetExecutors_Executor{ExecutorInfo: e.info})
		}
		for _, e := range f.completed {
			answer.CompletedExecutors = append(answer.CompletedExecutors, agentapi.Response_GetExecutors_Executor{ExecutorInfo: e.info})
		}
	}
	return answer
}

func (p *process) getFrameworks() *agentapi.Response_GetFrameworks {
	answer := new(agentapi.Response_GetFrameworks)
	for _, f := range p.order {
		answer.Frameworks = append(answer.Frameworks, agentapi.Response_GetFrameworks_Framework{FrameworkInfo: f.info})
	}
	for _, f := range p.completed {
		answer.CompletedFrameworks = append(answer.CompletedFrameworks, agentapi.Response_GetFrameworks_Framework{FrameworkInfo: f.info})
	}
	return answer
}

func (p *process) getContainers() *agentapi.Response_GetContainers {
	answer := new(agentapi.Response_GetContainers)
	p.eachContainer(func(e *executor) {
		s := p.statistics(e)
		answer.Containers = append(answer.Containers, agentapi.Response_GetContainers_Container{
			FrameworkID:     e.framework.info.ID,
			ExecutorID:      &e.info.ExecutorID,
			ExecutorName:    ptr(e.info.GetName()),
			ContainerID:     mesos.ContainerID{Value: e.container},
			ContainerStatus: containerStatus(e),
			ResourceStatistics: &mesos.ResourceStatistics{
				Timestamp:          s.Timestamp,
				CPUsUserTimeSecs:   &s.UserTime,
				CPUsSystemTimeSecs: &s.SystemTime,
				CPUsSoftLimit:      &s.SoftLimit,
				MemLimitBytes:      &s.MemLimit,
				MemSoftLimitBytes:  &s.MemSoftLimit,
				MemRSSBytes:        &s.MemRSS,
			},
		})
	})
	return answer
}

// The lists that a real agent shows in JSON even if they are empty, which protobuf's JSON would leave out.
type (
	tasksView struct {
		Pending    []mesos.Task `json:"pending_tasks"`
		Queued     []mesos.Task `json:"queued_tasks"`
		Launched   []mesos.Task `json:"launched_tasks"`
		Terminated []mesos.Task `json:"terminated_tasks"`
		Completed  []mesos.Task `json:"completed_tasks"`
	}
	executorsView struct {
		Executors []agentapi.Response_GetExecutors_Executor `json:"executors"`
		Completed []agentapi.Response_GetExecutors_Executor `json:"completed_executors"`
	}
	frameworksView struct {
		Frameworks []agentapi.Response_GetFrameworks_Framework `json:"frameworks"`
		Completed  []agentapi.Response_GetFrameworks_Framework `json:"completed_frameworks"`
	}
	stateParts struct {
		Tasks      tasksView      `json:"get_tasks"`
		Executors  executorsView  `json:"get_executors"`
		Frameworks frameworksView `json:"get_frameworks"`
	}
)

func viewTasks(r *agentapi.Response_GetTasks) tasksView {
	return tasksView{r.PendingTasks, r.QueuedTasks, r.LaunchedTasks, r.TerminatedTasks, r.CompletedTasks}
}

// explicit is the JSON form of an answer.
func explicit(r *agentapi.Response) any {
	kind := map[string]any{"type": r.Type.String()}
	switch {
	case r.GetState != nil:
		s := r.GetState
		return wire.Merged{kind, map[string]any{"get_state": stateParts{
			viewTasks(s.GetTasks),
			executorsView{s.GetExecutors.Executors, s.GetExecutors.CompletedExecutors},
			frameworksView{s.GetFrameworks.Frameworks, s.GetFrameworks.CompletedFrameworks},
		}}}
	case r.GetTasks != nil:
		return wire.Merged{kind, map[string]any{"get_tasks": viewTasks(r.GetTasks)}}
	case r.GetExecutors != nil:
		return wire.Merged{kind, map[string]any{"get_executors": executorsView{r.GetExecutors.Executors, r.GetExecutors.CompletedExecutors}}}
	case r.GetFrameworks != nil:
		return wire.Merged{kind, map[string]any{"get_frameworks": frameworksView{r.GetFrameworks.Frameworks, r.GetFrameworks.CompletedFrameworks}}}
	default:
		return r
	}
}
