// Package command is Mesos' command executor: it runs the one command of a task that names
// no executor. The agent makes the executor's description with [ExecutorInfo] and starts it
// like any other; the program that this description names, the agent's own, calls [Main]
// first thing in its main function.
//
// Health checks, checks and containers of tasks are not there.
package command

import (
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// programName is argv[0] of the executor.
const programName = "mesos-executor"

// What an executor may use beside its task. The master does not know of it: a small
// overcommitment that Mesos lives with.
const (
	overheadCPUs = 0.1
	overheadMem  = 32 // MiB
)

// ExecutorInfo describes the executor of a task with a command (Slave::getExecutorInfo in
// Mesos). Program is an executable that calls [Main].
func ExecutorInfo(task *mesos.TaskInfo, framework mesos.FrameworkID, program string) mesos.ExecutorInfo {
	shell, id := false, task.TaskID.Value
	name := "Command Executor (Task: " + id + ") " + summary(task.Command)
	return mesos.ExecutorInfo{
		ExecutorID:  mesos.ExecutorID{Value: id},
		FrameworkID: &framework,
		Name:        &name,
		Source:      &id,
		Labels:      task.Labels,
		Discovery:   task.Discovery,
		Resources:   []mesos.Resource{overhead(task, "cpus", overheadCPUs), overhead(task, "mem", overheadMem)},
		Command: &mesos.CommandInfo{
			Shell:       &shell,
			Value:       &program,
			Arguments:   []string{programName},
			URIs:        task.Command.URIs,
			Environment: task.Command.Environment,
			User:        task.Command.User,
		},
	}
}

// overhead is allocated to the role of the task.
func overhead(task *mesos.TaskInfo, name string, amount float64) mesos.Resource {
	r := mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: amount}}
	if len(task.Resources) > 0 {
		r.AllocationInfo = task.Resources[0].AllocationInfo
	}
	return r
}

// summary is the beginning of a command, as names of executors have it.
func summary(command *mesos.CommandInfo) string {
	const most, kept = 15, 12
	short := func(text string) string {
		if len(text) > most {
			return text[:kept] + "..."
		}
		return text
	}
	switch {
	case command.Value == nil && command.GetShell():
		return "(Command: NO COMMAND)"
	case command.Value == nil:
		return "(Command: NO EXECUTABLE)"
	case !command.GetShell():
		text := short(command.GetValue() + ", " + strings.Join(command.Arguments, ", "))
		return "(Command: [" + text + "])"
	default:
		return "(Command: sh -c '" + short(command.GetValue()) + "')"
	}
}
