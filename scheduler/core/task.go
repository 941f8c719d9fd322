package core

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/scheduler/api"
)

// States of tasks by the names that Mesos gives them.
const (
	stateStaging     = "TASK_STAGING"
	stateStarting    = "TASK_STARTING"
	stateRunning     = "TASK_RUNNING"
	stateKilling     = "TASK_KILLING"
	stateFinished    = "TASK_FINISHED"
	stateFailed      = "TASK_FAILED"
	stateKilled      = "TASK_KILLED"
	stateError       = "TASK_ERROR"
	stateLost        = "TASK_LOST"
	stateDropped     = "TASK_DROPPED"
	stateUnreachable = "TASK_UNREACHABLE"
	stateGone        = "TASK_GONE"
	stateGoneByOp    = "TASK_GONE_BY_OPERATOR"
	stateUnknown     = "TASK_UNKNOWN"
)

// terminal says that a task with this state does not run and never will.
func terminal(state string) bool {
	switch state {
	case stateFinished, stateFailed, stateKilled, stateError, stateLost, stateDropped, stateGone, stateGoneByOp:
		return true
	}
	return false
}

// away says that nobody knows whether the task runs: its agent is cut off.
func away(state string) bool { return state == stateUnreachable || state == stateUnknown }

// progress orders the states of a task that goes its normal way.
func progress(state string) int {
	switch state {
	case stateStaging:
		return 1
	case stateStarting:
		return 2
	case stateRunning:
		return 3
	case stateKilling:
		return 4
	}
	return 0
}

// launchPatience is how long a launched task may be silent before Mesos is asked
// what became of it (a launch can vanish without an update), launchLimit how long it
// may take to run before it is given up.
const (
	launchPatience = 20 * time.Second
	launchLimit    = 5 * time.Minute
	// unknownLife is how long a task on an agent that nobody knows is waited for:
	// after a master failover agents have 10 minutes to return.
	unknownLife = 15 * time.Minute
	// fetchPause is the time between two complaints that agents cannot fetch the executor.
	fetchPause = time.Minute
	// silenceLimit is after how long without any word a proxy is replaced.
	silenceLimit = time.Minute
)

// run is what is known of a task only as long as this process lives.
type run struct {
	message string // of its latest status

	killAt       time.Time // next KILL
	killAttempts int
	askedAt      time.Time // last explicit reconciliation by the watchdog

	digest     string
	reportAt   time.Time
	sequence   uint64
	report     *api.Task // what the report said
	ready      bool      // of proxies
	toldError  string    // of proxies: why there is no work, as last told
	knownEpoch uint64    // of miners: newest proxy list that they have
	listAt     time.Time // last proxy list sent
	listSends  int
	secretsAt  time.Time

	secretsEpoch uint64 // of proxies: newest secrets that they have
	peer         *peer  // nil: not needed yet
}

// endedTask is remembered for status.
type endedTask api.Ended

// update takes in the status of a task. Every status with a uuid is acknowledged,
// whether it says anything new or not; Step puts what changed on disk before.
func (c *Core) update(s mesos.TaskStatus) {
	c.counters.Updates++
	state := s.GetState().String()
	if len(s.UUID) > 0 && s.AgentID != nil {
		defer func() {
			c.counters.Acknowledged++
			c.call(calls.Acknowledge(s.AgentID.Value, s.TaskID.Value, s.UUID))
		}()
	}
	t := c.state.Tasks[s.TaskID.Value]
	if t == nil {
		c.updateOrphan(s, state)
		return
	}
	if s.AgentID != nil && s.AgentID.Value != t.AgentID {
		// An executor may send what it likes, also for tasks that are not its own.
		c.notice(slog.LevelWarn, "status update from an agent that does not have the task",
			"task", t.ID, "agent", s.AgentID.Value, "expected", t.AgentID)
		return
	}
	c.recon.heard(t.ID)
	r := c.runs[t.ID]
	r.message = s.GetMessage()
	switch {
	case terminal(state):
		c.end(t, state, &s)
	case away(state):
		if t.State != state {
			c.setState(t, state)
			r.report, r.ready = nil, false
		}
	case away(t.State):
		c.setState(t, state)
		c.returned(t)
	case progress(state) > progress(t.State):
		was := t.State
		c.setState(t, state)
		if progress(was) < progress(stateRunning) && state == stateRunning {
			c.ran(t)
		}
	}
}

