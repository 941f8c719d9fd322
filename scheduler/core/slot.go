package core

import (
	"slices"
	"time"
)

// A slot is the place of one proxy. Its active proxy is the one that miners are told
// of. When that one ails, or works by settings of before, another is launched beside
// it, and takes over when it serves: made before broken. The one of before goes on until
// its miners have moved, and takes the place back if the other one does not last. Which
// of the two runs on is decided by what they do, not by what Mesos says of them. So a
// place has two proxies at most, and the second one for one of two reasons: it is to take
// over, or its miners are moving.
type slot struct {
	n       int
	active  *Task
	next    *Task         // launched to take over, or the one of before
	moved   time.Duration // since when next is the one of before; never: it is not
	health  health        // of active, at the last look
	wanted  time.Duration // since when a proxy is to be launched; never: none is
	tries   int           // launches of next in a row that were of no use
	retry   time.Duration // no next before
	witness witness
	stale   bool // something changed since the last look
}

// health of a proxy: more is better.
type health int

const (
	healthGone     health = iota // there is none
	healthSilent                 // nobody has heard of it for too long
	healthStarting               // give it time
	healthNoWork                 // it lives, and miners get nothing from it
	healthDoubtful               // it served, and may well serve still
	healthServing
)

const (
	// silentLimit is after how long without a word a proxy counts as silent if there
	// are no miners that tell how it does. With them it takes a few reports.
	silentLimit = 30 * time.Second
	// startPatience is how long a new proxy may be without work, noWorkLimit one that
	// had some: its upstreams have hiccups.
	startPatience = time.Minute
	noWorkLimit   = 20 * time.Second
	// unusableLimit is how long a proxy that says that it is ready may be of no use
	// to all of its miners.
	unusableLimit = 90 * time.Second
	// awayPatience is how long a proxy may be out of Mesos' sight before another is
	// launched. It may well serve its miners all the while, and comes back within
	// seconds when only the master is new.
	awayPatience = 10 * time.Second
	// awayLimit is how long it may be so even if its miners say that it serves.
	awayLimit = 2 * time.Minute
	// nextPatience is how long a next proxy may run without being better than the
	// active one; retryFirst and retryMost bound the pause before another try.
	nextPatience = time.Minute
	retryFirst   = 30 * time.Second
	retryMost    = 30 * time.Minute
	// dismissPause is how long miners have from when they are told of another proxy
	// until theirs ends, dismissLimit how long they have if telling them all takes long.
	dismissPause = 3 * time.Second
	dismissLimit = time.Minute
	// drainPatience is how long another proxy is waited for when an operator drains the
	// agent of one.
	drainPatience = 2 * time.Minute
	// spreadPatience is how long an agent without a proxy is waited for.
	spreadPatience = 10 * time.Second
)

// freshFor is how old a report of a task may be that is believed.
func (c *Core) freshFor(t *Task) time.Duration {
	return max(10*time.Second, 3*c.reportsEvery(t)+time.Second)
}

// reportsEvery is the mean time between reports of a task.
func (c *Core) reportsEvery(t *Task) time.Duration {
	if t.ReportMs > 0 {
		return time.Duration(t.ReportMs) * time.Millisecond
	}
	return c.set.ReportInterval
}

// restoreSlots finds the places of the proxies that are in the state.
func (c *Core) restoreSlots() {
	n := c.set.Proxies
	for _, t := range c.tasks {
		if t.Kind == KindProxy {
			n = max(n, t.Slot+1)
		}
	}
	for i := range n {
		c.slots = append(c.slots, &slot{n: i, moved: never, wanted: never, stale: true})
	}
	for _, id := range sortedKeysOf(c.state.Tasks) {
		t := c.state.Tasks[id]
		if t.Kind != KindProxy || t.Kill != "" {
			continue
		}
		s := c.slotOf(t)
		t.run.listed = slices.Equal(t.Addresses, c.state.Proxies.of(s.n))
		t.run.served = t.run.listed
		switch {
		case s.active == nil:
			s.active = t
		case s.next == nil && (s.active.run.listed || !t.run.listed):
			s.next = t
		case s.next == nil:
			s.active, s.next = t, s.active
		default:
			c.kill(t, WhyReplaced)
		}
	}
	for _, s := range c.slots {
		if s.next != nil && s.next.Epoch < s.active.Epoch { // who of its miners has moved, they will say
			s.moved = c.clock + listUnknown*6/5
		}
	}
	for _, t := range c.proxyTasks() {
		if _, drained := c.drained(t.AgentID, t.Hostname); drained {
			c.watchDrain(t)
		}
	}
}

