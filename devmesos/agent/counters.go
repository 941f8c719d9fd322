package agent

import mesos "github.com/mesos/mesos-go/api/v1/lib"

// counters are what /metrics/snapshot counts.
type counters struct {
	launchErrors        int
	executorsTerminated int
	messagesValid       int
	messagesInvalid     int
	tasks               map[mesos.TaskState]int
}

func (c *counters) count(status mesos.TaskStatus) {
	if c.tasks == nil {
		c.tasks = make(map[mesos.TaskState]int)
	}
	c.tasks[status.GetState()]++
}
