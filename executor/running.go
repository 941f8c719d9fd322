package executor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/executor/task"
	"lode/message"
)

// Bounds of Task.report_interval_ms.
const (
	defaultReportInterval = 5 * time.Second
	minReportInterval     = 100 * time.Millisecond
)

// running is the life of one task.
type running struct {
	executor  *executor
	info      mesos.TaskInfo
	spec      *message.Task
	link      *link
	resources Resources
	started   time.Time

	ctx      context.Context
	cancel   context.CancelFunc
	sequence uint64 // of the newest report

	// giveUp is closed when the grace period of a kill has passed.
	giveUp chan struct{}
	// report is signalled when a report is wanted before its time; capacity 1.
	report chan struct{}

	mu       sync.Mutex
	task     task.Task // nil before it runs
	early    []*message.ToExecutor
	digest   string
	killing  bool // TASK_KILLING was sent or is not wanted
	killed   bool // by a KILL or SHUTDOWN
	failure  error
	deadline time.Time
	timer    *time.Timer // closes giveUp at deadline
	terminal *mesos.TaskStatus
}

// maxEarly bounds the messages that wait for the task's start.
const maxEarly = 16

func newRunning(e *executor, info mesos.TaskInfo, spec *message.Task, l *link) *running {
	ctx, cancel := context.WithCancel(context.Background())
	return &running{
		executor: e, info: info, spec: spec, link: l, resources: resourcesOf(&info), started: time.Now(),
		ctx: ctx, cancel: cancel, giveUp: make(chan struct{}), report: make(chan struct{}, 1),
	}
}

func (r *running) id() string { return r.info.TaskID.Value }

// run is the whole life: it ends with a terminal update.
func (r *running) run() {
	defer r.cancel()
	e := r.executor
	e.driver.Update(e.status(r.id(), mesos.TASK_STARTING, nil, ""))
	err := r.start()
	if err == nil {
		err = r.work()
	}
	r.finish(err)
}

// start checks the binary and makes the task.
func (r *running) start() error {
	e := r.executor
	digest, err := e.options.Digest()
	if err != nil {
		return fmt.Errorf("cannot hash the executor's own file: %w", err)
	}
	if want := r.spec.ExecutorDigest; want != "" && want != digest {
		return fmt.Errorf("the executor that runs is not the one that was sent: its SHA-256 is %s, expected %s; "+
			"look for a stale fetcher cache or a changed file on the artifact server", digest, want)
	}
	e.options.Tune(r.resources, r.spec)
	t, err := task.New(r.spec, e.env(r))
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.digest, r.task = digest, t
	early := r.early
	r.early = nil
	r.mu.Unlock()
	for _, m := range early {
		t.Receive(m)
	}
	return nil
}

// errNotStopped is the failure of a task that outlived its grace period.
var errNotStopped = errors.New("the task did not stop within its grace period and ends with the executor")

// work runs the task until it ends or is given up.
func (r *running) work() error {
	e := r.executor
	if r.ctx.Err() != nil {
		return nil // killed while it started
	}
	e.driver.Update(e.status(r.id(), mesos.TASK_RUNNING, nil, ""))
	r.sendHello()
	if limit := r.info.MaxCompletionTime; limit != nil {
		timer := time.AfterFunc(time.Duration(limit.Nanoseconds), r.overdue)
		defer timer.Stop()
	}
	reporting := make(chan struct{})
	go func() {
		defer close(reporting)
		r.reportLoop()
	}()
	result := make(chan error, 1)
	go func() { result <- r.task.Run(r.ctx) }()
	var err error
	select {
	case err = <-result:
	case <-r.giveUp:
		err = errNotStopped
	}
	r.cancel()
	<-reporting
	return err
}

var errOverdue = errors.New("max_completion_time reached")

func (r *running) overdue() {
	r.mu.Lock()
	if !r.killed { // else it ends already, as somebody wished
		r.failure = errOverdue
	}
	r.mu.Unlock()
	r.kill(defaultGrace)
}

// finish sends the terminal update.
func (r *running) finish(err error) {
	e := r.executor
	r.mu.Lock()
	var reason *mesos.TaskStatus_Reason
	state, text := mesos.TASK_FINISHED, ""
	switch {
	case r.failure != nil:
		state, text = mesos.TASK_FAILED, r.failure.Error()
		if r.failure == errOverdue {
			reason = mesos.REASON_MAX_COMPLETION_TIME_REACHED.Enum()
		}
	case r.killed:
		state = mesos.TASK_KILLED
	case err != nil:
		state = mesos.TASK_FAILED
	}
	if err != nil {
		if text != "" {
			text += "; "
		}
		text += err.Error()
	}
	status := e.status(r.id(), state, reason, text)
	r.terminal = &status
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	e.log.Info("task ended", "task", r.id(), "state", state.String(), "message", status.GetMessage())
	e.driver.Update(status)
	e.driver.Finish(e.lastAcks())
}

