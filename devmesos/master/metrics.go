package master

import (
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
)

// metrics counts what happened, under the names of a real master.
type metrics struct{ counts map[string]int64 }

func (m *metrics) count(name string) {
	if m.counts == nil {
		m.counts = make(map[string]int64)
	}
	m.counts[name]++
}

// countTask counts a task that came to its end.
func (m *metrics) countTask(state mesos.TaskState) { m.count(taskMetric(state)) }

func taskMetric(state mesos.TaskState) string {
	return "master/tasks_" + strings.ToLower(strings.TrimPrefix(state.String(), "TASK_"))
}

// snapshot is /metrics/snapshot: the counters, and what can be read off the state.
func (m *Master) snapshot() map[string]float64 {
	v := map[string]float64{
		"master/elected":            1,
		"master/uptime_secs":        m.now().Sub(m.started).Seconds(),
		"master/outstanding_offers": float64(len(m.offers)),
		"master/slaves_unreachable": float64(m.cfg.Registry.unreachableCount()),
	}
	for _, name := range []string{
		"master/slaves_active", "master/slaves_inactive", "master/slaves_connected", "master/slaves_disconnected",
		"master/frameworks_active", "master/frameworks_inactive", "master/frameworks_connected", "master/frameworks_disconnected",
		"master/slave_registrations", "master/slave_reregistrations", "master/slave_removals", "master/slave_unreachable_completed",
		"master/valid_status_updates",
	} {
		v[name] = 0
	}
	for _, state := range []mesos.TaskState{
		mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING, mesos.TASK_FINISHED,
		mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_LOST, mesos.TASK_ERROR, mesos.TASK_DROPPED,
		mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR, mesos.TASK_UNREACHABLE,
	} {
		v[taskMetric(state)] = 0
	}
	for name, n := range m.metrics.counts {
		v[name] = float64(n)
	}
	which := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	var total, used resources.Set
	for _, a := range m.agents {
		v["master/slaves_"+which(a.schedulable(), "active", "inactive")]++
		v["master/slaves_"+which(a.connected, "connected", "disconnected")]++
		total, used = total.Plus(a.total).Plus(a.oversubscribed), used.Plus(a.usedByTasks().Unallocated())
	}
	for _, fw := range m.frameworks {
		v["master/frameworks_"+which(fw.connected(), "active", "inactive")]++
		v["master/frameworks_"+which(fw.connected(), "connected", "disconnected")]++
		for _, t := range fw.tasks {
			if !isTerminal(t.state) {
				v[taskMetric(t.state)]++
			}
		}
		v[taskMetric(mesos.TASK_UNREACHABLE)] += float64(len(fw.unreachable))
	}
	lasting := func(r mesos.Resource) bool { return r.Revocable == nil }
	for suffix, keep := range map[string]func(mesos.Resource) bool{"": lasting, "_revocable": isRevocable} {
		for _, name := range []string{"cpus", "gpus", "mem", "disk"} {
			all, some := total.Filter(keep).Scalar(name).Float(), used.Filter(keep).Scalar(name).Float()
			v["master/"+name+suffix+"_total"], v["master/"+name+suffix+"_used"] = all, some
			v["master/"+name+suffix+"_percent"] = some / max(all, some, 1e-9)
		}
	}
	return v
}
