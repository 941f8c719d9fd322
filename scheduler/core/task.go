package core

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"
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

const (
	// launchPatience is how long a launched task may be silent before Mesos is asked
	// what became of it (a launch can vanish without an update), launchLimit how long
	// it may take to run before it is given up.
	launchPatience = 20 * time.Second
	launchLimit    = 5 * time.Minute
	// provedAfter is how long a task has to run to count as one that can, if it does
	// not report.
	provedAfter = time.Minute
	// unknownLife is how long a task on an agent that nobody knows is waited for:
	// after a master failover agents have 10 minutes to return.
	unknownLife = 15 * time.Minute
	// endingLimit is how long a task may take to end that somebody else ends, such as a
	// drain of its agent.
	endingLimit = time.Minute
	// awayLife is how long a task that is cut off is remembered by the wall clock,
	// and at least on our own; what was to end anyway is forgotten after awayLeast.
	awayLife  = 14 * 24 * time.Hour
	awayLeast = time.Hour
	// fetchPause is the time between two complaints that agents cannot fetch the executor.
	fetchPause = time.Minute
)

// run is what is known of a task only as long as this process lives. Times are on the
// core's clock.
type run struct {
	index   int // in Core.tasks; -1: the task is over
	agent   *agent
	begun   time.Duration // when it was launched, or taken over from the state
	since   time.Duration // when its state was entered
	heard   time.Duration // when Mesos last spoke of it
	message string        // of its latest status
	killing *killing
	asked   question
	// reportRound is the subscription that the report came on: on the one before, it may
	// have been true.
	reportRound int32
	walked      uint32 // the last Walk that saw it

	touched bool // Changes is to tell of it
	placed  bool // of miners: it is counted where it is, see countPlace
	proved  bool // it does its work, or at least lives on
	old     bool // the rollout is to replace it
	fresh   bool // it was launched by this process
	packed  bool // its agent was to fetch the archive

	listQueued bool // of miners: it is in listQueue.due

	ready  bool // of proxies
	served bool // of proxies: it once did
	listed bool // of proxies: miners are told of it
	given  bool // of proxies: given up, as nobody hears of them

	digest   string
	report   *Report
	reportAt time.Duration // never: none
	sequence uint64
	peer     *peer // nil: not needed yet

	unready      time.Duration // of proxies: since when they report no work
	toldError    string        // of proxies: why there is no work, as last told
	secretsAt    time.Duration // of proxies: when they may ask for secrets again
	secretsEpoch uint64        // of proxies: that of the newest secrets that they have

	knownEpoch uint64        // of miners: newest proxy list that they have
	listAt     time.Duration // last proxy list sent
	listEpoch  uint64        // its epoch
	listSends  int           // of it
}

// tally sums up the tasks.
type tally struct {
	miners int // that are wanted
	live   int // of these, not away
	flight int // of these, launched and not heard of as running
	good   int // agents that run some
	// cpus, in thousandths, of those that are live.
	cpus int64
	// old are miners that run and are to be replaced by the rollout.
	old int
}

// count enters a task into the sums (n = 1) or takes it out (n = -1). Whoever changes
// what it looks at takes the task out before and enters it after.
func (c *Core) count(t *Task, n int) {
	if n > 0 { // else it is about to be entered again
		c.countPlace(t, true)
	}
	if t.Kind != KindMiner || t.Kill != "" {
		return
	}
	a := t.run.agent
	c.sums.miners += n
	if !away(t.State) {
		c.sums.live += n
		c.sums.cpus += int64(n) * t.CPUs
		a.cpus += int64(n) * t.CPUs
		if progress(t.State) < progress(stateRunning) {
			c.sums.flight += n
		}
	}
	if t.State != stateRunning {
		return
	}
	if t.run.old {
		c.sums.old += n
	}
	if a.mining += n; a.mining == max(0, n) {
		c.sums.good += n
	}
}

// newTask returns one that lies beside its run: whoever looks at one looks at the other.
func newTask() *Task {
	both := new(struct {
		task Task
		run  run
	})
	both.task.run = &both.run
	return &both.task
}

// adopt gives a task of the state its place in the indexes.
func (c *Core) adopt(t *Task, a *agent) {
	t.AgentID = a.id // the same text, kept once
	if t.run == nil {
		t.run = new(run)
	}
	*t.run = run{index: len(c.tasks), agent: a, begun: c.clock, heard: c.clock, since: c.clock, reportAt: never, unready: never}
	if a.place == nil && t.Place != nil && len(c.places.fields) > 0 {
		c.setPlace(a, t.Place)
	}
	c.tasks = append(c.tasks, t)
	c.digests[t.Digest]++
	a.tasks = append(a.tasks, t)
	c.count(t, 1)
	if t.Kind == KindProxy {
		c.shards[t.Shard]++
	}
	switch {
	case away(t.State):
		c.watchAway(t)
	case progress(t.State) < progress(stateRunning):
		c.watchLaunch(t)
	case t.State == stateKilling:
		c.watchEnding(t)
	}
	if t.Kill != "" {
		c.startKill(t)
	}
}