func (c *Core) slotOf(t *Task) *slot { return c.slots[t.Slot] }

// surplus says that the operator does not want the place any more.
func (s *slot) surplus(c *Core) bool { return s.n >= c.set.Proxies }

// enterSlot gives a proxy that is launched its part.
func (c *Core) enterSlot(t *Task) {
	s := c.slotOf(t)
	s.wanted, s.stale = never, true
	if s.active == nil {
		s.active, s.witness = t, witness{}
	} else {
		s.next, s.moved = t, never
	}
}

// leaveSlot takes a proxy out that ended or is to end.
func (c *Core) leaveSlot(t *Task) {
	s := c.slotOf(t)
	s.stale = true
	c.places.vacant++
	switch t {
	case s.active:
		s.active, s.next, s.moved, s.witness = s.next, nil, never, witness{}
	case s.next:
		if t.Kill != "" && s.moved == never { // else it failed, which has a back-off of its own
			s.noUse(c)
		}
		s.next, s.moved = nil, never
	}
}

// noUse puts the next try off.
func (s *slot) noUse(c *Core) {
	s.retry = c.clock + c.jitter(exponential(retryFirst, retryMost, float64(s.tries)))
	s.tries++
}

func (c *Core) slotsChanged() bool {
	for _, s := range c.slots {
		if s.stale {
			return true
		}
	}
	return false
}

// convergeSlots judges the proxies, lets better ones take over, and keeps the list
// that miners are told true.
func (c *Core) convergeSlots() {
	for _, s := range c.slots {
		s.stale = false
		c.convergeSlot(s)
	}
	c.publish()
	c.watchLost()
}

func (c *Core) convergeSlot(s *slot) {
	s.health = c.health(s, s.active)
	if s.health == healthServing && s.active.run.ready {
		s.active.run.served = true
		if s.next == nil && c.clock-s.retry > retryMost {
			s.tries = 0
		}
	}
	if c.settled() {
		c.succeed(s)
	}
	want := c.wantsProxy(s)
	switch {
	case !want:
		s.wanted = never
	case s.wanted == never:
		s.wanted = c.clock
	}
}

// succeed decides between the active proxy and the next.
func (c *Core) succeed(s *slot) {
	if s.surplus(c) {
		if s.active != nil && c.allServe() {
			c.kill(s.active, WhyPlace)
		}
		return
	}
	if s.next == nil {
		return
	}
	next := c.health(s, s.next)
	switch {
	case next == healthServing && (s.health <= healthNoWork || c.lostSight(s.active) || c.planned(s.active) && !c.planned(s.next)),
		next == healthNoWork && s.health == healthSilent:
		c.takeOver(s, next)
	case s.health == healthServing && s.moved != never:
		if c.haveMoved(s) {
			c.kill(s.next, WhyReplaced)
		}
	case s.health == healthServing && !away(s.active.State) && (!c.planned(s.active) || c.planned(s.next)):
		c.kill(s.next, WhyNotNeeded)
	case next <= healthNoWork && progress(s.next.State) >= progress(stateRunning) && c.clock-s.next.run.since > nextPatience,
		away(s.next.State) && c.clock-max(s.next.run.since, c.recon.started) >= awayPatience:
		c.kill(s.next, WhyNoBetter)
	}
}

