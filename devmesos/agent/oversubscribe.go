package agent

import (
	"fmt"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// SetOversubscribed sets the revocable resources that the agent has to offer beside its own; they get the mark
// revocable here. The master hears of it at once.
func (a *Agent) SetOversubscribed(total []mesos.Resource) {
	total = slices.Clone(total)
	for i := range total {
		total[i].Revocable = new(mesos.Resource_RevocableInfo)
	}
	a.oversubscribed.Store(&total)
	a.tell((*process).reportOversubscribed)
}

// reportOversubscribed tells the master of the revocable resources, if there ever were any.
func (p *process) reportOversubscribed() {
	total := p.agent.oversubscribed.Load()
	if p.state != running || total == nil {
		return
	}
	p.say(func(m link.Master, id mesos.AgentID) { m.UpdateOversubscribed(id, slices.Clone(*total)) })
}

// memoryLimit is why an executor that took too much memory ends.
func memoryLimit(e *executor) termination {
	var mem float64 // MB
	for _, r := range allocated(e) {
		if r.Name == "mem" {
			mem += r.GetScalar().GetValue()
		}
	}
	return termination{
		taskState: mesos.TASK_FAILED.Enum(),
		reason:    mesos.REASON_CONTAINER_LIMITATION_MEMORY.Enum(),
		message:   fmt.Sprintf("Memory limit exceeded: Requested: %dMB Maximum Used: %dMB\n\nMEMORY STATISTICS: \n", int64(mem), int64(mem)),
		limited: []mesos.Resource{{
			Name:   "mem",
			Type:   mesos.SCALAR.Enum(),
			Scalar: &mesos.Value_Scalar{Value: mem},
			Role:   ptr("*"),
		}},
	}
}
