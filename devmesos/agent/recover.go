package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// recover reads what the last run left, finds its executors again and gives them a little time to subscribe
// (Slave::recover and what follows it).
func (p *process) recover() {
	if p.state != recovering {
		return
	}
	if err := p.load(); err != nil {
		p.log.Error("recovery is incomplete", "error", err)
	}
	p.reconnect = true
	for _, f := range p.order {
		for _, e := range f.executors {
			p.find(e)
		}
	}
	if p.config.KillOrphans {
		p.killOrphans()
	}
	if len(p.order) == 0 {
		p.recovered()
		return
	}
	p.after(p.config.Timing.ExecutorReregistration, p.reregistrationTimeout)
}

// find looks for the container of a recovered executor. One that is gone has an unknown status.
func (p *process) find(e *executor) {
	if c := p.agent.host.Container(e.container); c != nil {
		e.pid = c.Pid()
		p.watch(e, c)
		return
	}
	if e.pid == 0 {
		e.termination.message = "Abnormal executor termination: unknown container"
	}
	p.inbox.post(func() { p.executorTerminated(e, -1) })
}

// killOrphans destroys containers of which nothing was checkpointed.
func (p *process) killOrphans() {
	known := make(map[string]bool)
	for _, f := range p.order {
		for _, e := range f.executors {
			known[e.container] = true
		}
	}
	p.agent.host.DestroyExcept(func(id string) bool { return known[id] })
}

// reregistrationTimeout ends the executors that did not subscribe in time.
func (p *process) reregistrationTimeout() {
	if p.state != recovering {
		return
	}
	for _, f := range p.order {
		for _, e := range f.executors {
			if e.state != executorRegistering {
				continue
			}
			p.log.Info("killing an executor that did not reregister", "executor", e.id())
			e.state = executorTerminating
			e.termination = termination{
				taskState: ptr(f.gone()),
				reason:    ptr(mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT),
				message:   "Executor did not reregister within " + formatDuration(p.config.Timing.ExecutorReregistration),
			}
			e.destroy()
		}
	}
	p.recovered()
	if p.draining != nil {
		p.drain(*p.draining)
	}
}

// recovered ends recovery; now a master may be spoken to.
func (p *process) recovered() {
	p.log.Info("recovery finished", "frameworks", len(p.order))
	p.state = disconnected
	if p.draining != nil && len(p.order) == 0 { // there was nothing left to drain
		p.draining = nil
		p.checkpointDrain()
	}
	if p.master != nil {
		p.register()
	}
}

// load reads the checkpoints below the latest agent id.
func (p *process) load() error {
	latest := filepath.Join(p.metaDir(), "slaves", "latest")
	dir, err := os.Readlink(latest)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var info mesos.AgentInfo
	if err := readMessage(filepath.Join(latest, "slave.info"), &info); err != nil {
		return err
	}
	p.info.ID = &mesos.AgentID{Value: filepath.Base(dir)}
	if b, err := os.ReadFile(filepath.Join(p.agentMeta(), "drain_config")); err == nil {
		p.draining = new(drainConfig)
		if err := json.Unmarshal(b, p.draining); err != nil {
			return err
		}
	}
	return eachDir(filepath.Join(p.agentMeta(), "frameworks"), p.loadFramework)
}

func (p *process) loadFramework(id string) error {
	f := &framework{info: mesos.FrameworkInfo{ID: &mesos.FrameworkID{Value: id}}}
	dir := p.frameworkMeta(f)
	if err := readMessage(filepath.Join(dir, "framework.info"), &f.info); err != nil {
		return err
	}
	err := eachDir(filepath.Join(dir, "executors"), func(id string) error { return p.loadExecutor(f, id) })
	if len(f.executors) > 0 {
		p.frameworks[f.id()] = f
		p.order = append(p.order, f)
	}
	return err
}

func (p *process) loadExecutor(f *framework, id string) error {
	e := &executor{
		framework:  f,
		info:       mesos.ExecutorInfo{ExecutorID: mesos.ExecutorID{Value: id}},
		checkpoint: true,
		state:      executorRegistering,
		heartbeat:  func() {},
		destroy:    func() {},
	}
	dir := p.executorMeta(e)
	if err := readMessage(filepath.Join(dir, "executor.info"), &e.info); err != nil {
		return err
	}
	if b, err := os.ReadFile(filepath.Join(dir, generatedName)); err == nil {
		e.generated = string(b) == "1"
	}
	run, err := os.Readlink(filepath.Join(dir, "runs", "latest"))
	if err != nil {
		return err
	}
	e.container = filepath.Base(run)
	e.directory = p.sandboxPath(e)
	if _, err := os.Stat(filepath.Join(run, "executor.sentinel")); err == nil {
		return nil // it was over before
	}
	if b, err := os.ReadFile(filepath.Join(run, "pids", "forked.pid")); err == nil {
		if e.pid, err = strconv.Atoi(string(b)); err != nil {
			return err
		}
	}
	f.executors = append(f.executors, e)
	return eachDir(filepath.Join(run, "tasks"), func(id string) error { return p.loadTask(e, id) })
}

func (p *process) loadTask(e *executor, id string) error {
	t := &task{phase: phaseLaunched, state: mesos.TASK_STAGING}
	if err := readMessage(filepath.Join(p.taskMeta(e, id), "task.info"), &t.info); err != nil {
		return err
	}
	e.tasks = append(e.tasks, t)
	j := p.journal(e, t)
	statuses, acked, err := j.read()
	if err != nil {
		return err
	}
	for _, status := range statuses {
		t.transition(status)
	}
	if p.updates.Replay(e.framework.id(), e.id(), statuses, acked, j) {
		e.complete(t)
	}
	return nil
}

// eachDir calls f with the name of each directory in dir, and joins the errors.
func eachDir(dir string, f func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, f(entry.Name()))
		}
	}
	return err
}
