package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/command"
	"lode/devmesos/agent/fetcher"
	"lode/devmesos/agent/sandbox"
	"lode/devmesos/internal/link"
)

// neverRan is the wait status that is reported for executors that were not even started.
const neverRan = -1

// runTask launches a task, and its executor if there is none yet (Slave::runTask and what follows it).
func (p *process) runTask(r link.RunTask) {
	if p.state == recovering || p.state == terminating {
		p.log.Warn("ignoring a task, the agent is not running", "task", r.Task.TaskID.Value, "state", p.state)
		return
	}
	f := p.frameworks[r.Framework.ID.GetValue()]
	if f == nil {
		f = p.addFramework(r.Framework)
	}
	info, ok := p.executorInfo(r)
	if !ok {
		// Silence would leave the task in TASK_STAGING and its resources taken for ever.
		p.drop(f, r, mesos.REASON_CONTAINER_LAUNCH_FAILED, "This agent has no launcher for a command executor: a task needs an ExecutorInfo")
		p.removeIfIdle(f)
		return
	}
	if f.terminating {
		p.notLaunched(r, info)
		return
	}
	e := f.executor(info.ExecutorID.Value)
	switch {
	case p.draining != nil:
		p.drop(f, r, mesos.REASON_AGENT_DRAINING, "Task was received while agent was already draining")
		p.removeIfIdle(f)
		p.notLaunched(r, info)
		return
	case r.LaunchExecutor && e != nil:
		p.drop(f, r, mesos.REASON_EXECUTOR_TERMINATED, "Master wants to launch executor, but one already exists")
		if e.state == executorTerminated {
			p.exited(e, neverRan)
		} else if e.state != executorTerminating {
			p.shutDown(e)
		}
		return
	case !r.LaunchExecutor && e == nil:
		p.drop(f, r, mesos.REASON_EXECUTOR_TERMINATED, "No executor is expected to launch and there is none running")
		p.removeIfIdle(f)
		return
	}
	if e == nil {
		var err error
		if e, err = p.addExecutor(f, info, r.Task.Executor == nil); err != nil {
			p.notLaunched(r, info)
			p.drop(f, r, mesos.REASON_EXECUTOR_TERMINATED, err.Error())
			p.removeIfIdle(f)
			return
		}
		p.enqueue(e, r.Task)
		p.launch(e)
		return
	}
	switch e.state {
	case executorTerminating:
		p.drop(f, r, mesos.REASON_EXECUTOR_TERMINATED, "Executor terminating")
	case executorTerminated:
		p.drop(f, r, mesos.REASON_EXECUTOR_TERMINATED, "Executor terminated")
	case executorRegistering:
		p.enqueue(e, r.Task)
	case executorRunning:
		p.enqueue(e, r.Task)
		p.deliver(e)
	}
}

// executorInfo is the executor of a task with the framework id filled in. For a task with only a command
// it is made here: a command executor, which runs in the launcher's program.
func (p *process) executorInfo(r link.RunTask) (mesos.ExecutorInfo, bool) {
	switch {
	case r.Framework.ID == nil:
		return mesos.ExecutorInfo{}, false
	case r.Task.Executor == nil && r.Task.Command != nil && p.config.Launcher != "":
		return command.ExecutorInfo(&r.Task, *r.Framework.ID, p.config.Launcher), true
	case r.Task.Executor == nil:
		return mesos.ExecutorInfo{}, false
	}
	info := *r.Task.Executor
	if info.FrameworkID == nil {
		info.FrameworkID = r.Framework.ID
	}
	return info, true
}

// notLaunched keeps the master's list of executors right when it expected one to be launched.
func (p *process) notLaunched(r link.RunTask, info mesos.ExecutorInfo) {
	if r.LaunchExecutor && r.Task.Executor != nil && p.state == running {
		p.say(func(m link.Master, id mesos.AgentID) {
			m.ExitedExecutor(id, *r.Framework.ID, info.ExecutorID, neverRan)
		})
	}
}

