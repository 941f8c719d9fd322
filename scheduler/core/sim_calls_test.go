package core

import (
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// What the judge holds a scheduler to, in numbers of its own: those of the core may be
// the fault.
const (
	judgeLaunch      = 5 * time.Minute
	judgeSilent      = 10 * time.Minute
	judgeKill        = 3 * time.Second  // between two KILLs of a task
	judgeRoom        = 3 * time.Second  // for offers to come, before room is made
	judgeAsk         = 90 * time.Second // between two questions
	judgeSight       = 45 * time.Second // that a proxy may be out of sight
	judgeOffer       = 10 * time.Second
	judgeEvacuation  = 30 * time.Second
	judgeMaintenance = 10 * time.Minute
	judgeStale       = 5 * time.Minute
	judgeUnknown     = 15 * time.Minute
	judgeAway        = 14 * 24 * time.Hour
	judgeAwayKilled  = 65 * time.Minute
	judgeUpgrade     = 20 // one in
	judgeFlight      = 400
	judgePace        = 15 * time.Second // that a launch may take
	judgePaceLeast   = 4
	// For how long an agent is left alone after a miner was preempted there, several tasks
	// failed, or an operator killed one.
	judgePreempted = 90 * time.Second
	judgeFailing   = 6 * time.Second
	judgeOperator  = 7 * time.Minute
	judgeMove      = 2 * time.Second // that miners have at least to move to another proxy
	judgeMoveMost  = 55 * time.Second
	judgeSecond    = 150 * time.Second
	judgeDrain     = 110 * time.Second // that a proxy is given on an agent that is drained
	judgeDrainMost = 150 * time.Second
)

// ledger is what the scheduler was told and what it asked for since, so far as one
// follows from the other. Times are those of watch.connected.
type ledger struct {
	subscribed time.Time
	valid      map[string]*mesos.Offer  // offers that may be answered, by id
	heard      map[string]bool          // tasks of before this subscription: whether Mesos spoke of them
	spoke      map[string]time.Duration // when it last did, or was asked
	hints      map[string]time.Duration // tasks that may have ended, as a hint says
	over       map[string]bool          // tasks that ended, as Mesos says
	ended      map[string]bool          // the same, even if it said another thing afterwards
	rest       map[string]time.Duration // of the core's clock: nothing is launched on an agent before
	failures   map[string][]time.Duration
	known      map[string]lastSeen  // tasks of the core at the last tick
	lists      map[string]sentList  // by task
	killed     map[string]sentKill  // by task
	used       map[string]time.Time // proxies that are out of sight
	declines   map[string]int       // by agent, since
	declined   map[string]int       // by agent, in all
	since      time.Time
	revives    []time.Time
	gaveWork   time.Duration // when a proxy last gave work
	pace       pacing
}

// pacing is how many launches may be on their way, before an event that tells how long one
// took; took 0: it is another event.
type pacing struct {
	window int
	took   time.Duration
	slowed time.Duration // of the core's clock: it was slowed, and is to be no more before
	seen   int           // after the last event
	shrunk time.Duration // when it last was slowed, for whatever
}

type lastSeen struct {
	state  string
	kill   Why
	since  time.Duration // in that state
	wall   time.Time
	killed time.Duration
}

type sentKill struct {
	session uint64
	at      time.Time
}

type sentList struct {
	epoch uint64
	at    time.Time
}

// begin is called when a process of the scheduler begins.
func (l *ledger) begin(h *harness) {
	*l = ledger{
		valid: make(map[string]*mesos.Offer), heard: make(map[string]bool), spoke: make(map[string]time.Duration),
		hints: make(map[string]time.Duration), over: make(map[string]bool), ended: make(map[string]bool), rest: make(map[string]time.Duration), failures: make(map[string][]time.Duration),
		pace: pacing{shrunk: -time.Hour}, known: make(map[string]lastSeen), lists: make(map[string]sentList), killed: make(map[string]sentKill), used: make(map[string]time.Time), declines: make(map[string]int), declined: make(map[string]int),
		since: h.awake(), gaveWork: h.watch.connected,
	}
}

// before looks at an event that the core is about to take in.
func (l *ledger) before(h *harness, e Event) {
	u, ok := e.(Update)
	if !ok {
		return
	}
	t := h.core.state.Tasks[u.Status.TaskID.Value]
	if t != nil && t.run.fresh && progress(t.State) < progress(stateRunning) && !away(t.State) && u.Status.GetState() == mesos.TASK_RUNNING && t.AgentID == u.Status.AgentID.GetValue() {
		l.pace.window, l.pace.took = h.core.pace.window, max(1, h.core.clock-t.run.begun)
	}
	if t == nil || t.Kill != "" || t.AgentID != u.Status.AgentID.GetValue() {
		return
	}
	l.blame(h, t, u.Status.GetState(), u.Status.GetReason())
}

// blame notes for how long an agent is to be left alone, at least, since a task ends there.
func (l *ledger) blame(h *harness, t *Task, state mesos.TaskState, reason mesos.TaskStatus_Reason) {
	a, now := t.AgentID, h.core.clock
	leave := func(d time.Duration) { l.rest[a] = max(l.rest[a], now+d) }
	switch {
	case reason == mesos.REASON_CONTAINER_PREEMPTED:
		leave(judgePreempted)
	case state == mesos.TASK_FAILED && (reason == mesos.REASON_EXECUTOR_TERMINATED || reason == mesos.REASON_CONTAINER_LAUNCH_FAILED):
		leave(time.Second)
		all := append(l.failures[a], now)
		if l.failures[a] = all; len(all) >= 4 && now-all[len(all)-4] < 2*time.Minute {
			leave(judgeFailing)
		}
	case state == mesos.TASK_DROPPED && reason == mesos.REASON_EXECUTOR_TERMINATED:
		leave(time.Second)
	}
}

// took looks at what the core made of an event.
func (l *ledger) took(h *harness, e Event, actions []Action) {
	now := h.watch.connected
	h.watch.heard(h, e)
	switch e := e.(type) {
	case Subscribed:
		l.subscribed = h.awake()
		clear(l.valid)
		clear(l.heard)
		for id := range h.core.state.Tasks {
			l.heard[id], l.spoke[id] = false, now
		}
	case Disconnected:
		clear(l.valid)
	case Offers:
		for i := range e.Offers {
			l.valid[e.Offers[i].ID.Value] = &e.Offers[i]
		}
	case Rescind:
		delete(l.valid, e.OfferID)
	case Update:
		l.update(h, &e.Status, actions)
	case Failure:
		for _, t := range h.core.tasks {
			if t.AgentID == e.AgentID && (e.ExecutorID == "" || e.ExecutorID == t.ID) {
				l.hint(t.ID, now)
			}
		}
	case Refused:
		for _, id := range e.Tasks {
			t := h.core.state.Tasks[id]
			switch {
			case t == nil:
				l.ended[id] = true
			case t.State != stateStaging || int(e.Session) != h.session:
			case e.Unsure:
				l.hint(id, now)
			default:
				h.fail("the launch of %s was refused, and it counts as %s", id, t.State)
			}
		}
	case Operate:
		clear(l.rest)
		if t := h.core.state.Tasks[e.Kill]; t != nil && e.Result.Refused == "" {
			l.rest[t.AgentID] = h.core.clock + judgeOperator
		}
	}
	l.checkPace(h)
	for _, a := range actions {
		if c, ok := a.(Call); ok {
			l.call(h, c)
		}
	}
}

func (l *ledger) hint(id string, now time.Duration) {
	if _, ok := l.hints[id]; !ok {
		l.hints[id] = now
	}
}

func (l *ledger) update(h *harness, s *mesos.TaskStatus, actions []Action) {
	id := s.TaskID.Value
	if len(s.UUID) > 0 && !slices.ContainsFunc(actions, func(a Action) bool {
		c, ok := a.(Call)
		return ok && c.Acknowledge != nil && string(c.Acknowledge.UUID) == string(s.UUID)
	}) {
		h.fail("an update of %s is not acknowledged", id)
	}
	if x := h.task(id); x != nil && x.agent.id != s.AgentID.GetValue() {
		return // a lie
	}
	l.heard[id], l.spoke[id] = true, h.watch.connected
	delete(l.hints, id)
	if state := s.GetState().String(); terminal(state) || away(state) {
		delete(l.killed, id) // if it comes back, it is killed anew
	}
	if terminal(s.GetState().String()) {
		l.over[id], l.ended[id] = true, true
	} else {
		delete(l.over, id)
	}
}

func (l *ledger) call(h *harness, c Call) {
	switch c.Type {
	case scheduler.Call_ACCEPT:
		for _, o := range c.Accept.OfferIDs {
			l.accept(h, o.Value, c.Accept)
		}
	case scheduler.Call_DECLINE:
		for _, o := range c.Decline.OfferIDs {
			offer := l.valid[o.Value]
			if offer == nil {
				h.fail("offer %s is declined, and it is none any more", o.Value)
				return
			}
			delete(l.valid, o.Value)
			l.decline(h, offer.AgentID.Value)
		}
	case scheduler.Call_KILL:
		if id := c.Kill.TaskID.Value; l.over[id] {
			h.fail("KILL of %s, which has ended, as Mesos said", id)
		}
		l.checkKillPause(h, c.Kill.TaskID.Value, c.Session)
	case scheduler.Call_ACKNOWLEDGE:
		if len(c.Acknowledge.UUID) == 0 {
			h.fail("an update of %s without a number is acknowledged", c.Acknowledge.TaskID.Value)
		}
	case scheduler.Call_RECONCILE:
		for _, q := range c.Reconcile.Tasks {
			l.spoke[q.TaskID.Value] = h.watch.connected
			delete(l.hints, q.TaskID.Value)
		}
	case scheduler.Call_REVIVE:
		l.revives = append(l.revives, h.awake())
		if n := len(l.revives); n > 8 && h.awake().Sub(l.revives[n-8]) < 10*time.Second {
			h.fail("offers were revived 8 times in %v", h.awake().Sub(l.revives[n-8]))
		}
	}
}

func (l *ledger) accept(h *harness, id string, accept *scheduler.Call_Accept) {
	offer := l.valid[id]
	if offer == nil {
		h.fail("offer %s is accepted, and it is none any more", id)
		return
	}
	delete(l.valid, id)
	agent := offer.AgentID.Value
	if u := offer.Unavailability; u != nil && !h.skewed && time.Unix(0, u.Start.Nanoseconds).Sub(h.now) < judgeMaintenance-time.Minute {
		h.fail("tasks are launched on %s, which goes into maintenance", agent)
	}
	if early := l.rest[agent] - h.core.clock; early > 0 {
		h.fail("tasks are launched on %s, which is to be left alone for %v", agent, early)
	}
	for _, op := range accept.Operations {
		for _, info := range op.Launch.TaskInfos {
			t := h.core.state.Tasks[info.TaskID.Value]
			if t != nil && t.Kind == KindMiner && h.core.sums.flight > h.core.pace.window {
				h.fail("%s is launched as one of %d on their way", t.ID, h.core.sums.flight)
			}
			l.spoke[info.TaskID.Value] = h.watch.connected
		}
	}
	if h.awake().Sub(l.subscribed) < 8*time.Second {
		for _, id := range sortedKeysOf(l.heard) {
			if !l.heard[id] && h.core.state.Tasks[id] != nil {
				h.fail("tasks are launched %v after a subscription, and nothing was heard of %s yet", h.awake().Sub(l.subscribed), id)
				return
			}
		}
	}
}

// checkPace makes sure that there are more launches on their way the next time when one was
// quick, and fewer when it took long, once for those that were launched at that time.
func (l *ledger) checkPace(h *harness) {
	p, is := &l.pace, h.core.pace.window
	switch {
	case p.took == 0:
	case p.took < judgePace-longestStep-time.Second: // the clock is that of the event before
		if is <= p.window && p.window < judgeFlight {
			h.fail("a launch took %v, and %d may be on their way as before", p.took, is)
		}
	case p.took > judgePace+2*time.Second:
		slower := is < p.window
		switch {
		case slower && h.core.clock < p.slowed-2*time.Second:
			h.fail("launches are slowed again, to %d, for one that was launched before", is)
		case !slower && h.core.clock > p.slowed+2*time.Second && h.core.clock-p.shrunk > 6*time.Minute && p.window > judgePaceLeast:
			h.fail("a launch took %v, and %d may be on their way still", p.took, is)
		case slower:
			p.slowed = h.core.clock + p.took
		}
	}
	if is < p.seen {
		p.shrunk = h.core.clock
	}
	p.seen, p.took = is, 0
}

// decline bounds how often an agent comes back.
func (l *ledger) decline(h *harness, agent string) {
	if h.awake().Sub(l.since) > time.Minute {
		l.since = h.awake()
		clear(l.declines)
	}
	most := 40
	if h.master.agents[agent].splits {
		most = 150
	}
	l.declined[agent]++
	if l.declines[agent]++; l.declines[agent] > most {
		h.fail("%d offers of %s are declined in %v", l.declines[agent], agent, h.awake().Sub(l.since))
	}
}

// tick looks for what did not happen. up says that there is a subscription.
func (l *ledger) tick(h *harness, up bool) {
	w := &h.watch
	content := h.core.paused() || !slices.ContainsFunc(h.core.tasks, func(t *Task) bool { return t.Kind == KindMiner && t.State == stateRunning && t.Kill == "" })
	for _, e := range h.proxyAt {
		content = content || e.serves()
	}
	if content { // or nobody waits for work, and tells that there is none
		l.gaveWork = w.connected
	}
	quiet := up && h.slow == 0 && !w.since.IsZero() && h.awake().Sub(w.late) > 30*time.Second
	for id, at := range l.hints {
		switch {
		case h.core.state.Tasks[id] == nil:
			delete(l.hints, id)
		case quiet && w.connected-at > 12*time.Second:
			h.fail("%s may have ended %v ago, and Mesos is not asked", id, w.connected-at)
		}
	}
	for id, was := range l.known {
		if t := h.core.state.Tasks[id]; t == nil {
			delete(l.known, id)
			if !l.ended[id] {
				l.checkGivenUp(h, id, was)
			}
		} else if t.State != was.state || t.Kill != was.kill {
			delete(l.known, id)
		}
	}
	for _, t := range h.core.tasks {
		was, ok := l.known[t.ID]
		if !ok {
			was = lastSeen{t.State, t.Kill, w.connected, h.now, w.connected}
			l.known[t.ID] = was
		}
		if t.State == stateUnknown && w.connected-was.since > judgeUnknown+2*time.Minute {
			h.fail("%s is unknown to Mesos for %v", t.ID, w.connected-was.since)
		}
		if t.State == stateUnreachable && h.now.Sub(was.wall) > judgeAway+2*time.Hour && w.connected-was.since > 70*time.Minute && !h.skewed {
			h.fail("%s is out of reach for %v", t.ID, h.now.Sub(was.wall))
		}
		if away(t.State) && t.Kill != "" && w.connected-max(was.since, was.killed) > judgeAwayKilled {
			h.fail("%s is to end, and out of reach for %v", t.ID, w.connected-was.since)
		}
		if heard, ok := l.heard[t.ID]; quiet && ok && !heard && w.connected-l.spoke[t.ID] > judgeAsk {
			h.fail("nothing is heard of %s since the subscription, and Mesos was asked %v ago", t.ID, w.connected-l.spoke[t.ID])
		}
		if t.Kind == KindProxy && t.State == stateUnreachable {
			l.checkSight(h, t, w.connected-was.since)
		}
		if t.Kill != "" || !quiet {
			continue
		}
		if progress(t.State) > 0 && progress(t.State) < progress(stateRunning) && w.connected-l.spoke[t.ID] > 50*time.Second {
			h.fail("nothing is heard of %s for %v, and Mesos is not asked", t.ID, w.connected-l.spoke[t.ID])
		}
		if x := h.task(t.ID); t.Kind == KindMiner && t.State == stateRunning && x != nil && !x.executor.hung && w.connected-max(l.gaveWork, was.since) > h.grace+4*time.Minute && h.awake().Sub(w.since) > 4*time.Minute {
			h.fail("%s waits for a proxy for %v", t.ID, w.connected-l.gaveWork)
		}
		l.checkEvacuated(h, t)
		l.checkDrained(h, t)
	}
}

// checkGivenUp judges the end of a task that Mesos did not tell of.
func (l *ledger) checkGivenUp(h *harness, id string, was lastSeen) {
	switch {
	case was.kill != "" && away(was.state), was.state == stateUnknown && h.watch.connected-was.since > judgeUnknown-time.Minute,
		was.state == stateUnreachable && (h.now.Sub(was.wall) > judgeAway-time.Hour || h.skewed):
	default:
		h.fail("%s, which is %s for %v, is forgotten", id, was.state, h.now.Sub(was.wall))
	}
}

// checkEvacuated makes sure that nothing is on an agent when its maintenance begins.
func (l *ledger) checkEvacuated(h *harness, t *Task) {
	a := h.master.agents[t.AgentID]
	asked, ok := h.watch.asked[t.AgentID]
	first := h.watch.askedFirst[t.AgentID]
	if a == nil || a.down.IsZero() || h.skewed || !ok || a.cut || !a.known || away(t.State) {
		return
	}
	if left := a.down.Sub(h.now); left < judgeEvacuation-10*time.Second && h.awake().Sub(first) > 15*time.Second &&
		h.awake().Sub(asked) < judgeStale-time.Minute && h.awake().Sub(h.watch.since) > 30*time.Second && h.awake().Sub(h.watch.restarted) > 70*time.Second {
		h.fail("%s is wanted on %s, whose maintenance begins in %v", t.ID, a.id, left)
	}
}

// checkDrained makes sure that nothing stays on an agent that an operator drains.
func (l *ledger) checkDrained(h *harness, t *Task) {
	if _, drained := h.core.state.Operator.Drained[t.AgentID]; !drained {
		return
	}
	for _, since := range []time.Time{h.watch.drained[t.AgentID], h.watch.since, h.watch.restarted} {
		if h.awake().Sub(since) < judgeDrainMost {
			return
		}
	}
	h.fail("%s is wanted on %s, which an operator drains for %v", t.ID, t.AgentID, h.awake().Sub(h.watch.drained[t.AgentID]))
}

// checkListPause makes sure that a miner is given time to take a list in.
func (l *ledger) checkListPause(h *harness, id string, epoch uint64) {
	last := l.lists[id]
	if x := h.task(id); last.epoch == epoch && h.awake().Sub(last.at) < 2*time.Second &&
		(x == nil || x.agent.backAt.IsZero() || h.awake().Sub(x.agent.backAt) > 5*time.Second) {
		h.fail("list %d is sent to %s again after %v", epoch, id, h.awake().Sub(last.at))
	}
	l.lists[id] = sentList{epoch, h.awake()}
}

// checkKillPause makes sure that a task is given time to end.
func (l *ledger) checkKillPause(h *harness, id string, session uint64) {
	last, again := l.killed[id]
	if pause := h.awake().Sub(last.at); again && last.session == session && pause < judgeKill {
		h.fail("KILL of %s again after %v", id, pause)
	}
	l.killed[id] = sentKill{session, h.awake()}
}

// checkSight makes sure that a proxy that is out of sight, and of no use to anybody, has a
// successor, or is to have one.
func (l *ledger) checkSight(h *harness, t *Task, out time.Duration) {
	x := h.task(t.ID)
	if x == nil || x.executor.connections() > 0 {
		l.used[t.ID] = h.awake()
	}
	for _, since := range []time.Time{l.used[t.ID], h.watch.since, h.watch.late} {
		if h.awake().Sub(since) < judgeSight {
			return
		}
	}
	if t.Kill == "" && out > judgeSight && !h.watch.since.IsZero() && !h.inReserve(t) {
		h.fail("%s is out of sight for %v, nobody uses it, and no other one is wanted", t.ID, out)
	}
}