func (c *Core) setState(t *Task, state string) {
	if away(t.State) != away(state) {
		c.changed()
	}
	t.State, t.Since = state, c.now
	c.dirty = true
	c.touched.task(t.ID)
	c.tell(Progress{Type: "task", Task: c.taskStatus(t)})
}

// ran notes that a launch went well.
func (c *Core) ran(t *Task) {
	k := c.kinds[t.Kind]
	k.failures, k.until = 0, time.Time{}
	c.counters.LaunchToRunning = append(c.counters.LaunchToRunning, c.now.Sub(t.LaunchedAt))
}

// returned handles a task whose agent came back. What was replaced meanwhile, or is
// one too many, is killed; a miner on its own agent's cpus is as good as ever.
func (c *Core) returned(t *Task) {
	r := c.runs[t.ID]
	r.killAt, r.killAttempts = time.Time{}, 0
	if t.Kill == "" && t.Kind == KindMiner && c.maxMiners() >= 0 && c.liveMiners() > c.maxMiners() {
		c.kill(t, "it was replaced while its agent was away")
	}
}

// end removes a task that is over.
func (c *Core) end(t *Task, state string, s *mesos.TaskStatus) {
	reason := ""
	if s.Reason != nil {
		reason = s.Reason.String()
	}
	e := api.Ended{
		ID: t.ID, Kind: t.Kind, State: state, Reason: reason, Message: s.GetMessage(),
		AgentID: t.AgentID, Hostname: t.Hostname, At: c.now, Wanted: t.Kill != "",
	}
	c.remove(t)
	c.ended.add(endedTask(e))
	c.counters.Ended[state]++
	c.tell(Progress{Type: "ended", Ended: &e})
	if t.Kill == "" {
		b := judgeEnd(state, s)
		c.blameEnd(t, b)
		if b == blameTask || b == blameRequest {
			c.failedAlike(t, s)
		}
		c.explainFetch(t, s)
	}
}

// explainFetch tells an operator what most likely is wrong when an agent could not
// fetch the executor. Mesos says so in the text of a status alone.
func (c *Core) explainFetch(t *Task, s *mesos.TaskStatus) {
	if s.GetReason() != mesos.REASON_CONTAINER_LAUNCH_FAILED || !strings.Contains(s.GetMessage(), "fetch") ||
		!c.fetchTold.IsZero() && c.now.Sub(c.fetchTold) < fetchPause {
		return
	}
	c.fetchTold = c.now
	c.notice(slog.LevelWarn, "an agent cannot fetch the executor: it must reach this address, see --artifact-advertise",
		"agent", t.Hostname, "executor", c.set.ArtifactURL)
}

func (c *Core) remove(t *Task) {
	c.retire(t)
	delete(c.state.Tasks, t.ID)
	c.touched.task(t.ID)
	delete(c.runs, t.ID)
	c.recon.heard(t.ID)
	c.changed()
}

// orphan is a task that Mesos has and we do not know: it is killed. That is safe
// because a Core never works without its complete state.
type orphan struct {
	agentID, executorID string
	at                  time.Time
	attempts            int
}

const mostOrphans = 10000

func (c *Core) updateOrphan(s mesos.TaskStatus, state string) {
	id := s.TaskID.Value
	if terminal(state) || away(state) {
		delete(c.orphans, id)
		return
	}
	if s.AgentID == nil || len(c.orphans) >= mostOrphans || c.orphans[id] != nil {
		return
	}
	c.counters.Orphans++
	o := &orphan{agentID: s.AgentID.Value, executorID: id}
	if s.ExecutorID != nil {
		o.executorID = s.ExecutorID.Value
	}
	c.orphans[id] = o
	c.notice(slog.LevelWarn, "killing a task that is not in the state", "task", id, "state", state, "agent", o.agentID)
}