// takeOver makes the next proxy the active one. The one of before is ended, at once if
// it is of no use to its miners.
func (c *Core) takeOver(s *slot, next health) {
	old, serves := s.active, s.health >= healthDoubtful && s.active.State == stateRunning // nobody may have heard of it yet
	if s.moved == never {
		s.tries = 0
	} else { // the one that was to be better was not, for long
		s.noUse(c)
	}
	s.active, s.next, s.moved, s.witness = s.next, nil, never, witness{}
	s.active.run.listed = true
	s.health = next
	if serves {
		s.next, s.moved = old, c.clock
	} else {
		c.kill(old, WhyReplaced)
	}
}

// haveMoved says that the miners of the proxy of before have been told of the other
// one, and had time to move, or that telling them all takes too long.
func (c *Core) haveMoved(s *slot) bool {
	moving := c.clock - max(s.moved, c.recon.started)
	return moving >= dismissPause && c.allTold() || moving >= dismissLimit
}

// replaced says that the active proxy is to be replaced though it may serve.
func (c *Core) replaced(s *slot) bool {
	return s.active != nil && (c.lostSight(s.active) || c.planned(s.active))
}

// planned says that a proxy is to be replaced though nothing is wrong with it.
func (c *Core) planned(t *Task) bool { return c.outmoded(t) || c.leaves(t) }

// leaves says that the agent of a proxy is about to go: maintenance is near, or an operator
// drains it.
func (c *Core) leaves(t *Task) bool {
	if t.State != stateRunning {
		return false
	}
	a := t.run.agent
	if _, soon := a.maintenance(c.now, maintenanceMargin); soon && c.clock-a.down.told < staleAfter {
		return true
	}
	_, drained := c.drained(t.AgentID, t.Hostname)
	return drained
}

// watchDrain ends a proxy on an agent that an operator drains, if no other one comes to
// serve in its place.
func (c *Core) watchDrain(t *Task) {
	d, _ := c.drained(t.AgentID, t.Hostname)
	c.after(drainPatience, func() {
		if now, drained := c.drained(t.AgentID, t.Hostname); drained && now == d && t.run.index >= 0 {
			c.kill(t, WhyDrained)
		}
	})
}

// lostSight says that Mesos does not see a proxy for so long that another one is safer.
func (c *Core) lostSight(t *Task) bool {
	return away(t.State) && c.clock-max(t.run.since, c.recon.started) > awayLimit
}

// outmoded says that a proxy is to be replaced as it works by what was: at once when it
// pays to another address, after the miners when it is only of another binary.
func (c *Core) outmoded(t *Task) bool {
	return t.State == stateRunning &&
		(t.Spec != c.spec(KindProxy) || c.outdated(t) && c.rollout.stopped == "" && c.rolloutDone())
}

// wantsProxy says whether a proxy is to be launched for a slot.
func (c *Core) wantsProxy(s *slot) bool {
	switch {
	case s.surplus(c):
		return false
	case s.active == nil:
		return true
	case s.next != nil || c.clock < s.retry || !c.settled():
		return false
	}
	return s.health == healthSilent || s.health == healthNoWork || c.replaced(s)
}

func (c *Core) allServe() bool {
	for _, s := range c.slots {
		if !s.surplus(c) && s.health != healthServing {
			return false
		}
	}
	return true
}

// health judges a proxy by its own reports and, for the active one, by what miners
// say who use it.
func (c *Core) health(s *slot, t *Task) health {
	if t == nil {
		return healthGone
	}
	r := t.run
	word := silentWord
	if t == s.active {
		word = s.witness.word(c.clock, c.witnessSpan())
	}
	// What is said only on a subscription is missed only there; but one that was silent
	// before it does not serve again before it says so.
	silent := c.clock - max(r.since, c.recon.started)
	if r.reportAt != never {
		silent = c.clock - max(r.reportAt, c.recon.started)
	}
	patient := healthStarting
	switch {
	case r.given:
		patient = healthSilent
	case r.served:
		patient = healthDoubtful
	}
	switch {
	case away(t.State):
		switch {
		case word == miningWord:
			return healthServing
		case c.clock-max(r.since, c.recon.started) < awayPatience && word != idleWord:
			return patient
		}
		return healthSilent
	case progress(t.State) < progress(stateRunning):
		return healthStarting
	case t.State != stateRunning: // somebody else ends it
		return healthSilent
	case r.reportRound != int32(c.recon.round) || c.clock-r.reportAt > c.freshFor(t):
		switch {
		case word == miningWord:
			return healthServing
		case silent > silentLimit || word == idleWord && silent > c.freshFor(t):
			r.given = true
			return healthSilent
		}
		return patient
	case r.ready:
		if t == s.active && s.witness.useless(c.clock, c.witnessSpan()) {
			return healthNoWork
		}
		return healthServing
	case !r.served && word == miningWord: // its first report was from before it had work
		return healthServing
	case r.served && c.clock-r.unready < noWorkLimit, !r.served && c.clock-r.unready < startPatience:
		return patient
	}
	return healthNoWork
}

