package command

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	executorapi "github.com/mesos/mesos-go/api/v1/lib/executor"
)

const (
	defaultKillGrace = 3 * time.Second // of a task without a kill policy
	shutdownMargin   = 2 * time.Second // left of the agent's grace for saying that the task is dead
	leaveAfter       = time.Second     // from the last word on the task
	retryAfter       = time.Second / 4 // from the end of a subscription
)

// statusCannotExecute is what a shell would exit with.
const statusCannotExecute = 127 << 8

// executor runs one task. All of it is used by the goroutine of run alone.
type executor struct {
	log      *slog.Logger
	api      *client
	grace    time.Duration // from SHUTDOWN to the agent's own measures
	recovery time.Duration // how long the agent may be away

	framework                                        mesos.FrameworkInfo
	subscribed                                       bool
	drop                                             context.CancelFunc        // ends the subscription
	task                                             *mesos.TaskInfo           // nil before LAUNCH
	heard                                            bool                      // an update of the task was acknowledged
	unacked                                          []executorapi.Call_Update // in order
	exited                                           chan exit                 // the command's end
	pid                                              int                       // of the command while it runs
	killed                                           time.Time                 // when the command was told to end
	overdue                                          bool                      // it is killed because it took too long
	ending                                           bool                      // SHUTDOWN came or the agent is lost: nothing is waited for
	leave, escalation, deadline, resubscribe, giveUp *alarm
}

func (x *executor) run() error {
	x.connect()
	for {
		select {
		case in := <-x.api.inputs:
			if in.err != nil {
				x.disconnected(in.err)
			} else {
				x.handle(in.event)
			}
		case e := <-x.exited:
			x.reaped(e)
		case <-x.escalation.C:
			x.log.Info("the command did not end in time, killing it", "pid", x.pid)
			x.signal(syscall.SIGKILL)
		case <-x.deadline.C:
			x.overdue = x.killed.IsZero()
			x.kill(x.killGrace(nil))
		case <-x.resubscribe.C:
			x.connect()
		case <-x.giveUp.C:
			x.log.Warn("the agent did not return in time")
			x.shutdown()
		case <-x.leave.C:
			return nil
		}
	}
}

