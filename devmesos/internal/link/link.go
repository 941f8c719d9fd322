// Package link is what a development master and its agents say to each other: the
// internal messages of Mesos (src/messages/messages.proto), as Go calls. The master
// implements Master, every agent implements Agent. All calls are asynchronous: they
// queue and return at once, may be lost when either side is partitioned, and for
// one pair of master and agent arrive in the order in which they were made.
package link

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Master is the master as an agent sees it.
type Master interface {
	// RegisterAgent announces a new agent; Agent.Registered is the answer.
	RegisterAgent(a Agent, info mesos.AgentInfo)
	// ReregisterAgent announces an agent that has an id, with everything it runs;
	// Agent.Reregistered is the answer.
	ReregisterAgent(a Agent, r Reregistration)
	// UnregisterAgent says goodbye (SIGUSR1 of a real agent).
	UnregisterAgent(id mesos.AgentID)
	// StatusUpdate forwards an update; LatestState is the newest state that the
	// agent knows for the task, which frees resources if it is terminal.
	StatusUpdate(id mesos.AgentID, u Update)
	// ExecutorMessage is a framework message from an executor.
	ExecutorMessage(id mesos.AgentID, framework mesos.FrameworkID, executor mesos.ExecutorID, data []byte)
	// ExitedExecutor reports the end of an executor; status is the raw wait status
	// (exit code in bits 8 to 15), −1 if it never ran.
	ExitedExecutor(id mesos.AgentID, framework mesos.FrameworkID, executor mesos.ExecutorID, status int32)
	// Disconnected reports that the agent's process is gone or its socket broke.
	Disconnected(id mesos.AgentID)
	// Pong answers Agent.Ping.
	Pong(id mesos.AgentID)
	// UpdateOversubscribed sets the agent's revocable resources.
	UpdateOversubscribed(id mesos.AgentID, total []mesos.Resource)
}

// Agent is an agent as the master sees it.
type Agent interface {
	Registered(m Master, id mesos.AgentID)
	// Reregistered makes the agent send the heads of all update streams twice, back to back, as a real agent does
	// after such an answer; the master has nothing to add.
	Reregistered(m Master, id mesos.AgentID)
	// Ping is the master's health check; Master.Pong answers it.
	Ping(m Master)
	RunTask(r RunTask)
	KillTask(framework mesos.FrameworkID, task mesos.TaskID, policy *mesos.KillPolicy)
	ShutdownExecutor(framework mesos.FrameworkID, executor mesos.ExecutorID)
	ShutdownFramework(framework mesos.FrameworkID)
	// AcknowledgeUpdate is the scheduler's acknowledgement.
	AcknowledgeUpdate(framework mesos.FrameworkID, task mesos.TaskID, uuid []byte)
	// FrameworkMessage is a message to an executor.
	FrameworkMessage(framework mesos.FrameworkID, executor mesos.ExecutorID, data []byte)
	// UpdateFramework tells of changed framework information. Nothing is resent because of it.
	UpdateFramework(info mesos.FrameworkInfo)
	// FrameworkReregistered is sent when a framework subscribed again: unacknowledged heads of update streams
	// are sent once more.
	FrameworkReregistered(framework mesos.FrameworkID)
	// Drain kills every task with at most maxGrace (nil: the task's own).
	Drain(maxGrace *time.Duration, markGone bool)
	// Shutdown ends the agent and everything on it (marked gone, or removed).
	Shutdown(reason string)
	// Endpoint is host:port of the agent's HTTP server; Hostname what offers show.
	Endpoint() string
	Hostname() string
}

// Reregistration is all that an agent knows when it comes back to a master.
type Reregistration struct {
	ID         mesos.AgentID
	Info       mesos.AgentInfo
	Frameworks []mesos.FrameworkInfo
	Executors  []Executor
	Tasks      []Task
	Draining   bool
}

// Executor is one executor that runs on an agent.
type Executor struct {
	FrameworkID mesos.FrameworkID
	Info        mesos.ExecutorInfo
}

// Task is one task of an agent with its latest status.
type Task struct {
	FrameworkID mesos.FrameworkID
	Info        mesos.TaskInfo
	ExecutorID  mesos.ExecutorID
	State       mesos.TaskState // latest
	Status      *mesos.TaskStatus
	// Unacked are the updates that the scheduler has not acknowledged; the first is the one that is being sent. Tasks whose
	// terminal update was acknowledged are not reported at all.
	Unacked []mesos.TaskStatus
}

// RunTask starts a task, and its executor if LaunchExecutor.
type RunTask struct {
	Framework      mesos.FrameworkInfo
	Task           mesos.TaskInfo
	LaunchExecutor bool // the master believes that the executor is not running
}

// Update is a status update on its way from an agent to a scheduler.
type Update struct {
	FrameworkID mesos.FrameworkID
	ExecutorID  mesos.ExecutorID
	Status      mesos.TaskStatus // Status.UUID is set: schedulers acknowledge it
	LatestState mesos.TaskState
}
