package agent

import (
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/updates"
	"lode/devmesos/internal/wire"
)

// framework is what the agent knows of a framework that has something here.
type framework struct {
	info        mesos.FrameworkInfo
	terminating bool
	executors   []*executor // in order of launch
	completed   []*executor // most recent last, bounded
}

// executorState follows an executor through its life.
type executorState string

const (
	executorRegistering executorState = "REGISTERING" // launched or recovered, has not subscribed
	executorRunning     executorState = "RUNNING"
	executorTerminating executorState = "TERMINATING" // told to end, or being killed
	executorTerminated  executorState = "TERMINATED"  // gone, but updates wait for acknowledgement
)

// executor is one executor and its container.
type executor struct {
	framework  *framework
	info       mesos.ExecutorInfo
	generated  bool   // by the agent, for a task with only a command; no master knows of it
	user       string // empty if none is switched to
	container  string // id
	directory  string // sandbox
	checkpoint bool
	state      executorState
	tasks      []*task
	stream     *wire.Stream // nil before the first subscription
	heartbeat  func()       // stops the heartbeats of the stream
	pid        int          // leader of the container's session, 0 before it runs
	termination
	destroy func() // ends the container, whatever it is doing
}

// termination is why a container was ended by the agent, for the updates of its tasks.
type termination struct {
	taskState *mesos.TaskState
	reason    *mesos.TaskStatus_Reason
	message   string
	limited   []mesos.Resource
}

// phase is where a task is.
type phase int

const (
	phaseQueued     phase = iota // the executor has not got it
	phaseLaunched                // with the executor
	phaseTerminated              // terminal, but not acknowledged
	phaseCompleted               // acknowledged
)

// task is one task of an executor.
type task struct {
	info         mesos.TaskInfo
	phase        phase
	state        mesos.TaskState
	statuses     []mesos.TaskStatus
	forwarded    *mesos.TaskState // of the update that was sent last
	forwardedID  []byte
	beforeLaunch bool // it ended without ever being sent to the executor
}

// The bounds of what is remembered of the past.
const (
	maxCompletedExecutors = 150 // --max_completed_executors_per_framework
	maxCompletedTasks     = 200
)

func (f *framework) id() string { return f.info.ID.GetValue() }

func (f *framework) idle() bool { return len(f.executors) == 0 }

func (f *framework) executor(id string) *executor {
	for _, e := range f.executors {
		if e.id() == id {
			return e
		}
	}
	return nil
}

// executorOf is the executor that has a task which is not completed.
func (f *framework) executorOf(task string) (*executor, *task) {
	for _, e := range f.executors {
		if t := e.task(task); t != nil && t.phase != phaseCompleted {
			return e, t
		}
	}
	return nil, nil
}

func (f *framework) has(c mesos.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(f.info.Capabilities, func(o mesos.FrameworkInfo_Capability) bool { return o.Type == c })
}

// dropped is the state of tasks that were never launched: TASK_DROPPED, or TASK_LOST for old frameworks.
func (f *framework) dropped() mesos.TaskState { return f.partitionAware(mesos.TASK_DROPPED) }

// gone is the state of tasks that were running and are not any more.
func (f *framework) gone() mesos.TaskState { return f.partitionAware(mesos.TASK_GONE) }

func (f *framework) partitionAware(s mesos.TaskState) mesos.TaskState {
	if f.has(mesos.FrameworkInfo_Capability_PARTITION_AWARE) {
		return s
	}
	return mesos.TASK_LOST
}

func (e *executor) id() string { return e.info.ExecutorID.Value }

// named is the executor that a task names, nil if it names none.
func (t *task) named() *mesos.ExecutorID {
	if t.info.Executor == nil {
		return nil
	}
	return &t.info.Executor.ExecutorID
}

// task finds a task by its id; of several with that id the latest.
func (e *executor) task(id string) *task {
	for _, t := range slices.Backward(e.tasks) {
		if t.info.TaskID.Value == id {
			return t
		}
	}
	return nil
}

func (e *executor) in(p phase) []*task {
	var found []*task
	for _, t := range e.tasks {
		if t.phase == p {
			found = append(found, t)
		}
	}
	return found
}

// incomplete says whether something of the executor's tasks is still to be told or acknowledged.
func (e *executor) incomplete() bool {
	return slices.ContainsFunc(e.tasks, func(t *task) bool { return t.phase != phaseCompleted })
}

// everSentTask says whether the executor was ever given a task.
func (e *executor) everSentTask() bool {
	return slices.ContainsFunc(e.tasks, func(t *task) bool { return t.phase != phaseQueued && !t.beforeLaunch })
}

// complete forgets the oldest completed tasks beyond the bound.
func (e *executor) complete(t *task) {
	t.phase = phaseCompleted
	if done := e.in(phaseCompleted); len(done) > maxCompletedTasks {
		e.tasks = slices.DeleteFunc(e.tasks, func(t *task) bool { return t == done[0] })
	}
}

// transition moves a task on with a status. It says false if the status is to be dropped, because it comes too late.
func (t *task) transition(status mesos.TaskStatus) bool {
	terminal := updates.Terminal(status.GetState())
	if t.phase == phaseTerminated || t.phase == phaseCompleted || t.phase == phaseQueued && !terminal {
		return false
	}
	if n := len(t.statuses); n > 0 && t.statuses[n-1].GetState() == status.GetState() {
		t.statuses = t.statuses[:n-1]
	}
	t.statuses = append(t.statuses, status)
	t.state = status.GetState()
	if terminal {
		t.beforeLaunch = t.beforeLaunch || t.phase == phaseQueued
		t.phase = phaseTerminated
		t.info.Data = nil
	}
	return true
}