// drop answers a task that is not launched.
func (p *process) drop(f *framework, r link.RunTask, reason mesos.TaskStatus_Reason, message string) {
	p.log.Warn("dropping a task", "task", r.Task.TaskID.Value, "because", message)
	var executor *mesos.ExecutorID
	if r.Task.Executor != nil {
		executor = &r.Task.Executor.ExecutorID
	}
	p.ownUpdate(f, r.Task.TaskID, executor, f.dropped(), reason, message, nil)
}

func (p *process) addFramework(info mesos.FrameworkInfo) *framework {
	f := &framework{info: info}
	p.frameworks[f.id()] = f
	p.order = append(p.order, f)
	if info.GetCheckpoint() {
		p.checkpointFramework(f)
	}
	return f
}

// addExecutor makes the sandbox of a new executor.
func (p *process) addExecutor(f *framework, info mesos.ExecutorInfo, generated bool) (*executor, error) {
	e := &executor{
		framework:  f,
		info:       info,
		generated:  generated,
		container:  p.config.newContainerID(info.ExecutorID.Value),
		checkpoint: f.info.GetCheckpoint(),
		state:      executorRegistering,
		heartbeat:  func() {},
		destroy:    func() {},
	}
	e.directory = p.sandboxPath(e)
	if !p.config.NoSwitchUser {
		e.user = f.info.User
		if info.Command.GetUser() != "" {
			e.user = info.Command.GetUser()
		}
	}
	if err := p.makeSandbox(e); err != nil {
		return nil, err
	}
	if e.checkpoint {
		p.checkpointExecutor(e)
	}
	f.executors = append(f.executors, e)
	p.log.Info("launching executor", "framework", f.id(), "executor", e.id(), "sandbox", e.directory)
	return e, nil
}

// makeSandbox makes the sandbox and the link to it. Errors are worded as Mesos words them, for they go out in an update.
func (p *process) makeSandbox(e *executor) error {
	fail := func(err error) error {
		return failf("Failed to create executor directory '%s': %v", e.directory, err)
	}
	if err := os.MkdirAll(filepath.Dir(e.directory), 0o755); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(e.directory, 0o750); err != nil {
		return fail(err)
	}
	if err := os.Chmod(e.directory, 0o750); err != nil {
		return fail(err)
	}
	if e.user != "" {
		u, err := sandbox.LookupUser(e.user)
		if err == nil {
			err = giveTo(u)(e.directory)
		}
		if err != nil {
			return fail(failf("Failed to chown directory to '%s': %v", e.user, err))
		}
	}
	if err := relink(e.directory, filepath.Join(filepath.Dir(e.directory), "latest")); err != nil {
		return fail(err)
	}
	return nil
}

// giveTo makes files the property of a user; nil leaves them.
func giveTo(u *sandbox.User) func(path string) error {
	return func(path string) error {
		if u == nil {
			return nil
		}
		return os.Lchown(path, int(u.UID), int(u.GID))
	}
}

// relink makes a symbolic link point to target, whatever was there.
func relink(target, path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink(target, path)
}

// enqueue gives an executor a task that it gets once it is registered.
func (p *process) enqueue(e *executor, info mesos.TaskInfo) {
	t := &task{info: info, state: mesos.TASK_STAGING}
	e.tasks = append(e.tasks, t)
	if e.checkpoint {
		p.checkpointTask(e, t)
	}
}

// deliver sends all queued tasks.
func (p *process) deliver(e *executor) {
	for _, t := range e.in(phaseQueued) {
		t.phase = phaseLaunched
		e.sendLaunch(t.info)
		t.info.Data = nil
	}
}

// launch fetches what the executor needs and starts its container, away from the actor.
func (p *process) launch(e *executor) {
	ctx, cancel := context.WithCancel(p.ctx)
	e.destroy = cancel
	p.after(p.config.Timing.ExecutorRegistration, func() { p.registrationTimeout(e) })
	token, err := p.token(e)
	if err != nil {
		p.log.Error("cannot sign a token", "error", err)
	}
	spec, overwritten := p.containerSpec(e, token)
	p.workers.Go(func() {
		defer cancel()
		c, err := p.startContainer(ctx, e.container, e.info.Command, e.user, spec, overwritten)
		p.inbox.post(func() { p.launched(e, c, err) })
	})
}

