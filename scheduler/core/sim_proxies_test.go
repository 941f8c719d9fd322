package core

import (
	"slices"
	"time"

	"lode/message"
)

// What must be true of several proxies, and of moves from one to another.

// proxyBook is what the judge keeps book of for that.
type proxyBook struct {
	wanted map[int]time.Duration      // of the core's clock, since when a place wants a proxy
	left   map[int]time.Duration      // when a next proxy was given up
	core   *Core                      // that these are of
	before map[string]map[[2]int]bool // of an agent's miner: the one place stands before the other
	first  map[string]int             // of an agent's miner: the place that it goes to first
	list   ProxyList                  // that miners were told last
	bad    map[string]time.Time       // executors that turned out not to run, and when
	// futile counts launches of miners while no agent can start one.
	futile     int
	futileFrom time.Time
	obstacle   time.Duration // of the core's clock, since when it knows that miners come to run nowhere; never: it does not
	probes     []*Task       // miners that were launched since, and are on their way
	tried      time.Duration // when one was last
	triedFirst time.Duration // when one was last before those on their way
}

const (
	// judgeSpread is how long an agent without a proxy is waited for, at least; judgeRetry
	// how long after a next proxy of no use there is no other one.
	judgeSpread = 9 * time.Second
	judgeRetry  = 20 * time.Second
	// judgeBlind is how long Mesos may lose sight of a proxy that its miners use.
	judgeBlind = 100 * time.Second
	// judgeBad is how long an executor that did not run is not tried again.
	judgeBad = 55 * time.Minute
	// judgeProbe is after how long one more is tried where none came to run.
	judgeProbe = 50 * time.Second
)

// noteProxies is called after every step.
func (h *harness) noteProxies() {
	b := &h.watch.book
	if b.core != h.core {
		b.core, b.wanted, b.left = h.core, make(map[int]time.Duration), make(map[int]time.Duration)
	}
	for _, s := range h.core.slots {
		if s.wanted != never {
			b.wanted[s.n] = s.wanted
		}
	}
}

// noteBad keeps in mind what the scheduler stored of an executor that does not run.
func (h *harness) noteBad() {
	if h.decoded == nil || h.decoded.Bad == nil || h.decoded.Bad.Runs {
		return
	}
	b := &h.watch.book
	if b.bad == nil {
		b.bad = make(map[string]time.Time)
	}
	if d := h.decoded.Bad.Digest; b.bad[d].IsZero() {
		b.bad[d] = h.now
	}
}

// checkBad makes sure that such an executor is not tried again soon, whoever started the
// scheduler again.
func (h *harness) checkBad(id, digest string) {
	if at, ok := h.watch.book.bad[digest]; ok && h.now.Sub(at) < judgeBad && h.good != digest && !h.skewed && !h.batched {
		h.fail("%s is launched with an executor that did not run %v ago", id, h.now.Sub(at))
	}
}

// checkFutile bounds the launches of what can run nowhere: when it is known that it is so,
// one is tried from time to time.
func (h *harness) checkFutile() {
	b := &h.watch.book
	if !h.noMiners {
		return
	}
	b.futile++
	known := 2*len(h.agents) + paceFirst       // those that were launched before it could be known
	if h.watch.restarted.After(b.futileFrom) { // nor does another process know
		b.futile, b.futileFrom = 1, h.watch.restarted
	}
	if most := known + int(h.awake().Sub(b.futileFrom)/(10*time.Second)); b.futile > most {
		h.fail("%d miners are launched in %v, though none can start", b.futile, h.awake().Sub(b.futileFrom))
	}
}

// noteObstacle is called after every step.
func (h *harness) noteObstacle() {
	b := &h.watch.book
	switch {
	case h.core.causes.worst(KindMiner) == nil:
		b.obstacle, b.probes = never, nil
	case b.obstacle == never:
		b.obstacle, b.tried = h.core.clock, h.core.clock
	}
}

// checkProbes bounds how many miners are on their way to show whether they can run again:
// one, and one more for each minute that nothing was tried or came to an end.
func (h *harness) checkProbes(id string) {
	b := &h.watch.book
	t := h.core.state.Tasks[id]
	if t == nil || h.batched || b.obstacle == never || h.core.causes.worst(KindMiner) == nil {
		return
	}
	b.probes = slices.DeleteFunc(b.probes, func(t *Task) bool {
		return t.run.index < 0 || progress(t.State) >= progress(stateRunning) || away(t.State)
	})
	if len(b.probes) == 0 {
		b.triedFirst = b.tried
	}
	b.probes, b.tried = append(b.probes, t), h.core.clock
	if n := len(b.probes); n > 2+int((h.core.clock-b.triedFirst)/judgeProbe) {
		h.fail("%d miners are tried at a time, though it is known for %v that none can start", n, h.core.clock-b.obstacle)
	}
}

// crashInMove ends the scheduler in the middle of some moves of a proxy, where the next
// one has the most to find out.
func (h *harness) crashInMove() {
	core := h.core
	if !h.faulty || !slices.ContainsFunc(core.slots, func(s *slot) bool { return s.moved == core.clock }) || !h.chance(0.3) {
		return
	}
	h.counts["scheduler dies in a move"]++
	h.after(h.between(0, 3*time.Second), func() {
		if h.core == core {
			h.crash(h.between(100*time.Millisecond, 5*time.Second))
		}
	})
}