// remove forgets a task.
func (c *Core) remove(t *Task) {
	r := t.run
	c.retire(t)
	c.count(t, -1)
	c.countPlace(t, false)
	c.heard(t)
	c.endKill(r.killing)
	last := c.tasks[len(c.tasks)-1]
	c.tasks[r.index] = last
	last.run.index = r.index
	c.tasks[len(c.tasks)-1] = nil
	c.tasks = c.tasks[:len(c.tasks)-1]
	r.index = -1
	r.agent.tasks = slices.DeleteFunc(r.agent.tasks, func(x *Task) bool { return x == t })
	delete(c.state.Tasks, t.ID)
	c.changed(t)
	if c.digests[t.Digest]--; c.digests[t.Digest] == 0 {
		delete(c.digests, t.Digest)
	}
	c.hosts.count(r.report, -1)
	r.report, r.peer = nil, nil // alarms of it may be set for long
	if t.Kind == KindProxy {
		c.shards[t.Shard]--
		c.leaveSlot(t)
		c.askSooner()
	} else if t.KeyEpoch < c.state.KeyEpoch {
		c.former--
	}
}

// changed notes that a task is not as it was: it must be stored before anything
// follows from it.
func (c *Core) changed(t *Task) {
	c.dirty = true
	c.touched.task(t)
}

// update takes in the status of a task. Every status with a uuid is acknowledged,
// whether it says anything new or not; Step puts what changed on disk before.
func (c *Core) update(s mesos.TaskStatus) {
	c.counters.Updates++
	c.takeStatus(&s)
	if len(s.UUID) > 0 && s.AgentID != nil {
		c.counters.Acknowledged++
		c.call(calls.Acknowledge(s.AgentID.Value, s.TaskID.Value, s.UUID))
	}
}

func (c *Core) takeStatus(s *mesos.TaskStatus) {
	state := s.GetState().String()
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
	c.heard(t)
	r := t.run
	r.message = limit(s.GetMessage(), 300)
	switch {
	case terminal(state):
		c.end(t, state, s)
	case away(state):
		if t.State != state {
			c.setState(t, state)
			r.ready = false
			c.pauseKill(r.killing)
			c.watchAway(t)
		}
	case away(t.State):
		c.setState(t, state)
		c.returned(t)
	case progress(state) > progress(t.State):
		was := t.State
		c.setState(t, state)
		switch {
		case progress(was) < progress(stateRunning) && state == stateRunning:
			c.ran(t)
		case state == stateKilling:
			c.watchEnding(t)
		}
	}
}

func (c *Core) setState(t *Task, state string) {
	c.count(t, -1)
	t.State, t.Since, t.run.since = state, c.now, c.clock
	c.count(t, 1)
	c.changed(t)
	if t.Kind == KindProxy {
		c.slotOf(t).stale = true
	}
	c.tell(TaskChanged{Task: c.view(t)})
}

// ran notes that a launched task came to run.
func (c *Core) ran(t *Task) {
	if t.run.fresh {
		c.pace.took(c.clock-t.run.begun, c.clock, true)
		c.tell(Ran{Kind: t.Kind, Took: c.now.Sub(t.LaunchedAt)})
	}
	if t.Kind == KindMiner && t.run.fresh {
		c.wantList(t)
	}
	c.after(provedAfter, func() {
		if t.State == stateRunning {
			c.prove(t)
		}
	})
}

// prove notes that a task does what it was launched for.
func (c *Core) prove(t *Task) {
	r := t.run
	if r.proved || r.index < 0 || t.State != stateRunning {
		return
	}
	r.proved = true
	if t.Kind == KindProxy {
		c.proxies.reset()
	}
	if r.fresh {
		c.causes.succeeded(c, t)
		c.rolloutProved(t)
	}
}

// returned handles a task whose agent came back. What was replaced meanwhile, or is
// one too many, is killed; a miner on its own agent's cpus is as good as ever.
func (c *Core) returned(t *Task) {
	c.resumeKill(t.run.killing)
	if t.Kill == "" && t.Kind == KindMiner {
		if c.exceeded(t.run.agent) {
			c.kill(t, WhySurplus)
			return
		}
		if c.overcrowded(t) {
			c.kill(t, WhyCrowded)
			return
		}
		if t.run.knownEpoch > 0 {
			c.wantList(t)
		}
	}
	switch {
	case progress(t.State) < progress(stateRunning):
		c.watchLaunch(t)
	case t.State == stateKilling:
		c.watchEnding(t)
	}
}

// end removes a task that is over.
func (c *Core) end(t *Task, state string, s *mesos.TaskStatus) {
	reason := ""
	if s.Reason != nil {
		reason = s.Reason.String()
	}
	e := Ended{
		ID: t.ID, Kind: t.Kind, State: state, Reason: reason, Message: limit(s.GetMessage(), 500),
		AgentID: t.AgentID, Hostname: t.Hostname, At: c.now, Wanted: t.Kill != "",
		FrameworkID: c.state.FrameworkID, Endpoint: endpointOf(t.run.agent.url),
	}
	b := judgeEnd(state, s)
	if t.run.fresh && progress(t.State) < progress(stateRunning) {
		c.pace.took(c.clock-t.run.begun, c.clock, false)
	}
	if t.Kill == "" {
		e.Cause = c.blameEnd(t, b, s)
		if b == blameTask || b == blameRequest {
			c.failedAlike(t, s, e.Cause)
		}
		c.explainFetch(t, s)
	}
	c.remove(t)
	c.ended.add(e)
	c.counters.Ended[state]++
	c.tell(TaskEnded{e})
}

// explainFetch tells an operator what most likely is wrong when an agent could not
// fetch the executor. Mesos says so in the text of a status alone.
func (c *Core) explainFetch(t *Task, s *mesos.TaskStatus) {
	if !fetchFailed(s) || c.clock-c.fetchTold < fetchPause {
		return
	}
	c.fetchTold = c.clock
	c.notice(slog.LevelWarn, "an agent cannot fetch the executor: it must reach this address, see --artifact-advertise",
		"agent", t.Hostname, "executor", c.artifact().URL)
}

func fetchFailed(s *mesos.TaskStatus) bool {
	return s.GetReason() == mesos.REASON_CONTAINER_LAUNCH_FAILED && strings.Contains(s.GetMessage(), "fetch")
}

// failure is a hint that something is wrong with an agent or an executor. It is not
// reliable and says nothing final: Mesos is asked about the tasks.
func (c *Core) failure(e Failure) {
	a := c.agents[e.AgentID]
	if a == nil {
		return
	}
	if e.ExecutorID == "" {
		c.roles.returned(e.AgentID)
	}
	for _, t := range a.tasks {
		if e.ExecutorID == "" || e.ExecutorID == t.ID {
			// Its update is usually just behind.
			c.ask(t, 3*time.Second)
		}
	}
}

// watchLaunch asks about a launch that nothing was heard of, and gives it up when it
// takes too long.
func (c *Core) watchLaunch(t *Task) {
	c.after(launchPatience, func() {
		r := t.run
		if r.index < 0 || t.Kill != "" || away(t.State) || progress(t.State) >= progress(stateRunning) {
			return
		}
		if c.clock-r.since >= launchLimit {
			c.rolloutFailed(t, string(WhyLaunch), true)
			c.kill(t, WhyLaunch)
			return
		}
		c.ask(t, 0)
		c.watchLaunch(t)
	})
}

// watchEnding ends a task that was told to by somebody else and does not: its executor
// hangs, and nobody but us would shut it down.
func (c *Core) watchEnding(t *Task) {
	since := t.run.since
	c.after(endingLimit, func() {
		if r := t.run; r.index >= 0 && r.since == since && t.State == stateKilling {
			c.kill(t, WhyEnding)
		}
	})
}

// watchAway forgets a task that does not come back: for Mesos its agent may be cut
// off for ever. If it does after all, it is killed as one that is not in the state.
func (c *Core) watchAway(t *Task) {
	since, pause := t.run.since, awayLeast
	if t.State == stateUnknown {
		pause = unknownLife
	}
	c.after(pause, func() {
		r := t.run
		if r.index < 0 || r.since != since || !away(t.State) {
			return
		}
		if t.State != stateUnknown && t.Kill == "" && c.now.Sub(t.Since) < awayLife {
			c.watchAway(t)
			return
		}
		lost := mesos.TASK_UNREACHABLE
		c.end(t, stateLost, &mesos.TaskStatus{State: &lost})
	})
}

// sweepRounds is how many ticks it takes to look at every task once.
const sweepRounds = 600

// sweep asks about tasks that Mesos has not spoken of for long, a few at a time.
func (c *Core) sweep() {
	if !c.settled() {
		return
	}
	for range len(c.tasks)/sweepRounds + 1 {
		if len(c.tasks) == 0 {
			return
		}
		c.swept = (c.swept + 1) % len(c.tasks)
		t := c.tasks[c.swept]
		if c.clock-t.run.heard > reconcilePeriod {
			c.ask(t, 0)
		}
		if c.hangs(t) {
			c.kill(t, WhySilent)
			return
		}
	}
}

// silentLife is how long a miner may run without a word.
const silentLife = 10 * time.Minute

// hangs says that a miner runs, by what Mesos says, and has not spoken for long,
// while others do: its process was stopped, or does not work.
func (c *Core) hangs(t *Task) bool {
	r := t.run
	if t.Kind != KindMiner || t.State != stateRunning || t.Kill != "" || c.best() != healthServing {
		return false
	}
	spoke := max(r.since, c.recon.started)
	if r.reportAt != never {
		spoke = max(spoke, r.reportAt)
	}
	return c.clock-spoke > silentLife
}

// sortedKeysOf puts what is in no order into one, so that a history depends on nothing
// but its events.
func sortedKeysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
