package agent

import (
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// counters are what /metrics/snapshot counts up.
type counters struct {
	launchErrors        int
	executorsTerminated int
	executorsPreempted  int
	messagesValid       int
	messagesInvalid     int
	updates             int
	tasks               map[mesos.TaskState]int
}

func (c *counters) count(status mesos.TaskStatus) {
	if c.tasks == nil {
		c.tasks = make(map[mesos.TaskState]int)
	}
	c.updates++
	c.tasks[status.GetState()]++
}

// metrics are named as those of a real agent.
func (p *process) metrics() map[string]float64 {
	m := map[string]float64{
		"slave/container_launch_errors":    float64(p.counters.launchErrors),
		"slave/executors_terminated":       float64(p.counters.executorsTerminated),
		"slave/executors_preempted":        float64(p.counters.executorsPreempted),
		"slave/executors_registering":      0,
		"slave/executors_running":          0,
		"slave/executors_terminating":      0,
		"slave/frameworks_active":          float64(len(p.order)),
		"slave/valid_framework_messages":   float64(p.counters.messagesValid),
		"slave/invalid_framework_messages": float64(p.counters.messagesInvalid),
		"slave/valid_status_updates":       float64(p.counters.updates),
		"slave/invalid_status_updates":     0,
		"slave/recovery_errors":            0,
		"slave/registered":                 0,
		"slave/uptime_secs":                time.Since(p.started).Seconds(),
		"slave/tasks_running":              0,
		"slave/tasks_staging":              0,
		"slave/tasks_starting":             0,
		"slave/tasks_killing":              0,
	}
	if p.state == running {
		m["slave/registered"] = 1
	}
	for _, s := range []mesos.TaskState{mesos.TASK_FAILED, mesos.TASK_FINISHED, mesos.TASK_GONE, mesos.TASK_KILLED, mesos.TASK_LOST} {
		m[taskMetric(s)] = float64(p.counters.tasks[s])
	}
	for _, f := range p.order {
		for _, e := range f.executors {
			if name := "slave/executors_" + strings.ToLower(string(e.state)); e.state != executorTerminated {
				m[name]++
			}
			for _, t := range e.tasks {
				if t.phase == phaseQueued || t.phase == phaseLaunched {
					m[taskMetric(t.state)]++
				}
			}
		}
	}
	total, used := resources.From(p.config.Resources), resources.From(p.used())
	for _, name := range []string{"cpus", "mem", "disk", "gpus"} {
		all, part := total.Quantity(name).Float(), used.Quantity(name).Float()
		m["slave/"+name+"_total"], m["slave/"+name+"_used"], m["slave/"+name+"_percent"] = all, part, 0
		if all > 0 {
			m["slave/"+name+"_percent"] = part / all
		}
	}
	return m
}

func taskMetric(s mesos.TaskState) string {
	return "slave/tasks_" + strings.ToLower(strings.TrimPrefix(s.String(), "TASK_"))
}