// connect subscribes with all that the agent may not know.
func (x *executor) connect() {
	call := &executorapi.Call_Subscribe{UnacknowledgedUpdates: slices.Clone(x.unacked)}
	if x.task != nil && !x.heard {
		call.UnacknowledgedTasks = []mesos.TaskInfo{*x.task}
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.drop = cancel
	go x.api.subscribe(ctx, call)
}

// disconnected follows the end of a subscription, or one that did not begin.
func (x *executor) disconnected(err error) {
	x.drop()
	lost := x.subscribed
	x.subscribed = false
	if x.ending {
		return
	}
	x.log.Info("not subscribed", "because", err)
	switch {
	case errors.Is(err, errUnknown) || lost && x.recovery == 0:
		x.shutdown()
	case lost:
		x.giveUp.set(x.recovery)
		fallthrough
	default: // the agent ends executors that never subscribe
		x.resubscribe.set(retryAfter)
	}
}

func (x *executor) handle(event *executorapi.Event) {
	x.log.Info("Received " + event.Type.String() + " event")
	switch event.Type {
	case executorapi.Event_SUBSCRIBED:
		x.subscribed, x.framework = true, event.Subscribed.FrameworkInfo
		x.giveUp.Stop()
	case executorapi.Event_LAUNCH:
		x.launch(event.Launch.Task)
	case executorapi.Event_KILL:
		if x.task != nil && x.task.TaskID == event.Kill.TaskID {
			x.kill(x.killGrace(event.Kill.KillPolicy))
		}
	case executorapi.Event_ACKNOWLEDGED:
		x.acknowledged(event.Acknowledged.UUID)
	case executorapi.Event_SHUTDOWN:
		x.shutdown()
	case executorapi.Event_ERROR:
		x.log.Error("the agent reports an error", "message", event.Error.Message)
	}
}

func (x *executor) launch(task mesos.TaskInfo) {
	if x.task != nil {
		x.update(task.TaskID, mesos.TASK_FAILED, `Attempted to run multiple tasks using a "command" executor`, nil)
		return
	}
	x.task = &task
	x.update(task.TaskID, mesos.TASK_STARTING, "", nil)
	pid, err := start(task.Command, x.exited)
	if err != nil {
		x.log.Error("Failed to execute the command", "error", err)
		x.reaped(exit{status: statusCannotExecute})
		return
	}
	x.log.Info("Forked command", "pid", pid)
	x.pid = pid
	if limit := task.MaxCompletionTime; limit != nil {
		x.deadline.set(time.Duration(limit.Nanoseconds))
	}
	x.update(task.TaskID, mesos.TASK_RUNNING, "", nil)
}

// killGrace is the grace that a policy gives; a KILL's own goes before the task's.
func (x *executor) killGrace(override *mesos.KillPolicy) time.Duration {
	for _, policy := range []*mesos.KillPolicy{override, x.task.KillPolicy} {
		if g := policy.GetGracePeriod(); g != nil {
			return time.Duration(g.Nanoseconds)
		}
	}
	return defaultKillGrace
}

// kill asks the command to end. Once asked, it can only get less time than it had.
func (x *executor) kill(grace time.Duration) {
	switch {
	case x.pid == 0:
	case x.killed.IsZero():
		x.killed = time.Now()
		if slices.ContainsFunc(x.framework.Capabilities, func(c mesos.FrameworkInfo_Capability) bool {
			return c.Type == mesos.FrameworkInfo_Capability_TASK_KILLING_STATE
		}) {
			x.update(x.task.TaskID, mesos.TASK_KILLING, "", nil)
		}
		x.signal(syscall.SIGTERM)
		x.escalation.set(grace)
	case x.killed.Add(grace).Before(x.escalation.at):
		x.escalation.set(time.Until(x.killed.Add(grace)))
	}
}

// signal reaches the command's process group.
func (x *executor) signal(sig syscall.Signal) {
	if x.pid == 0 {
		return
	}
	x.log.Info("Sending a signal to the command", "signal", sig, "pid", x.pid)
	if err := syscall.Kill(-x.pid, sig); err != nil {
		x.log.Warn("cannot signal the command", "error", err)
	}
}

// shutdown ends the command and the executor.
func (x *executor) shutdown() {
	x.ending = true
	if x.pid == 0 {
		x.leave.set(0)
		return
	}
	x.kill(max(0, x.grace-shutdownMargin))
}

func (x *executor) reaped(e exit) {
	x.log.Info(e.String(), "pid", e.pid)
	x.pid = 0
	x.escalation.Stop()
	x.deadline.Stop()
	state := mesos.TASK_FAILED
	var reason *mesos.TaskStatus_Reason
	switch {
	case x.overdue:
		reason = mesos.REASON_MAX_COMPLETION_TIME_REACHED.Enum()
	case !x.killed.IsZero():
		state = mesos.TASK_KILLED
	case e.status == 0:
		state = mesos.TASK_FINISHED
	}
	x.update(x.task.TaskID, state, e.String(), reason)
	if x.ending {
		x.leave.set(leaveAfter)
	}
}

// update makes an update and sends it now, or with the next subscription.
func (x *executor) update(task mesos.TaskID, state mesos.TaskState, message string, reason *mesos.TaskStatus_Reason) {
	id, seconds := uuid.New(), float64(time.Now().UnixNano())/1e9
	update := executorapi.Call_Update{Status: mesos.TaskStatus{
		TaskID:     task,
		ExecutorID: &mesos.ExecutorID{Value: x.api.executor},
		State:      &state,
		Source:     mesos.SOURCE_EXECUTOR.Enum(),
		Reason:     reason,
		UUID:       id[:],
		Timestamp:  &seconds,
	}}
	if message != "" {
		update.Status.Message = &message
	}
	x.unacked = append(x.unacked, update)
	if !x.subscribed {
		return
	}
	if err := x.api.update(update); err != nil {
		x.log.Warn("update not taken", "state", state, "error", err)
		x.drop() // it goes out again with the next subscription
	}
}

func (x *executor) acknowledged(id []byte) {
	x.unacked = slices.DeleteFunc(x.unacked, func(u executorapi.Call_Update) bool { return string(u.Status.UUID) == string(id) })
	x.heard = true
	if x.task != nil && x.pid == 0 && len(x.unacked) == 0 {
		x.leave.set(leaveAfter)
	}
}