// failure is a hint that something is wrong with an agent or an executor. It is not
// reliable and says nothing final: Mesos is asked about the tasks.
func (c *Core) failure(e Failure) {
	for _, id := range c.taskIDs() {
		t := c.state.Tasks[id]
		if t.AgentID == e.AgentID && (e.ExecutorID == "" || e.ExecutorID == id) {
			// Its update is usually just behind.
			c.recon.ask(id, c.now.Add(3*time.Second))
		}
	}
}

// watchLaunches asks about launches that nothing was heard of, gives up those that
// take too long, and forgets tasks whose agents are gone for good.
func (c *Core) watchLaunches() {
	for _, id := range c.taskIDs() {
		t, r := c.state.Tasks[id], c.runs[id]
		age := c.now.Sub(t.Since)
		switch {
		case t.Kind == KindProxy && t.Kill == "" && t.State == stateRunning && c.silent(id):
			c.kill(t, "neither it nor Mesos has told of it for "+silenceLimit.String())
		case t.State == stateUnknown && age > unknownLife:
			unknown := mesos.TASK_UNKNOWN
			c.end(t, stateLost, &mesos.TaskStatus{State: &unknown})
		case progress(t.State) < progress(stateRunning) && !away(t.State):
			if age > launchLimit && t.Kill == "" {
				c.kill(t, "it did not come to run in "+launchLimit.String())
			} else if age > launchPatience && c.now.Sub(r.askedAt) > launchPatience {
				r.askedAt = c.now
				c.recon.ask(id, c.now)
			}
		}
	}
}

// silent says that nothing is known of a running task any more: Mesos does not
// answer for it, as a new master does for agents that do not come back to it (for 10
// minutes, by default), and its own reports do not arrive either.
func (c *Core) silent(id string) bool {
	q := c.recon.pending[id]
	return q != nil && q.attempts > 1 && c.settled() && c.now.Sub(c.recon.started) > silenceLimit &&
		c.now.Sub(q.since) > silenceLimit && c.now.Sub(c.runs[id].reportAt) > silenceLimit
}

// forget drops what is of no use any more from memory.
func (c *Core) forget() {
	for id, a := range c.agents {
		if c.now.Sub(a.seen) > time.Hour && c.now.After(a.until) {
			delete(c.agents, id)
		}
	}
	for k, b := range c.blocks {
		if c.now.Sub(b.at) > assemblyLife {
			delete(c.blocks, k)
		}
	}
}

// tally sums up the tasks. It is made anew after tasks changed, because most events
// change none and there may be thousands.
type tally struct {
	proxy    *Task    // the one that is wanted, whatever its state; nil: there is none
	miners   int      // that are wanted
	live     int      // of these, not away
	unwanted []string // ids of tasks that are to end, sorted
}

func (c *Core) tally() *tally {
	if c.sums != nil {
		return c.sums
	}
	s := new(tally)
	for _, t := range c.state.Tasks {
		s.add(t)
	}
	slices.Sort(s.unwanted)
	c.sums = s
	return s
}

func (s *tally) add(t *Task) {
	switch {
	case t.Kill != "":
		s.unwanted = append(s.unwanted, t.ID)
	case t.Kind == KindMiner:
		s.miners++
		if !away(t.State) {
			s.live++
		}
	case s.proxy == nil || t.Epoch > s.proxy.Epoch:
		s.proxy = t
	}
}

// changed notes that tasks are not as they were: they must be stored before anything
// follows from it.
func (c *Core) changed() { c.dirty, c.sums = true, nil }

func (c *Core) liveMiners() int { return c.tally().live }

func reversed(hash []byte) []byte {
	b := bytes.Clone(hash)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return b
}

// ring keeps the newest entries.
type ring[T any] struct {
	entries []T
	next    int
}

func newRing[T any](size int) ring[T] { return ring[T]{entries: make([]T, 0, size)} }

func (r *ring[T]) add(v T) {
	if len(r.entries) < cap(r.entries) {
		r.entries = append(r.entries, v)
		return
	}
	r.entries[r.next] = v
	r.next = (r.next + 1) % len(r.entries)
}

// newest returns the entries, newest first.
func (r *ring[T]) newest() []T {
	out := make([]T, 0, len(r.entries))
	for i := range r.entries {
		out = append(out, r.entries[(r.next+len(r.entries)-1-i)%len(r.entries)])
	}
	return out
}