// best is the health of the best active proxy.
func (c *Core) best() health {
	best := healthGone
	for _, s := range c.slots {
		best = max(best, s.health)
	}
	return best
}

// slotToFill returns the place that a proxy is to be launched for; nil: none.
func (c *Core) slotToFill() *slot {
	for _, s := range c.slots {
		if s.wanted != never {
			return s
		}
	}
	return nil
}

func (c *Core) proxiesWanted() (n int) {
	for _, s := range c.slots {
		if s.wanted != never {
			n++
		}
	}
	return n
}

// spreadOver says that an agent may have a second proxy: no other one offered.
func (s *slot) spreadOver(c *Core) bool { return c.clock-s.wanted >= spreadPatience }

func (c *Core) spreadOver() bool {
	s := c.slotToFill()
	return s != nil && s.spreadOver(c)
}

func (a *agent) hasProxy() bool {
	return slices.ContainsFunc(a.tasks, func(t *Task) bool { return t.Kind == KindProxy })
}

// freeShard returns a number that no proxy has that may still run.
func (c *Core) freeShard(s *slot) (uint32, bool) {
	for i := range c.shards {
		if n := (s.n + i) % len(c.shards); c.shards[n] == 0 {
			return uint32(n), true
		}
	}
	return 0, false
}

// proxy returns the active proxy of the first place; nil: there is none.
func (c *Core) proxy() *Task { return c.slots[0].active }

// witness is what miners say of their proxy, over the last one or two spans.
type witness struct {
	begun        time.Duration
	now, before  words
	idleSince    time.Duration
	idleReported bool
	given        bool // the proxy is of no use to them; until they say otherwise
}

type words struct{ mining, idle int }

type word int

const (
	silentWord word = iota // nobody says anything
	miningWord
	idleWord
)

func (c *Core) witnessSpan() time.Duration {
	return max(4*time.Second, c.set.ReportInterval*3/2)
}

func (w *witness) roll(clock, span time.Duration) {
	switch age := clock - w.begun; {
	case age >= 2*span:
		w.begun, w.before, w.now = clock, words{}, words{}
	case age >= span:
		w.begun, w.before, w.now = clock, w.now, words{}
	}
}

func (w *witness) hear(clock, span time.Duration, mining bool) {
	w.roll(clock, span)
	if mining {
		w.now.mining++
	} else {
		w.now.idle++
	}
	if w.word(clock, span) != idleWord {
		w.idleReported, w.given = false, false
	} else if !w.idleReported {
		w.idleReported, w.idleSince = true, clock
	}
}

// word is what most of those say who spoke lately.
func (w *witness) word(clock, span time.Duration) word {
	w.roll(clock, span)
	mining, idle := w.now.mining+w.before.mining, w.now.idle+w.before.idle
	switch {
	case mining+idle == 0:
		return silentWord
	case mining >= idle:
		return miningWord
	}
	return idleWord
}

// useless says that most were idle for long. When they end for it, that does not make
// their proxy any better.
func (w *witness) useless(clock, span time.Duration) bool {
	if w.word(clock, span) == idleWord && w.idleReported && clock-w.idleSince > unusableLimit {
		w.given = true
	}
	return w.given
}
