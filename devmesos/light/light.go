// Package light has Mesos agents that cost next to nothing: no process, no sandbox, no
// HTTP. What an agent is told to run is a value of the caller's, so that thousands of
// agents fit into a test beside a real master and a real framework:
//
//	a, err := light.Join(cluster.Master(), light.Config{Launch: …})
//
// To the master they are agents like others, but for one thing: they do not follow a
// new one.
package light

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
	"lode/devmesos/master"
)

// Executor is what runs a task, in place of a process. Its methods are called with no
// lock held, one at a time.
type Executor interface {
	// Receive takes a framework message.
	Receive(data []byte)
	// Kill ends it: the task is killed already.
	Kill()
}

// Config describes an agent.
type Config struct {
	Hostname string
	// Resources in the form of Mesos' --resources flag.
	Resources string
	// Launch starts a task, which is TASK_STARTING.
	Launch func(*Task) Executor
}

// Agent is one agent.
type Agent struct {
	config Config

	mu       sync.Mutex
	master   link.Master
	id       mesos.AgentID
	tasks    map[string]*Task // by id; some wait for their last acknowledgement
	launched int
	killed   []string
}

// Task is a task on an agent. Its methods may be called from any goroutine.
type Task struct {
	Info mesos.TaskInfo

	agent     *Agent
	framework mesos.FrameworkID
	work      chan func(Executor) // for the executor, in order
	state     mesos.TaskState
	unacked   []mesos.TaskStatus // the first was sent
}

// Join adds an agent to a cluster; it is registered a moment later.
func Join(m *master.Master, c Config) (*Agent, error) {
	set, err := resources.Parse(c.Resources)
	if err != nil {
		return nil, fmt.Errorf("resources of a light agent: %w", err)
	}
	a := &Agent{config: c, master: m, tasks: make(map[string]*Task)}
	port := int32(5051)
	m.RegisterAgent(a, mesos.AgentInfo{Hostname: c.Hostname, Port: &port, Resources: set.Proto()})
	return a, nil
}

// Launched is how many tasks were launched so far, Killed lists those that a framework
// killed.
func (a *Agent) Launched() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.launched
}

// Killed lists the tasks that a framework killed so far.
func (a *Agent) Killed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.killed...)
}

// Send sends a framework message.
func (t *Task) Send(data []byte) {
	a := t.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tasks[t.Info.TaskID.Value] == t && !ended(t.state) {
		a.master.ExecutorMessage(a.id, t.framework, t.Info.Executor.ExecutorID, data)
	}
}

// Run says that the task runs.
func (t *Task) Run() {
	t.agent.mu.Lock()
	defer t.agent.mu.Unlock()
	t.update(mesos.TASK_RUNNING, nil)
}

// Crash ends the task and its executor, as kill -9 does.
func (t *Task) Crash() {
	a := t.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if ended(t.state) {
		return
	}
	reason := mesos.REASON_EXECUTOR_TERMINATED
	t.update(mesos.TASK_FAILED, &reason)
	t.end(9)
}

func ended(s mesos.TaskState) bool {
	switch s {
	case mesos.TASK_STAGING, mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING:
		return false
	}
	return true
}

// update notes a state and sends it, when those before it are acknowledged. It wants
// the agent's lock.
func (t *Task) update(state mesos.TaskState, reason *mesos.TaskStatus_Reason) {
	if ended(t.state) {
		return
	}
	t.state = state
	id, source, now := uuid.New(), mesos.SOURCE_EXECUTOR, float64(time.Now().UnixNano())/1e9
	t.unacked = append(t.unacked, mesos.TaskStatus{
		TaskID: t.Info.TaskID, State: &state, Reason: reason, Source: &source, UUID: id[:], Timestamp: &now,
		AgentID: &t.agent.id, ExecutorID: &t.Info.Executor.ExecutorID,
	})
	if len(t.unacked) == 1 {
		t.forward()
	}
}

func (t *Task) forward() {
	if len(t.unacked) > 0 {
		t.agent.master.StatusUpdate(t.agent.id, link.Update{
			FrameworkID: t.framework, ExecutorID: t.Info.Executor.ExecutorID, Status: t.unacked[0], LatestState: t.state,
		})
	}
}

