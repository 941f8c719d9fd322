package agent

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// containerView is a container in /containers, and without status in /monitor/statistics.
type containerView struct {
	ContainerID  *string                `json:"container_id,omitempty"`
	ExecutorID   string                 `json:"executor_id"`
	ExecutorName string                 `json:"executor_name"`
	FrameworkID  string                 `json:"framework_id"`
	Source       string                 `json:"source"`
	Statistics   statisticsView         `json:"statistics"`
	Status       *mesos.ContainerStatus `json:"status,omitempty"`
}

// statisticsView is what a container uses; limits are those that its resources would give.
type statisticsView struct {
	SoftLimit    float64 `json:"cpus_soft_limit"`
	SystemTime   float64 `json:"cpus_system_time_secs"`
	UserTime     float64 `json:"cpus_user_time_secs"`
	MemLimit     uint64  `json:"mem_limit_bytes"`
	MemRSS       uint64  `json:"mem_rss_bytes"`
	MemSoftLimit uint64  `json:"mem_soft_limit_bytes"`
	Timestamp    float64 `json:"timestamp"`
}

// eachContainer visits all executors that have a running container.
func (p *process) eachContainer(visit func(e *executor)) {
	for _, f := range p.order {
		for _, e := range f.executors {
			if e.pid != 0 && e.state != executorTerminated {
				visit(e)
			}
		}
	}
}

func (p *process) containerViews(withStatus bool) []containerView {
	views := []containerView{}
	p.eachContainer(func(e *executor) {
		view := containerView{
			ExecutorID:   e.id(),
			ExecutorName: e.info.GetName(),
			FrameworkID:  e.framework.id(),
			Source:       e.info.GetSource(),
			Statistics:   p.statistics(e),
		}
		if withStatus {
			view.ContainerID = &e.container
			view.Status = containerStatus(e)
		}
		views = append(views, view)
	})
	return views
}

func containerStatus(e *executor) *mesos.ContainerStatus {
	return &mesos.ContainerStatus{
		ContainerID: &mesos.ContainerID{Value: e.container},
		ExecutorPID: ptr(uint32(e.pid)), //nolint:gosec // process ids are positive
	}
}

func (p *process) statistics(e *executor) statisticsView {
	set := resources.From(allocated(e))
	limit := uint64(set.Quantity("mem").Float() * (1 << 20))
	view := statisticsView{
		SoftLimit:    set.Quantity("cpus").Float(),
		MemLimit:     limit,
		MemSoftLimit: limit,
		Timestamp:    float64(time.Now().UnixNano()) / 1e9,
	}
	if c := p.agent.host.Container(e.container); c != nil {
		usage := c.Usage()
		view.UserTime, view.SystemTime = usage.User.Seconds(), usage.System.Seconds()
		view.MemRSS = usage.RSS
	}
	return view
}