// ended is the terminal status, nil before.
func (r *running) ended() *mesos.TaskStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.terminal
}

// killRequested handles KILL. The terminal status is returned if there is one.
func (r *running) killRequested(grace time.Duration, sendKilling bool) *mesos.TaskStatus {
	r.mu.Lock()
	if r.terminal != nil {
		defer r.mu.Unlock()
		return r.terminal
	}
	r.killed = true
	tell := sendKilling && !r.killing
	r.killing = true
	if tell {
		r.executor.driver.Update(r.executor.status(r.id(), mesos.TASK_KILLING, nil, ""))
	}
	r.mu.Unlock()
	r.kill(grace)
	return nil
}

// stop ends the task with the executor. cause nil: it counts as killed.
func (r *running) stop(cause error, grace time.Duration) {
	r.mu.Lock()
	if cause == nil {
		r.killed = true
	} else if r.failure == nil && !r.killed {
		r.failure = cause
	}
	r.mu.Unlock()
	r.kill(grace)
}

// kill ends the task; after grace it is given up. A later kill may shorten the
// grace, never lengthen it.
func (r *running) kill(grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	deadline := time.Now().Add(grace)
	switch {
	case r.terminal != nil:
	case r.timer == nil:
		r.deadline = deadline
		r.timer = time.AfterFunc(grace, func() { close(r.giveUp) })
	case deadline.Before(r.deadline) && r.timer.Stop():
		r.deadline = deadline
		r.timer.Reset(grace)
	}
	r.cancel()
}

// receive hands a message to the task. fresh: the scheduler was restarted and has
// taken nothing of what was sent before in its new session.
func (r *running) receive(m *message.ToExecutor, fresh bool) {
	r.mu.Lock()
	t := r.task
	if t == nil && len(r.early) < maxEarly {
		r.early = append(r.early, m)
	}
	r.mu.Unlock()
	if t != nil {
		if fresh {
			t.Restarted()
		}
		t.Receive(m)
		if fresh {
			r.sendHello()
		}
		r.wantReport()
	}
}

// resubscribed is called after a subscription.
func (r *running) resubscribed() { r.wantReport() }

func (r *running) wantReport() {
	select {
	case r.report <- struct{}{}:
	default:
	}
}

// send queues a message to the scheduler.
func (r *running) send(key string, m *message.ToScheduler) {
	if hello := m.GetHello(); hello != nil {
		r.mu.Lock()
		hello.ExecutorDigest = r.digest
		r.mu.Unlock()
	}
	data, err := r.link.seal(m)
	if err != nil {
		r.executor.log.Error("message to the scheduler cannot be encoded", "error", err)
		return
	}
	r.executor.driver.Send(key, data)
}

func (r *running) sendHello() {
	hello := &message.Hello{}
	r.task.Hello(hello)
	r.send("hello", &message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: hello}})
}

// reportLoop sends reports, ± 20 % around the interval: executors that were
// launched together must not all speak at once.
func (r *running) reportLoop() {
	interval := time.Duration(r.spec.ReportIntervalMs) * time.Millisecond
	if interval == 0 {
		interval = defaultReportInterval
	}
	interval = min(max(interval, minReportInterval), time.Hour)
	pause := func() time.Duration {
		return time.Duration((0.8 + 0.4*r.executor.options.Rand()) * float64(interval))
	}
	// The first one comes early: somebody waits for it.
	timer := time.NewTimer(min(pause(), time.Second))
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-r.ctx.Done():
			r.sendReport() // the last one: totals
			return
		case <-timer.C:
		case <-r.report:
			// Wanted now, but not more than one a second.
			if wait := time.Second - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		}
		last = time.Now()
		r.sendReport()
		timer.Reset(pause())
	}
}

func (r *running) sendReport() {
	r.sequence++
	report := &message.Report{
		Sequence:       r.sequence,
		UptimeMs:       uint64(time.Since(r.started).Milliseconds()),
		ExecutorDigest: r.digest,
	}
	r.task.Report(report)
	redact := r.executor.options.Redact
	if m := report.GetMiner(); m != nil {
		m.Error = redact(m.Error)
	}
	if p := report.GetProxy(); p != nil {
		p.Error = redact(p.Error)
	}
	r.send("report", &message.ToScheduler{Event: &message.ToScheduler_Report{Report: report}})
}