// end ends the executor. It wants the agent's lock.
func (t *Task) end(status int32) {
	t.do(func(e Executor) { e.Kill() })
	close(t.work)
	t.agent.master.ExitedExecutor(t.agent.id, t.framework, t.Info.Executor.ExecutorID, status)
}

// do gives work to the executor; what is too much is lost, as framework messages may be.
func (t *Task) do(f func(Executor)) {
	select {
	case t.work <- f:
	default:
	}
}

// What follows is link.Agent.

// Registered implements link.Agent.
func (a *Agent) Registered(_ link.Master, id mesos.AgentID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.id = id
}

// Reregistered implements link.Agent.
func (a *Agent) Reregistered(link.Master, mesos.AgentID) {}

// Ping implements link.Agent.
func (a *Agent) Ping(m link.Master) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m.Pong(a.id)
}

// RunTask implements link.Agent.
func (a *Agent) RunTask(r link.RunTask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &Task{
		Info: r.Task, agent: a, framework: *r.Framework.ID, state: mesos.TASK_STAGING, work: make(chan func(Executor), 64),
	}
	if t.Info.Executor == nil { // a command task, for which an agent makes one up
		t.Info.Executor = &mesos.ExecutorInfo{ExecutorID: mesos.ExecutorID(r.Task.TaskID)}
	}
	a.tasks[r.Task.TaskID.Value] = t
	a.launched++
	t.update(mesos.TASK_STARTING, nil)
	go func() {
		e := a.config.Launch(t)
		for f := range t.work {
			f(e)
		}
	}()
}

// KillTask implements link.Agent.
func (a *Agent) KillTask(_ mesos.FrameworkID, task mesos.TaskID, _ *mesos.KillPolicy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tasks[task.Value]; t != nil && !ended(t.state) {
		a.killed = append(a.killed, task.Value)
		t.update(mesos.TASK_KILLED, nil)
		t.end(0)
	}
}

// ShutdownExecutor implements link.Agent.
func (a *Agent) ShutdownExecutor(framework mesos.FrameworkID, executor mesos.ExecutorID) {
	a.KillTask(framework, mesos.TaskID(executor), nil) // ours have one id
}

// ShutdownFramework implements link.Agent.
func (a *Agent) ShutdownFramework(framework mesos.FrameworkID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, t := range a.tasks {
		if t.framework == framework {
			if !ended(t.state) {
				t.state = mesos.TASK_KILLED
				t.end(0)
			}
			delete(a.tasks, id)
		}
	}
}

// AcknowledgeUpdate implements link.Agent.
func (a *Agent) AcknowledgeUpdate(_ mesos.FrameworkID, task mesos.TaskID, uuid []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.tasks[task.Value]
	if t == nil || len(t.unacked) == 0 || string(t.unacked[0].UUID) != string(uuid) {
		return
	}
	t.unacked = t.unacked[1:]
	t.forward()
	if len(t.unacked) == 0 && ended(t.state) {
		delete(a.tasks, task.Value)
	}
}

// FrameworkMessage implements link.Agent.
func (a *Agent) FrameworkMessage(_ mesos.FrameworkID, executor mesos.ExecutorID, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tasks[executor.Value]; t != nil && !ended(t.state) {
		t.do(func(e Executor) { e.Receive(data) })
	}
}

// UpdateFramework implements link.Agent.
func (a *Agent) UpdateFramework(mesos.FrameworkInfo) {}

// FrameworkReregistered implements link.Agent.
func (a *Agent) FrameworkReregistered(framework mesos.FrameworkID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if t.framework == framework {
			t.forward()
		}
	}
}

// Drain implements link.Agent.
func (a *Agent) Drain(*time.Duration, bool) {}

// Shutdown implements link.Agent.
func (a *Agent) Shutdown(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, t := range a.tasks {
		if !ended(t.state) {
			t.state = mesos.TASK_KILLED
			t.end(0)
		}
		delete(a.tasks, id)
	}
}

// Endpoint implements link.Agent.
func (a *Agent) Endpoint() string { return a.config.Hostname + ":5051" }

// Hostname implements link.Agent.
func (a *Agent) Hostname() string { return a.config.Hostname }