// checkProxyLaunch looks whether a proxy may be launched where, and at all.
func (h *harness) checkProxyLaunch(id string) {
	b := &h.watch.book
	t := h.core.state.Tasks[id]
	if t == nil || h.batched {
		return
	}
	since, ok := b.wanted[t.Slot]
	if delete(b.wanted, t.Slot); !ok { // it is wanted since this very event
		since = h.core.clock
	}
	if h.core.clock-since < judgeSpread &&
		slices.ContainsFunc(t.run.agent.tasks, func(o *Task) bool { return o.Kind == KindProxy && o != t }) {
		h.fail("%s is launched where there is another proxy, after %v", id, h.core.clock-since)
	}
	s := h.core.slots[t.Slot]
	if s.next != t || s.active == nil {
		return
	}
	if left, ok := b.left[t.Slot]; ok && h.core.clock-left < judgeRetry {
		h.fail("%s is launched %v after one of no use", id, h.core.clock-left)
	}
	x := h.task(s.active.ID)
	if x != nil && s.active.State == stateRunning && s.active.Spec == h.core.spec(KindProxy) && !h.core.outdated(s.active) && !h.leftLately(x.agent) &&
		h.plainlyServes(x, 40*time.Second) && h.plainlyUsed(x.executor, 15*time.Second) {
		h.fail("%s is launched beside %s, which serves its miners", id, s.active.ID)
	}
	if x != nil && away(s.active.State) && h.core.clock-s.active.run.since < judgeBlind && s.active.Spec == h.core.spec(KindProxy) && !h.core.outdated(s.active) &&
		x.executor.serves() && h.awake().Sub(x.executor.readyAt) > 40*time.Second && h.plainlyUsed(x.executor, 10*time.Second) && h.known(x.executor, 10*time.Second) {
		h.fail("%s is launched though %s, which Mesos does not see for %v, serves its miners", id, s.active.ID, h.core.clock-s.active.run.since)
	}
}

// noteUseless notes that a next proxy is ended that did not come to be of use.
func (h *harness) noteUseless(t *Task) {
	s := h.core.slots[t.Slot]
	x := h.task(t.ID)
	if s.active != nil && s.active.Epoch < t.Epoch && (t.Kill != WhyReplaced || x != nil && !x.executor.servedWithin(time.Minute)) {
		h.watch.book.left[t.Slot] = h.core.clock
	}
}

// checkChoice makes sure that a miner knows of several proxies where there are several, in
// an order of its own, which does not change when one comes or goes.
func (h *harness) checkChoice(agent string, list *message.Proxies) {
	b := &h.watch.book
	p := &h.core.state.Proxies
	if list.GetEpoch() != p.Epoch || len(p.More) == 0 {
		return
	}
	var order []int
	there := 0
	for slot := range len(p.More) + 1 {
		if len(p.of(slot)) > 0 {
			there++
		}
	}
	for _, a := range list.Addresses {
		for slot := range len(p.More) + 1 {
			if of := p.of(slot); slices.Contains(of, a) && !slices.Contains(order, slot) {
				order = append(order, slot)
			}
		}
	}
	if len(order) != min(there, mostListed) {
		h.fail("a miner on %s is told of %d proxies, of %d", agent, len(order), there)
	}
	if b.before == nil {
		b.before, b.first = make(map[string]map[[2]int]bool), make(map[string]int)
	}
	if b.before[agent] == nil {
		b.before[agent] = make(map[[2]int]bool)
	}
	for i, x := range order {
		for _, y := range order[i+1:] {
			b.before[agent][[2]int{x, y}] = true
			if b.before[agent][[2]int{y, x}] {
				h.fail("a miner on %s changes the order of the places %d and %d", agent, x, y)
			}
		}
	}
	if there == h.proxyN && there > 1 {
		b.first[agent] = order[0]
		used := make(map[int]bool)
		for _, first := range b.first {
			used[first] = true
		}
		if len(b.first) >= 20 && len(used) == 1 {
			h.fail("%d miners go to the same of %d proxies", len(b.first), there)
		}
	}
}

// checkFlip makes sure that miners are not sent back to a proxy of before while the one
// that they were told of serves and stays.
func (h *harness) checkFlip() {
	now := &h.core.state.Proxies
	was := h.watch.book.list
	h.watch.book.list = *now
	if was.Epoch == 0 || was.Epoch == now.Epoch {
		return
	}
	at := func(address string) *Task {
		for _, t := range h.core.tasks {
			if t.Kind == KindProxy && t.Kill == "" && t.Addresses[0] == address {
				return t
			}
		}
		return nil
	}
	for slot, s := range h.core.slots {
		if len(was.of(slot)) == 0 {
			continue
		}
		if s.active != nil && s.active.Addresses[0] == was.of(slot)[0] && len(now.of(slot)) == 0 {
			h.fail("miners are not told of %s any more, which may serve", s.active.ID)
		}
		if len(now.of(slot)) == 0 {
			continue
		}
		left, to := at(was.of(slot)[0]), at(now.of(slot)[0])
		if left == nil || to == nil || to.Epoch >= left.Epoch || h.core.outmoded(left) {
			continue
		}
		if x, y := h.task(left.ID), h.task(to.ID); x != nil && y != nil && h.leaving(x.agent) && !h.leaving(y.agent) {
			continue
		}
		begins := h.awake().Sub(h.watch.restarted) < 10*time.Second // and knows no better than what was stored
		if x := h.task(left.ID); x != nil && (begins && x.executor.serves() || h.plainlyServes(x, 30*time.Second)) {
			h.fail("miners are sent from %s, which serves, back to %s", left.ID, to.ID)
		}
	}
}