// startContainer works on copies of what it is given: the executor belongs to the actor.
func (p *process) startContainer(ctx context.Context, id string, what *mesos.CommandInfo, user string, spec sandbox.Spec, overwritten []string) (*sandbox.Container, error) {
	var owner func(string) error
	if user != "" {
		u, err := sandbox.LookupUser(user)
		if err != nil {
			return nil, err
		}
		spec.User = u
		owner = giveTo(u)
	}
	stderr, err := makeOutputs(spec.Dir, owner)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	err = p.fetcher.Fetch(ctx, fetcher.Request{
		ContainerID: id,
		URIs:        what.GetURIs(),
		Sandbox:     spec.Dir,
		User:        user,
		Owner:       owner,
		Log:         stderr,
	})
	if err != nil {
		if !fetcher.Killed(err) {
			fmt.Fprintln(stderr, "Failed to synchronize with agent (it's probably exited)")
		}
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, name := range overwritten {
		fmt.Fprintf(stderr, "Overwriting environment variable '%s'\n", name)
	}
	return p.agent.host.Start(spec)
}

// makeOutputs makes stdout and stderr of a sandbox and opens the latter.
func makeOutputs(dir string, owner func(string) error) (stderr *os.File, err error) {
	for _, name := range []string{"stdout", "stderr"} {
		path := filepath.Join(dir, name)
		if stderr, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			return nil, err
		}
		if owner != nil {
			if err = owner(path); err != nil {
				stderr.Close()
				return nil, err
			}
		}
		if name == "stdout" {
			stderr.Close()
		}
	}
	return stderr, nil
}

// launched takes over a container that runs, or the news that it does not.
func (p *process) launched(e *executor, c *sandbox.Container, err error) {
	if err != nil {
		p.log.Warn("container failed to start", "executor", e.id(), "container", e.container, "error", err)
		// As on a real agent this replaces what was to be said about a launch that took too long.
		e.termination = termination{
			taskState: ptr(mesos.TASK_FAILED),
			reason:    ptr(mesos.REASON_CONTAINER_LAUNCH_FAILED),
			message:   "Failed to launch container: " + err.Error(),
		}
		p.counters.launchErrors++
		status := int32(1 << 8)
		if fetcher.Killed(err) || e.state == executorTerminating {
			status = 9
		}
		p.executorTerminated(e, status)
		return
	}
	e.pid = c.Pid()
	p.watch(e, c)
	if e.checkpoint {
		p.checkpointPid(e)
	}
	if e.state == executorTerminating || e.framework.terminating {
		e.destroy()
	}
}

// findPid asks for the executor's process: it may be quicker to subscribe than the news that it was started.
func (p *process) findPid(e *executor) {
	if c := p.agent.host.Container(e.container); c != nil && e.pid == 0 {
		e.pid = c.Pid()
	}
}

// watch follows a container to its end.
func (p *process) watch(e *executor, c *sandbox.Container) {
	e.destroy = c.Destroy
	p.workers.Go(func() {
		select {
		case <-c.Done():
			p.inbox.post(func() { p.executorTerminated(e, c.Status()) })
		case <-p.ctx.Done():
		}
	})
}

// registrationTimeout ends executors that took too long from launch to SUBSCRIBE.
func (p *process) registrationTimeout(e *executor) {
	if e.state != executorRegistering || e.framework.terminating || !slices.Contains(e.framework.executors, e) {
		return
	}
	p.log.Info("executor did not register in time", "executor", e.id())
	e.state = executorTerminating
	e.termination = termination{
		taskState: ptr(mesos.TASK_FAILED),
		reason:    ptr(mesos.REASON_EXECUTOR_REGISTRATION_TIMEOUT),
		message:   "Executor did not register within " + formatDuration(p.config.Timing.ExecutorRegistration),
	}
	e.destroy()
}

// allocated are the resources of an executor with those of its living tasks.
func allocated(e *executor) []mesos.Resource {
	all := slices.Clone(e.info.Resources)
	for _, t := range e.tasks {
		if t.phase == phaseQueued || t.phase == phaseLaunched {
			all = append(all, t.info.Resources...)
		}
	}
	return all
}

// failure is an error in the words of Mesos, which a framework gets to read in an update.
type failure string

func (f failure) Error() string { return string(f) }

func failf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }
