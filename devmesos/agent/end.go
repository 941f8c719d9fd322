package agent

import (
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// killTask kills a task on the master's order (Slave::killTask). There is no escalation: an executor that ignores
// KILL is the scheduler's problem.
func (p *process) killTask(framework, id string, policy *mesos.KillPolicy) {
	f := p.frameworks[framework]
	if p.state == recovering || p.state == terminating || f == nil || f.terminating {
		p.log.Warn("ignoring a kill", "task", id)
		return
	}
	e, t := f.executorOf(id)
	if e == nil {
		p.ownUpdate(f, mesos.TaskID{Value: id}, nil, f.dropped(), mesos.REASON_EXECUTOR_TERMINATED, "Cannot find executor", nil)
		return
	}
	p.kill(e, t, policy)
}

func (p *process) kill(e *executor, t *task, policy *mesos.KillPolicy) {
	switch {
	case e.state == executorTerminating || e.state == executorTerminated:
	case e.state == executorRegistering || t.phase == phaseQueued:
		p.ownUpdate(e.framework, t.info.TaskID, &e.info.ExecutorID, mesos.TASK_KILLED, mesos.REASON_TASK_KILLED_DURING_LAUNCH,
			"Killed before delivery to the executor", nil)
		if e.state == executorRunning {
			p.shutDownIfUseless(e)
		}
	default:
		e.sendKill(t.info.TaskID, policy)
	}
}

// shutDownIfUseless ends an executor all of whose tasks were killed before it got any (MESOS-8411).
func (p *process) shutDownIfUseless(e *executor) bool {
	if e.everSentTask() || len(e.in(phaseQueued)) > 0 {
		return false
	}
	p.log.Warn("shutting down an executor that never got a task", "executor", e.id())
	p.shutDown(e)
	return true
}

func (p *process) shutdownExecutor(framework, id string) {
	f := p.frameworks[framework]
	if p.state == recovering || p.state == disconnected || f == nil || f.terminating {
		return
	}
	e := f.executor(id)
	if e == nil || e.state == executorTerminating || e.state == executorTerminated {
		return
	}
	p.shutDown(e)
}

// shutDown asks an executor to end, and kills it when its grace is over.
func (p *process) shutDown(e *executor) {
	p.log.Info("shutting down executor", "framework", e.framework.id(), "executor", e.id())
	e.state = executorTerminating
	e.sendShutdown()
	grace := p.config.Timing.ExecutorShutdownGrace
	if own := e.info.ShutdownGracePeriod; own != nil {
		grace = nanoseconds(*own)
	}
	p.after(grace, func() {
		if e.state == executorTerminating {
			p.log.Info("killing executor", "executor", e.id())
			e.destroy()
		}
	})
}

func (p *process) shutdownFramework(id string) {
	f := p.frameworks[id]
	if p.state == recovering || p.state == disconnected || f == nil || f.terminating {
		return
	}
	p.log.Info("shutting down framework", "framework", id)
	f.terminating = true
	for _, e := range slices.Clone(f.executors) {
		switch e.state {
		case executorRegistering, executorRunning:
			p.shutDown(e)
		case executorTerminated:
			p.removeExecutor(e)
		case executorTerminating: // its end is on the way
		}
	}
	p.removeIfIdle(f)
}

// drainConfig is how an agent is drained.
type drainConfig struct {
	MaxGrace *time.Duration `json:"max_grace,omitempty"`
	MarkGone bool           `json:"mark_gone"`
}

// drain kills everything and takes no more, until nothing is left (Slave::drain).
func (p *process) drain(config drainConfig) {
	if p.state == terminating || len(p.order) == 0 {
		return
	}
	p.log.Info("draining", "mark_gone", config.MarkGone)
	p.draining = &config
	p.checkpointDrain()
	for _, f := range slices.Clone(p.order) {
		if f.terminating {
			continue
		}
		for _, e := range slices.Clone(f.executors) {
			for _, t := range append(e.in(phaseLaunched), e.in(phaseQueued)...) {
				p.kill(e, t, config.policy(t.info.KillPolicy))
			}
		}
	}
}

// policy replaces a task's own grace where that is longer than the drain allows.
func (c drainConfig) policy(own *mesos.KillPolicy) *mesos.KillPolicy {
	if c.MaxGrace == nil {
		return nil
	}
	if own != nil && own.GracePeriod != nil && nanoseconds(*own.GracePeriod) <= *c.MaxGrace {
		return nil
	}
	return &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(*c.MaxGrace)}}
}

