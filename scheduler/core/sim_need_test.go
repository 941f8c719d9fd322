package core

import (
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// watch is what the judge of a history keeps book of: what was true in the cluster,
// whatever the scheduler believed.
type watch struct {
	connected  time.Duration // for how long there was a subscription, in all
	since      time.Time     // since when there is one; zero: there is none
	session    int           // which one
	last       time.Time
	clock      coreClock
	served     time.Duration // connected, when a listed proxy last served
	operator   map[string]bool
	asked      map[string]time.Time // for an agent's resources, by agent
	askedFirst map[string]time.Time // the same, since its maintenance is planned
	outages    map[string]notice    // of maintenance, as this process was told, by agent
	went       map[string]time.Time // when an agent was last to be left
	drained    map[string]time.Time // when an operator last wanted an agent drained, by agent
	launched   map[string]time.Duration
	killed     map[string]bool // of which a need was looked at
	replacing  map[string]bool // miners that were killed as outdated, not yet made up for
	held       map[string]time.Duration
	heldFrom   time.Time
	calls      int // in the window that began at
	callsFrom  time.Time
	restarted  time.Time
	late       time.Time // when calls were last slow, or events were taken in late
	newRunning map[string]bool
	epoch      uint64             // of the list, when the process began
	listed     map[string]listing // proxies that miners are, or were, told of, by address
	ledger     ledger
	book       proxyBook
}

// notice is what was last said of an agent's maintenance.
type notice struct {
	from time.Time
	told time.Duration // on the core's clock
}

// heard notes what an event says of maintenance.
func (w *watch) heard(h *harness, e Event) {
	note := func(agent string, u *mesos.Unavailability) {
		if delete(w.outages, agent); u != nil {
			w.outages[agent] = notice{time.Unix(0, u.Start.Nanoseconds), h.core.clock}
		}
	}
	switch e := e.(type) {
	case Offers:
		for i := range e.Offers {
			note(e.Offers[i].AgentID.Value, e.Offers[i].Unavailability)
		}
	case InverseOffers:
		for i := range e.Offers {
			note(e.Offers[i].AgentID.Value, &e.Offers[i].Unavailability)
		}
	}
}

// down says that the maintenance of an agent begins within a time, as far as the scheduler
// can know: by its own clock, and if what it was told is not too old.
func (h *harness) down(a *simAgent, within time.Duration) bool {
	n, ok := h.watch.outages[a.id]
	return ok && h.core.clock-n.told < judgeStale && n.from.Before(h.now.Add(h.skew+within))
}

// listing is what miners were told of a proxy.
type listing struct {
	at    time.Time // when it was last on the list
	epoch uint64    // of the last list with it
}

func newWatch() watch {
	return watch{
		operator: make(map[string]bool), asked: make(map[string]time.Time), went: make(map[string]time.Time), askedFirst: make(map[string]time.Time), drained: make(map[string]time.Time), launched: make(map[string]time.Duration),
		killed: make(map[string]bool), held: make(map[string]time.Duration), newRunning: make(map[string]bool), last: simEpoch,
		listed: make(map[string]listing),
	}
}

// ask notes that the scheduler is told of an agent's maintenance.
func (w *watch) ask(h *harness, a *simAgent) {
	w.asked[a.id] = h.awake()
	if w.askedFirst[a.id].IsZero() {
		w.askedFirst[a.id] = h.awake()
	}
}

// started begins the books of a new process.
func (w *watch) started(h *harness) {
	w.restarted, w.epoch = h.awake(), h.core.state.Epoch
	w.newRunning = make(map[string]bool)
	w.replacing = make(map[string]bool)
	w.outages = make(map[string]notice)
	w.ledger.begin(h)
	w.book.list = h.core.state.Proxies // as it was stored
}

// tick is called before each Tick of the core.
func (w *watch) tick(h *harness) {
	up := h.session != 0 && h.core != nil && h.core.connected
	if h.late > 0 || h.stalled || h.slow > 0 {
		w.late = h.awake()
	}
	w.checkClock(h)
	if d := h.awake().Sub(w.last); up && !w.since.IsZero() && !h.stalled {
		w.connected += min(d, h.pace+time.Second)
	}
	w.last = h.awake()
	switch {
	case !up:
		w.since = time.Time{}
	case w.since.IsZero(), w.session != h.session: // it may end and begin between two ticks
		w.since, w.session = h.awake(), h.session
	}
	for _, e := range h.proxyAt {
		e.note()
	}
	if h.core == nil {
		return
	}
	for _, t := range h.core.tasks {
		if x := h.task(t.ID); t.Kind == KindProxy && t.Kill == "" && t.State == stateRunning && x != nil && x.executor.serves() && !x.executor.readyAt.IsZero() &&
			h.awake().Sub(x.executor.readyAt) > 10*time.Second && h.known(x.executor, 10*time.Second) { // else nobody can know
			w.served = w.connected
		}
	}
	for _, a := range h.agents {
		if h.leaving(a) {
			w.went[a.id] = h.awake()
		}
	}
	w.offers(h)
	w.ledger.tick(h, up)
}

// coreClock is what the core's clock showed at a tick.
type coreClock struct {
	core          *Core
	connected     bool
	subscriptions uint64
	shows         time.Duration
}

// checkClock makes sure that it stands still without a subscription: every watchdog
// counts on that.
func (w *watch) checkClock(h *harness) {
	was := w.clock
	w.clock = coreClock{core: h.core}
	if c := h.core; c != nil {
		w.clock = coreClock{c, c.connected, c.counters.Subscriptions, c.clock}
	}
	if is := w.clock; is.core != nil && is.core == was.core && !was.connected && is.subscriptions == was.subscriptions && is.shows != was.shows {
		h.fail("the clock runs without a subscription")
	}
}

// offers makes sure that none is kept for long, and not again and again.
func (w *watch) offers(h *harness) {
	if h.session == 0 || h.slow > 0 || h.awake().Sub(w.late) < 15*time.Second || w.since.IsZero() {
		w.heldFrom = time.Time{}
		return
	}
	if w.heldFrom.IsZero() || h.awake().Sub(w.heldFrom) > 5*time.Minute {
		w.heldFrom = h.awake()
		clear(w.held)
	}
	for id, o := range h.master.offers {
		if age := h.awake().Sub(o.at); age > judgeOffer+3*time.Second && h.awake().Sub(w.since) > 20*time.Second {
			h.fail("offer %s of %s is kept for %v", id, o.agent.id, age)
		}
		if o.session == h.session && h.awake().After(o.at) { // else it is just being made
			w.held[o.agent.id] += h.pace
			if w.held[o.agent.id] > 100*time.Second {
				h.fail("offers of %s were kept for %v of %v\n%s", o.agent.id, w.held[o.agent.id], h.awake().Sub(w.heldFrom), h.explain())
			}
		}
	}
}

// rate bounds the calls that no event asked for.
func (w *watch) rate(h *harness, call *scheduler.Call) {
	switch call.Type {
	case scheduler.Call_ACKNOWLEDGE, scheduler.Call_ACCEPT, scheduler.Call_DECLINE, scheduler.Call_ACCEPT_INVERSE_OFFERS:
		return
	}
	if h.awake().Sub(w.callsFrom) > 10*time.Second {
		w.callsFrom, w.calls = h.awake(), 0
	}
	w.calls++
	if most := 60 + 14*(len(h.core.tasks)+len(h.core.orphans)+len(h.agents)); w.calls > most {
		h.fail("%d calls in 10 s with %d tasks, the last is %s", w.calls, len(h.core.tasks), call.Type)
	}
}

// served10 says whether a proxy served within the last seconds.
func (e *simExecutor) servedWithin(d time.Duration) bool {
	return e.serves() || !e.lastOK.IsZero() && e.c.awake().Sub(e.lastOK) < d
}

// lives says that an executor was heard of, or ran for long.
func (e *simExecutor) lives() bool {
	return e.told.seq > 0 || e.started && e.c.awake().Sub(e.at) > 50*time.Second
}

// seen says that what an executor does could be known to the scheduler for d.
func (h *harness) seen(e *simExecutor, d time.Duration) bool {
	a := e.t.agent
	return !a.cut && a.known && !a.lost && (a.backAt.IsZero() || h.awake().Sub(a.backAt) > d) &&
		!h.watch.since.IsZero() && h.awake().Sub(h.watch.since) > d && h.faults.loseMessage < 0.25 && h.slow == 0
}

// known says that somebody told the scheduler within d that a proxy serves.
func (h *harness) known(p *simExecutor, d time.Duration) bool {
	told := func(e *simExecutor) bool {
		return e.told.session == h.core.state.Session && !e.told.at.Before(h.watch.since) && h.awake().Sub(e.told.at) < d
	}
	if told(p) && p.told.ready && p.told.at.After(p.readyAt) {
		return true
	}
	using, not := 0, 0
	for _, t := range h.core.tasks {
		if x := h.task(t.ID); x != nil && x.executor.task.GetMiner() != nil && told(x.executor) {
			if h.proxyAt[x.executor.told.proxy] == p {
				using++
			} else {
				not++
			}
		}
	}
	return using > not
}

// checkNeed looks whether a task that is killed for a reason had to be.
func (h *harness) checkNeed(t *Task, e Event) {
	w := &h.watch
	if w.killed[t.ID] {
		return
	}
	w.killed[t.ID] = true
	x := h.task(t.ID)
	if x == nil || x.terminal || x.executor.dead {
		return // nobody is harmed
	}
	_, command := e.(Operate)
	executor := x.executor
	if t.Kind == KindProxy && (t.Kill == WhyNotNeeded || t.Kill == WhyNoBetter || t.Kill == WhyReplaced) {
		h.noteUseless(t)
	}
	needless := func(format string, args ...any) {
		h.fail("%s is killed (%s) without need: %s", t.ID, t.Kill, fmt.Sprintf(format, args...))
	}
	switch t.Kill {
	case WhyLaunch:
		if executor.started && h.awake().Sub(executor.at) > 40*time.Second && h.seen(executor, 40*time.Second) {
			needless("it runs for %v", h.awake().Sub(executor.at))
		}
		if waited := w.connected - w.launched[t.ID]; waited < judgeLaunch-20*time.Second {
			needless("there was a subscription for %v of its life", waited)
		}
	case WhyGrace:
		for _, p := range h.core.tasks {
			if y := h.task(p.ID); p.Kind == KindProxy && p.Kill == "" && y != nil && y.executor.serves() && !y.executor.readyAt.IsZero() &&
				h.awake().Sub(y.executor.readyAt) > 20*time.Second && h.seen(y.executor, 25*time.Second) && h.listed(p) {
				needless("%s serves for %v", p.ID, h.awake().Sub(y.executor.readyAt))
			}
		}
		if idle := w.connected - w.served; idle < h.grace-2*time.Second {
			needless("a proxy served %v ago, the grace is %v", idle, h.grace)
		}
		if up := h.awake().Sub(w.since); up < h.grace-2*time.Second {
			needless("there is a subscription for %v, the grace is %v", up, h.grace)
		}
	case WhyRoom:
		if known := h.core.agents[x.agent.id]; x.agent.portless && known != nil && known.spare.known && !h.skewed && h.awake().Sub(w.restarted) > time.Minute {
			needless("no proxy fits there")
		}
		wanted := never
		for _, s := range h.core.slots {
			wanted = min(wanted, s.wanted)
		}
		if wanted != never && h.core.clock-wanted < judgeRoom {
			needless("a proxy is wanted for %v, and nothing was offered yet", h.core.clock-wanted)
		}
		places := 0
		for _, p := range h.core.tasks {
			if p.Kind != KindProxy || p.Kill != "" {
				continue
			}
			y := h.task(p.ID)
			if y == nil {
				continue
			}
			sick := y.terminal || y.executor.dead || y.agent.cut || y.agent.lost || p.Spec != h.core.spec(KindProxy) || p.Digest != h.core.artifact().Digest || h.leaving(y.agent) ||
				y.executor.started && (!y.executor.serves() || h.awake().Sub(y.executor.readyAt) < 8*time.Second)
			if !sick && !y.executor.servedWithin(0) && w.connected-w.launched[p.ID] > time.Minute || !sick && !h.seen(y.executor, 40*time.Second) ||
				y.executor.started && !(y.executor.told.ready && h.known(y.executor, 15*time.Second)) { // as it says itself, or nobody can know
				sick = true
			}
			if !sick {
				places++
			}
		}
		if places >= h.proxyN {
			needless("%d proxies are there or on their way, of %d", places, h.proxyN)
		}
		for _, a := range h.agents {
			if !a.cut && !a.lost && a.known && !h.noProxyHere(a) && !a.draining && !a.splits && a.down.IsZero() && len(a.tasks) == 0 && !a.fits.IsZero() && h.awake().Sub(a.fits) > 12*time.Second &&
				h.core.agents[a.id] != nil && h.core.agents[a.id].until+8*time.Second < h.core.clock && h.faults.loseCall == 0 && h.seenAgent(a, 15*time.Second) {
				needless("agent %s has room for a proxy for %v", a.id, h.awake().Sub(a.fits))
			}
		}
	case WhyCrowded:
		tally := h.recount(nil)
		if tally.Add(x.agent.place(), 1); !tally.Exceeded(x.agent.place()) {
			needless("there are not too many where it is")
		}
	case WhySurplus:
		if most := h.core.maxMiners(); most < 0 || h.liveMiners() < most {
			needless("%d miners, at most %d", h.liveMiners(), most)
		}
	case WhyFewer:
		if most := h.core.maxMiners(); h.liveMiners() < most {
			needless("%d miners are left, and %d are wanted", h.liveMiners(), most)
		}
	case WhyEnding:
		if x.state != mesos.TASK_KILLING {
			needless("it is %v", x.state)
		}
	case WhyDrained:
		at, drained := w.drained[x.agent.id]
		list, was := listing{}, false
		if t.Kind == KindProxy {
			list, was = w.listed[t.Addresses[0]]
		}
		switch {
		case !drained:
			needless("nobody drains its agent")
		case h.awake().Sub(at) < judgeDrain && was && h.awake().Sub(list.at) < 2*time.Second && h.plainlyServes(x, 30*time.Second) && h.plainlyUsed(executor, 15*time.Second):
			needless("it serves, and its agent is drained for %v", h.awake().Sub(at))
		}
	case WhyReplaced:
		if !slices.ContainsFunc(h.core.tasks, func(p *Task) bool {
			y := h.task(p.ID)
			return p != t && p.Kind == KindProxy && p.Slot == t.Slot &&
				(p.Kill == WhyMaintenance && p.AgentID == t.AgentID || // what took over ends with it
					p.Kill == "" && (y == nil || y.executor.remote || y.executor.servedWithin(40*time.Second) || !executor.servedWithin(25*time.Second) || !h.known(executor, 25*time.Second)))
		}) {
			needless("no other proxy took over")
		}
		h.checkMoved(t, needless)
	case WhyNotNeeded:
		h.checkMoved(t, needless)
		if s := h.core.slots[t.Slot]; s.active != nil && s.active.Epoch > t.Epoch && executor.connections() > 0 {
			needless("its miners are moving to %s", s.active.ID)
		} else if y := h.activeTask(t.Slot); y != nil && h.leaving(y.agent) && !h.leaving(x.agent) && !h.core.outmoded(t) {
			needless("the agent of %s is about to go", s.active.ID)
		}
		if !slices.ContainsFunc(h.core.tasks, func(p *Task) bool {
			y := h.task(p.ID)
			return p != t && p.Kind == KindProxy && p.Slot == t.Slot && p.Kill == "" && (y == nil || y.executor.remote || y.executor.servedWithin(20*time.Second))
		}) {
			needless("no other proxy serves")
		}
	case WhyNoBetter:
		if executor.serves() && !executor.readyAt.IsZero() && h.awake().Sub(executor.readyAt) > 20*time.Second && h.seen(executor, 25*time.Second) {
			needless("it serves for %v", h.awake().Sub(executor.readyAt))
		}
	case WhyPlace:
		if t.Slot < h.proxyN {
			needless("%d proxies are wanted", h.proxyN)
		}
	case WhyOutdated:
		if executor.task.ExecutorDigest == h.digest {
			needless("it has the executor that is wanted")
		}
		if h.core.paused() {
			needless("no other one would be launched now")
		}
		if r := &h.core.rollout; r.proved == 0 && r.killed > 1 {
			needless("%d are killed, and no new one was seen to work", r.killed)
		}
		if h.digest == h.bad && len(w.replacing) >= 4 {
			needless("the new executor cannot start, and %d were killed for it", len(w.replacing)+1)
		}
		w.replacing[t.ID] = true
		for _, t := range h.core.tasks {
			if x := h.task(t.ID); x != nil && t.run.proved && t.run.fresh && t.Kind == KindMiner && !h.core.outdated(t) && x.executor.lives() {
				w.newRunning[t.ID] = true
			}
		}
		if most := max(1, h.core.sums.miners/judgeUpgrade) + 1; len(w.replacing)-len(w.newRunning) > most {
			needless("%d are killed for new ones, of which %d run", len(w.replacing), len(w.newRunning))
		}
	case WhyMaintenance:
		a := x.agent
		if t.Kind == KindProxy && h.plainlyServes(x, 30*time.Second) && h.awake().Sub(w.askedFirst[a.id]) > time.Minute && h.roomFor(t, 40*time.Second) &&
			!h.inReserve(t) && len(w.drained) == 0 {
			needless("that its agent goes is known for %v, and no other proxy is there", h.awake().Sub(w.askedFirst[a.id]))
		}
		if !h.down(a, judgeEvacuation) {
			needless("its maintenance is not about to begin")
		}
	case WhySilent:
		heard := w.since
		if executor.told.session == h.core.state.Session && executor.told.at.After(heard) {
			heard = executor.told.at
		}
		if silent := h.awake().Sub(heard); silent < judgeSilent-5*time.Second {
			needless("it could not be heard, or was, %v ago", silent)
		}
	default:
		if !w.operator[t.ID] && !command {
			needless("nobody asked for it")
		}
	}
}

// note keeps book of what miners are told of.
func (w *watch) note(h *harness) {
	p := &h.core.state.Proxies
	for slot := range len(p.More) + 1 {
		if a := p.of(slot); len(a) > 0 {
			w.listed[a[0]] = listing{h.awake(), p.Epoch}
		}
	}
}

// plainlyServes says that a proxy serves for d, and that nobody can doubt it.
func (h *harness) plainlyServes(x *simTask, d time.Duration) bool {
	e := x.executor
	return e.serves() && !e.readyAt.IsZero() && h.awake().Sub(e.readyAt) > d && h.seen(e, d) && h.awake().Sub(e.spoke) < 10*time.Second
}

// checkMoved makes sure that a proxy that serves is ended for another one only when its
// miners were told of that one, and had time to move.
func (h *harness) checkMoved(t *Task, needless func(string, ...any)) {
	last, was := h.watch.listed[t.Addresses[0]]
	if x := h.task(t.ID); !was || !h.plainlyServes(x, 30*time.Second) || x.executor.connections() == 0 {
		return
	}
	since := h.awake().Sub(last.at)
	if since < judgeMove {
		needless("its miners are told of another one for %v", since)
	}
	if since > judgeMoveMost {
		return
	}
	for _, m := range h.core.tasks {
		x := h.task(m.ID)
		if m.Kind != KindMiner || m.Kill != "" || m.State != stateRunning || x == nil || x.executor.proxies.GetEpoch() > last.epoch ||
			!h.seen(x.executor, 15*time.Second) { // which list it has, it says only now
			continue
		}
		if sent, ok := h.watch.ledger.lists[m.ID]; !ok || sent.epoch <= last.epoch {
			needless("%s is not told of another one yet", m.ID)
		}
	}
}

// plainlyUsed says that a miner works with a proxy for d, and that nobody can doubt it.
func (h *harness) plainlyUsed(p *simExecutor, d time.Duration) bool {
	return slices.ContainsFunc(h.core.tasks, func(t *Task) bool {
		x := h.task(t.ID)
		return t.Kind == KindMiner && t.State == stateRunning && x != nil && h.proxyAt[x.executor.works()] == p &&
			h.awake().Sub(x.executor.at) > d && h.seen(x.executor, d) && h.awake().Sub(x.executor.spoke) < 10*time.Second
	})
}

// checkSecond makes sure that a place has two proxies only as long as that is of use:
// the first is to be replaced, or its miners are moving, or none of them says that it is
// of use to them.
func (h *harness) checkSecond(slot int) {
	for _, t := range h.core.tasks {
		x := h.task(t.ID)
		if t.Kind == KindProxy && t.Slot == slot && t.Kill == "" && t.State == stateRunning && x != nil && h.listed(t) &&
			t.Spec == h.core.spec(KindProxy) && !h.core.outdated(t) && !h.leaving(x.agent) && h.plainlyServes(x, judgeSecond) && h.plainlyUsed(x.executor, judgeSecond) {
			h.fail("%s serves for %v, and there is another one beside it", t.ID, h.awake().Sub(x.executor.readyAt))
		}
	}
}

func (h *harness) seenAgent(a *simAgent, d time.Duration) bool {
	return (a.backAt.IsZero() || h.awake().Sub(a.backAt) > d) && !h.watch.since.IsZero() && h.awake().Sub(h.watch.since) > d && h.slow == 0 && h.late == 0
}

// inReserve says that there is another proxy for the place of one, or one is to be, or
// that was tried lately.
func (h *harness) inReserve(t *Task) bool {
	s := h.core.slots[t.Slot]
	return s.n >= h.proxyN || s.active != t || s.next != nil || s.wanted != never || h.core.clock < s.retry+2*time.Second
}

// leaving says that an agent is to be left, as far as the scheduler can know.
func (h *harness) leaving(a *simAgent) bool {
	_, drained := h.core.state.Operator.Drained[a.id]
	return drained || h.down(a, judgeMaintenance)
}

// leftLately says that an agent is to be left, or was a moment ago.
func (h *harness) leftLately(a *simAgent) bool {
	return h.leaving(a) || h.awake().Sub(h.watch.went[a.id]) < 3*time.Second
}

// activeTask is the task of a place's active proxy; nil: there is none.
func (h *harness) activeTask(slot int) *simTask {
	if t := h.core.slots[slot].active; t != nil {
		return h.task(t.ID)
	}
	return nil
}

// roomFor says that an agent has room for another proxy than t for d, and that nobody can
// doubt it.
func (h *harness) roomFor(t *Task, d time.Duration) bool {
	for _, at := range []time.Time{h.watch.since, h.watch.restarted, h.watch.late} {
		if h.awake().Sub(at) < d {
			return false
		}
	}
	return slices.ContainsFunc(h.agents, func(a *simAgent) bool {
		known := h.core.agents[a.id]
		return a.id != t.AgentID && !a.cut && !a.lost && a.known && !h.noProxyHere(a) && !a.draining && !a.splits && a.down.IsZero() && !a.fits.IsZero() &&
			h.awake().Sub(a.fits) > d && known != nil && known.down == nil && known.until+d < h.core.clock && h.core.proxies.until+d < h.core.clock && h.seenAgent(a, d)
	})
}

func (h *harness) listed(p *Task) bool {
	return slices.Equal(h.core.state.Proxies.of(p.Slot), p.Addresses)
}

func (h *harness) liveMiners() (n int) {
	for _, t := range h.core.tasks {
		if t.Kind == KindMiner && t.Kill == "" && !away(t.State) {
			n++
		}
	}
	return n
}

// checkOrphan looks whether a task may be killed that is not in the state.
func (h *harness) checkOrphan(id string) {
	if h.decoded.Tasks[id] != nil {
		return
	}
	x := h.task(id)
	if x == nil || x.foreign || x.terminal || x.executor.dead || h.watch.killed[id] {
		return
	}
	a := x.agent
	if a.awayMost < 10*time.Minute && !a.lost && h.executed[id] {
		h.fail("%s, which is ours and runs, is killed as unknown", id)
	}
}

// checkForgotten looks for what is remembered for no use, when all is well.
func (h *harness) checkForgotten() {
	for id, t := range h.core.state.Tasks {
		x := h.task(id)
		if x == nil && !away(t.State) {
			h.fail("task %s is remembered as %s, and nobody has it", id, t.State)
		}
		if x != nil && x.agent.lost && !away(t.State) && h.awake().Sub(x.agent.cutAwake) > 3*time.Minute {
			h.fail("task %s is remembered as %s, and its agent is lost for %v", id, t.State, h.awake().Sub(x.agent.cutAwake))
		}
	}
	for id := range h.core.orphans {
		if h.task(id) == nil && h.core.clock-h.core.orphans[id].begun > orphanLife+5*time.Minute {
			h.fail("orphan %s is remembered", id)
		}
	}
	if n, most := len(h.core.offers.byID), 2*len(h.agents); n > most {
		h.fail("%d offers are remembered of %d agents", n, len(h.agents))
	}
	if n, most := len(h.core.alarms.heap), 2000+60*(len(h.core.tasks)+len(h.core.agents)); n > most {
		h.fail("%d alarms for %d tasks", n, len(h.core.tasks))
	}
}
