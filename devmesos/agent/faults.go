package agent

import (
	"sync"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/wire"
)

// faults are the switches that make things go wrong. They outlast restarts of the agent.
type faults struct {
	mu sync.Mutex

	partition bool
	drops     map[direction]int
}

// direction is which way a framework message goes.
type direction int

const (
	toScheduler direction = iota
	toExecutor
)

func (f *faults) partitioned() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.partition
}

func (f *faults) dropMessage(d direction) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.drops[d] == 0 {
		return false
	}
	f.drops[d]--
	return true
}

// Partition cuts or mends the network between the agent and its master, silently: neither side sees a broken
// connection. Executors are not concerned. When it is mended the agent registers again, as if it had found its
// connection dead.
func (a *Agent) Partition(cut bool) {
	a.faults.mu.Lock()
	mended := a.faults.partition && !cut
	a.faults.partition = cut
	a.faults.mu.Unlock()
	if mended {
		a.tell(func(p *process) { p.detected(p.master) })
	}
}

// DropMessages loses the next framework messages of executors and to executors, so many of each.
func (a *Agent) DropMessages(ofExecutors, toExecutors int) {
	a.faults.mu.Lock()
	defer a.faults.mu.Unlock()
	a.faults.drops = map[direction]int{toScheduler: ofExecutors, toExecutor: toExecutors}
}

// FreezeExecutor makes the present event stream of an executor half open: the connection stays, but nothing
// arrives any more. A new subscription is not concerned. It says false if there is no such stream.
func (a *Agent) FreezeExecutor(framework mesos.FrameworkID, id mesos.ExecutorID) (ok bool) {
	a.withExecutor(framework, id, func(p *process, e *executor) {
		if ok = e.stream != nil; ok {
			e.stream.SetFraming(wire.Mute)
		}
	})
	return ok
}

// BreakExecutorStream breaks the connection of an executor's event stream. It says false if there is none.
func (a *Agent) BreakExecutorStream(framework mesos.FrameworkID, id mesos.ExecutorID) (ok bool) {
	a.withExecutor(framework, id, func(p *process, e *executor) {
		if ok = e.stream != nil; ok {
			e.stream.Abort()
		}
	})
	return ok
}

// PreemptExecutor kills an executor as a QoS controller does: at once and without KILL, its tasks are TASK_GONE or
// TASK_LOST with REASON_CONTAINER_PREEMPTED.
func (a *Agent) PreemptExecutor(framework mesos.FrameworkID, id mesos.ExecutorID) (ok bool) {
	a.withExecutor(framework, id, func(p *process, e *executor) {
		ok = p.destroyFor(e, termination{
			taskState: ptr(e.framework.gone()),
			reason:    ptr(mesos.REASON_CONTAINER_PREEMPTED),
			message:   "Container preempted by QoS correction",
		})
		if ok {
			p.counters.executorsPreempted++
		}
	})
	return ok
}

// ExceedMemory kills an executor as if it had used more than its memory.
func (a *Agent) ExceedMemory(framework mesos.FrameworkID, id mesos.ExecutorID) (ok bool) {
	a.withExecutor(framework, id, func(p *process, e *executor) {
		ok = p.destroyFor(e, memoryLimit(e))
	})
	return ok
}

// SignalExecutor sends a signal to the process of an executor alone.
func (a *Agent) SignalExecutor(framework mesos.FrameworkID, id mesos.ExecutorID, sig syscall.Signal) (ok bool) {
	a.withExecutor(framework, id, func(p *process, e *executor) {
		if c := a.host.Container(e.container); c != nil {
			ok = c.SignalExecutor(sig) == nil
		}
	})
	return ok
}

func (a *Agent) withExecutor(framework mesos.FrameworkID, id mesos.ExecutorID, do func(p *process, e *executor)) {
	a.ask(func(p *process) {
		f := p.frameworks[framework.Value]
		if f == nil {
			return
		}
		if e := f.executor(id.Value); e != nil && e.state != executorTerminated {
			do(p, e)
		}
	})
}

// destroyFor kills a running executor for a reason.
func (p *process) destroyFor(e *executor, why termination) bool {
	if e.state == executorTerminating || e.state == executorTerminated {
		return false
	}
	e.state = executorTerminating
	e.termination = why
	e.destroy()
	return true
}
