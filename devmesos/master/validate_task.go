package master

import (
	"fmt"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/resources"
	"lode/devmesos/internal/wire"
)

// refuseTask is the reason for which Mesos refuses a task, empty if it is valid
// (src/master/validation.cpp, namespaces task and executor; texts as recorded). The
// resources are in the new format already and allocated to a role.
func (m *Master) refuseTask(fw *framework, a *agent, available resources.Set, info *mesos.TaskInfo) string {
	for _, check := range []func() string{
		func() string { return refuseID(info.TaskID.Value) },
		func() string { return refuseDuplicate(fw, info) },
		func() string { return refuseAgent(a, info) },
		func() string { return refusePolicies(info) },
		func() string { return refuseTaskResources(info) },
		func() string { return refuseExecutor(fw, a, info) },
		func() string { return refuseTotal(fw, a, available, info) },
	} {
		if reason := check(); reason != "" {
			return reason
		}
	}
	return ""
}

func refuseDuplicate(fw *framework, info *mesos.TaskInfo) string {
	id := info.TaskID.Value
	if fw.tasks[id] != nil || fw.unreachable[id] != nil {
		return "Task has duplicate ID: " + id
	}
	return ""
}

func refuseAgent(a *agent, info *mesos.TaskInfo) string {
	if info.AgentID.Value != a.id {
		return fmt.Sprintf("Task uses invalid agent %s while agent %s is expected", info.AgentID.Value, a.id)
	}
	return ""
}

func refusePolicies(info *mesos.TaskInfo) string {
	if grace := info.GetKillPolicy().GetGracePeriod(); grace != nil && grace.Nanoseconds < 0 {
		return "Task's 'kill_policy.grace_period' must be non-negative"
	}
	if limit := info.MaxCompletionTime; limit != nil && limit.Nanoseconds < 0 {
		return "Task's `max_completion_time` must be non-negative"
	}
	if (info.Executor != nil) == (info.Command != nil) {
		return "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
	}
	return ""
}

func refuseTaskResources(info *mesos.TaskInfo) string {
	if len(info.Resources) == 0 {
		return "Task uses no resources"
	}
	if mixed := mixesRevocable(info.Resources); mixed != "" {
		return "Task mixes revocable and non-revocable resources: " + mixed
	}
	return refuseLimits(info)
}

func refuseLimits(info *mesos.TaskInfo) string {
	requested := resources.From(info.Resources)
	for name, limit := range info.Limits {
		switch name {
		case "cpus":
			if resources.ToMilli(limit.Value) < requested.Scalar(name) {
				return "The cpu limit must be greater than or equal to the cpu request"
			}
		case "mem":
			if resources.ToMilli(limit.Value) < requested.Scalar(name) {
				return "The memory limit must be greater than or equal to the memory request"
			}
		default:
			return fmt.Sprintf("Invalid resource limit '%s': only 'cpus' and 'mem' are supported", name)
		}
	}
	return ""
}

// mixesRevocable says so if a name occurs both revocable and not.
func mixesRevocable(list []mesos.Resource) string {
	for i := range list {
		for j := range list[:i] {
			if list[i].Name == list[j].Name && (list[i].Revocable == nil) != (list[j].Revocable == nil) {
				return fmt.Sprintf("Cannot use both revocable and non-revocable '%s' at the same time", list[i].Name)
			}
		}
	}
	return ""
}

func refuseExecutor(fw *framework, a *agent, info *mesos.TaskInfo) string {
	e := info.Executor
	if e == nil {
		return ""
	}
	switch {
	case e.Type == mesos.ExecutorInfo_DEFAULT && e.Command != nil:
		return "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"
	case e.Type == mesos.ExecutorInfo_CUSTOM && e.Command == nil:
		return "'ExecutorInfo.command' must be set for 'CUSTOM' executor"
	}
	if reason := refuseID(e.ExecutorID.Value); reason != "" {
		return reason
	}
	if mixed := mixesRevocable(e.Resources); mixed != "" {
		return "Executor mixes revocable and non-revocable resources: " + mixed
	}
	if e.FrameworkID.Value != fw.id {
		return fmt.Sprintf("ExecutorInfo has an invalid FrameworkID (Actual: %s vs Expected: %s)", e.FrameworkID.Value, fw.id)
	}
	if grace := e.ShutdownGracePeriod; grace != nil && grace.Nanoseconds < 0 {
		return "ExecutorInfo's 'shutdown_grace_period' must be non-negative"
	}
	if running := a.executors[fw.id][e.ExecutorID.Value]; running != nil && !sameExecutor(&running.info, e) {
		return incompatible(&running.info, e)
	}
	return ""
}

// sameExecutor compares as Mesos does: every field, resources by amount.
func sameExecutor(running, wanted *mesos.ExecutorInfo) bool {
	if !resources.From(running.Resources).Equal(resources.From(wanted.Resources)) {
		return false
	}
	a, b := *running, *wanted
	a.Resources, b.Resources = nil, nil
	return a.Equal(&b)
}

func incompatible(running, wanted *mesos.ExecutorInfo) string {
	const line = "------------------------------------------------------------\n"
	return "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n" +
		line + "Existing ExecutorInfo:\n" + wire.Text(running) + "\n" +
		line + "ExecutorInfo:\n" + wire.Text(wanted) + "\n" + line
}

// refuseTotal checks what task and executor need together against the offers.
func refuseTotal(fw *framework, a *agent, available resources.Set, info *mesos.TaskInfo) string {
	all := info.Resources
	if e := info.Executor; e != nil {
		all = append(append([]mesos.Resource{}, all...), e.Resources...)
	}
	if mixed := mixesRevocable(all); mixed != "" {
		return "Task and its executor mix revocable and non-revocable resources: " + mixed
	}
	total := resources.From(info.Resources)
	if e := info.Executor; e != nil && a.executors[fw.id][e.ExecutorID.Value] == nil {
		own := resources.From(e.Resources)
		if overlap := total.SharesRanges(own); overlap {
			return "Task and its executor use the same ports"
		}
		total = total.Plus(own)
	}
	if !available.Contains(total) {
		return fmt.Sprintf("Total resources %s required by task and its executor is more than available %s", total, available)
	}
	return ""
}