// shutdown ends the agent: on its own will it says goodbye before.
func (p *process) shutdown(reason string, byMaster bool) {
	if p.state == terminating {
		return
	}
	p.log.Info("agent shuts down", "by_master", byMaster, "reason", reason)
	if !byMaster {
		p.say(func(m link.Master, id mesos.AgentID) { m.UnregisterAgent(id) })
	}
	p.state = terminating
	p.registrant++
	for _, f := range slices.Clone(p.order) {
		p.shutdownFramework(f.id())
	}
	p.terminateIfEmpty()
}

func (p *process) terminateIfEmpty() {
	if p.state == terminating && len(p.order) == 0 {
		p.terminate()
	}
}

// executorTerminated follows the end of a container: news to the master first, then updates for all tasks that were
// alive (Slave::executorTerminated; the order is what was recorded).
func (p *process) executorTerminated(e *executor, status int32) {
	if e.state == executorTerminated {
		return
	}
	f := e.framework
	p.log.Info("executor terminated", "framework", f.id(), "executor", e.id(), "status", status)
	p.counters.executorsTerminated++
	e.state = executorTerminated
	e.destroy = func() {}
	p.exited(e, status)
	if f.terminating {
		for _, t := range e.in(phaseLaunched) {
			t.phase = phaseTerminated
		}
	} else {
		for _, t := range append(e.in(phaseLaunched), e.in(phaseQueued)...) {
			p.taskTerminated(e, t)
		}
	}
	e.endStream()
	if p.state == terminating || f.terminating || !e.incomplete() {
		p.removeExecutor(e)
	}
	p.removeIfIdle(f)
}

func (p *process) taskTerminated(e *executor, t *task) {
	s, reason, message := mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED, "Executor terminated"
	if e.termination.taskState != nil {
		s = *e.termination.taskState
	}
	if e.termination.reason != nil {
		reason = *e.termination.reason
	}
	if e.termination.message != "" {
		message = e.termination.message
	}
	p.ownUpdate(e.framework, t.info.TaskID, &e.info.ExecutorID, s, reason, message, e.termination.limited)
}

// exited tells the master of an executor's end.
func (p *process) exited(e *executor, status int32) {
	if p.state == recovering || e.generated {
		return // no master is known yet, or none knows of the executor
	}
	p.say(func(m link.Master, id mesos.AgentID) {
		m.ExitedExecutor(id, *e.framework.info.ID, e.info.ExecutorID, status)
	})
}

// removeExecutor forgets an executor whose end is settled.
func (p *process) removeExecutor(e *executor) {
	f := e.framework
	if e.checkpoint {
		p.checkpointCompleted(e)
	}
	f.executors = slices.DeleteFunc(f.executors, func(o *executor) bool { return o == e })
	f.completed = append(f.completed, e)
	if len(f.completed) > maxCompletedExecutors {
		f.completed = f.completed[1:]
	}
}

// removeIfIdle forgets a framework that has nothing here any more.
func (p *process) removeIfIdle(f *framework) {
	if !f.idle() || p.frameworks[f.id()] != f {
		return
	}
	p.updates.Cleanup(f.id())
	delete(p.frameworks, f.id())
	p.order = slices.DeleteFunc(p.order, func(o *framework) bool { return o == f })
	if f.info.GetCheckpoint() {
		p.removeFrameworkCheckpoint(f)
	}
	if len(f.completed) > 0 {
		p.completed = append(p.completed, f)
		if len(p.completed) > maxCompletedFrameworks {
			p.completed = p.completed[1:]
		}
	}
	if p.draining != nil && len(p.order) == 0 {
		p.log.Info("drained")
		p.draining = nil
		p.checkpointDrain()
	}
	p.terminateIfEmpty()
}

// shutdownExecutors asks all executors to end and waits for that, for a while.
func (p *process) shutdownExecutors(grace time.Duration) {
	var alive bool
	p.inbox.do(func() {
		p.state = terminating // no updates, no new tasks
		p.registrant++
		for _, f := range p.order {
			for _, e := range f.executors {
				if e.state == executorTerminated {
					continue
				}
				alive = true
				if e.state == executorRunning {
					e.state = executorTerminating
					e.sendShutdown()
				} else {
					e.destroy()
				}
			}
		}
	})
	if alive {
		p.agent.host.WaitEmpty(grace)
	}
}

func nanoseconds(d mesos.DurationInfo) time.Duration { return time.Duration(d.Nanoseconds) }
