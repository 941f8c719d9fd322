package core

import (
	"cmp"
	"hash/fnv"
	"log/slog"
	"slices"
	"time"

	"lode/message"
)

const (
	// The list is sent again until the miner says that it has it, in a report.
	listFirst = 3 * time.Second
	listMost  = time.Minute
	// listUnknown is how long a miner of before is given to say what list it has.
	listUnknown = 30 * time.Second
	listRate    = 1000 // messages a second
	listBurst   = 5000
	listsAtOnce = 250 // after one event
	// lostPatience is how long miners may be without a proxy before somebody has to
	// look at it.
	lostPatience = 15 * time.Second
	// graceAtOnce is how many miners are killed a tick for want of a proxy: no more
	// KILLs go out either, and who is left when one comes goes on.
	graceAtOnce = killRate
	// mostListed is of how many proxies a miner is told.
	mostListed = 3
)

// of returns the addresses of a slot's proxy; nil: there is none.
func (l ProxyList) of(slot int) []string {
	switch {
	case slot == 0:
		return l.Addresses
	case slot <= len(l.More):
		return l.More[slot-1]
	}
	return nil
}

// all returns the addresses of all proxies.
func (l ProxyList) all() []string {
	return slices.Concat(append([][]string{l.Addresses}, l.More...)...)
}

type listQueue struct {
	due    []*Task
	walk   int              // of the tasks, those before this one are not queued yet
	one    *message.Proxies // what all miners are told of a single proxy; never changed
	bucket bucket
}

func newListQueue() listQueue { return listQueue{bucket: newBucket(listRate, listBurst)} }

// publish changes the list that miners are told, if it is another one. A proxy is in
// it from when it runs, or takes over, until it ends or another takes over: one that
// is out of sight, or silent, may still serve, and a miner finds out soonest.
func (c *Core) publish() {
	same := !c.ahead
	lists := make([][]string, len(c.slots))
	for i, s := range c.slots {
		if t := s.active; t != nil && (t.run.listed || t.State == stateRunning) {
			t.run.listed = true
			lists[i] = t.Addresses
		}
		same = same && slices.Equal(lists[i], c.state.Proxies.of(i))
	}
	if same && len(c.state.Proxies.More) <= len(c.slots)-1 && c.paused() == c.state.Proxies.Paused {
		return
	}
	c.ahead = false
	c.state.Epoch++
	c.state.Proxies = ProxyList{Epoch: c.state.Epoch, Addresses: lists[0], Paused: c.paused()}
	for i := len(lists) - 1; i > 0; i-- {
		if lists[i] != nil {
			c.state.Proxies.More = lists[1 : i+1]
			break
		}
	}
	c.dirty = true
	c.lists.walk = len(c.tasks)
	c.tell(ProxiesChanged{c.state.Proxies.all()})
}

// walkLists queues the list for a few more of those that were there when it changed.
// The walk goes down: a task that takes the place of one that ended was seen, or will
// be seen twice.
func (c *Core) walkLists() {
	q := &c.lists
	q.walk = min(q.walk, len(c.tasks))
	for ; q.walk > 0 && len(q.due) < listsAtOnce; q.walk-- {
		if t := c.tasks[q.walk-1]; t.Kind == KindMiner {
			c.wantList(t)
		}
	}
}

// listFor is the list of one miner: few proxies, in an order that spreads miners
// evenly and that changes for as few as can be when a proxy comes or goes.
func (c *Core) listFor(t *Task) *message.Proxies {
	if p := &c.state.Proxies; len(p.More) == 0 && (!p.Paused || t.Version >= message.FirstLinked) {
		return c.lists.ofOne(p)
	}
	list := &message.Proxies{Epoch: c.state.Proxies.Epoch, Paused: c.state.Proxies.Paused}
	if list.Paused && t.Version < message.FirstLinked {
		return list // its executor may know no pause, but it idles without a proxy
	}
	var order []int
	for i := range c.slots {
		if len(c.state.Proxies.of(i)) > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(affinity(t.AgentID, a), affinity(t.AgentID, b)), a-b)
	})
	order = order[:min(len(order), mostListed)]
	list.Several = len(order) > 1
	for i, more := 0, true; more; i++ { // the best address of each, then what else they are reached by
		more = false
		for _, s := range order {
			if a := c.state.Proxies.of(s); i < len(a) {
				list.Addresses, more = append(list.Addresses, a[i]), true
			}
		}
	}
	return list
}

// ofOne is the list where there is one proxy at most: the same for all miners.
func (q *listQueue) ofOne(p *ProxyList) *message.Proxies {
	if q.one == nil || q.one.Epoch != p.Epoch {
		q.one = &message.Proxies{Epoch: p.Epoch, Paused: p.Paused, Addresses: p.Addresses}
	}
	return q.one
}

func affinity(agent string, slot int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(agent))
	h.Write([]byte{0, byte(slot)})
	// FNV mixes its last bytes little.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	return x ^ x>>33
}

// wantList queues the list for a miner that has an older one, unless it was just sent.
func (c *Core) wantList(t *Task) {
	r := t.run
	if r.listQueued || !c.lacksList(t) || r.listEpoch == c.state.Proxies.Epoch && c.clock-r.listAt < listFirst {
		return
	}
	r.listQueued = true
	c.lists.due = append(c.lists.due, t)
}

func (c *Core) lacksList(t *Task) bool {
	return t.run.knownEpoch < c.state.Proxies.Epoch && t.State == stateRunning && t.Kill == "" && t.run.index >= 0
}

// allTold says that the newest list was sent to all who lack it, once at least.
func (c *Core) allTold() bool {
	return c.lists.walk == 0 && !slices.ContainsFunc(c.lists.due, func(t *Task) bool {
		return c.lacksList(t) && t.run.listEpoch != c.state.Proxies.Epoch
	})
}

func (c *Core) sendLists() {
	c.walkLists()
	q := &c.lists
	for range listsAtOnce {
		if len(q.due) == 0 {
			q.due = nil
			return
		}
		t := q.due[0]
		r := t.run
		wanted := c.lacksList(t)
		if wanted && !q.bucket.take(c.clock) {
			return
		}
		q.due[0] = nil
		q.due = q.due[1:]
		r.listQueued = false
		if !wanted {
			continue
		}
		if r.listEpoch != c.state.Proxies.Epoch {
			r.listEpoch, r.listSends = c.state.Proxies.Epoch, 0
		}
		r.listAt = c.clock
		pause := exponential(max(listFirst, c.reportsEvery(t)*3/2), listMost, float64(r.listSends))
		r.listSends++
		c.send(t, &message.ToExecutor{
			Event: &message.ToExecutor_Proxies{Proxies: c.listFor(t)},
		})
		c.after(pause, func() {
			if c.clock-r.listAt >= pause {
				c.wantList(t)
			}
		})
	}
}

const (
	// mostAhead is how far a miner's list may be ahead, aheadPause the time between two
	// lists that follow from that: it may be a lie.
	mostAhead  = 1 << 20
	aheadPause = time.Minute
)

// knowsList notes what list a miner says that it has. One that is newer than all of ours
// is from before the state was brought back from a copy: miners take no older one, so
// there has to be a newer.
func (c *Core) knowsList(t *Task, epoch uint64) {
	r := t.run
	if newest := c.state.Proxies.Epoch; epoch > newest && epoch-newest < mostAhead && c.up >= c.aheadUntil {
		c.aheadUntil = c.up + aheadPause
		c.state.Epoch = max(c.state.Epoch, epoch)
		c.ahead = true
		c.publish()
	}
	r.knownEpoch = max(r.knownEpoch, epoch)
	c.wantList(t)
}

// send sends a framework message to the executor of a task.
func (c *Core) send(t *Task, m *message.ToExecutor) { c.sendTo(c.peerOf(t), m) }

// hearMiner lets a miner testify for the proxy that it uses, or against the one that
// it should use.
func (c *Core) hearMiner(t *Task, m *Report) {
	const settling = 15 * time.Second // a miner that has just started has no work yet
	var used *slot
	if m.Miner.State == "mining" {
		for _, s := range c.slots {
			if s.active != nil && (m.Miner.Proxy == "" || slices.Contains(s.active.Addresses, m.Miner.Proxy)) {
				used = s
				s.witness.hear(c.clock, c.witnessSpan(), true)
				break
			}
		}
		if used == nil || len(c.slots) == 1 {
			return
		}
	}
	if c.paused() || m.Uptime < settling || t.run.knownEpoch < c.state.Proxies.Epoch {
		return
	}
	first := c.slots[0]
	for _, s := range c.slots[1:] {
		if len(c.state.Proxies.of(s.n)) > 0 && affinity(t.AgentID, s.n) < affinity(t.AgentID, first.n) {
			first = s
		}
	}
	if used == nil || used != first && first.lonely() { // a miner goes back to its first as soon as it can
		first.witness.hear(c.clock, c.witnessSpan(), false)
	}
}

// lonely says that the proxy of a slot says itself that nobody is connected to it.
func (s *slot) lonely() bool {
	return s.active != nil && s.active.run.report != nil && s.active.run.report.Proxy != nil && s.active.run.report.Proxy.Connections == 0
}

// watchLost notes when miners lost their last proxy.
func (c *Core) watchLost() {
	switch {
	case c.best() >= healthDoubtful || c.sums.miners == 0:
		c.lostAt = never
		c.settle("no_proxy")
	case c.lostAt == never:
		c.lostAt = c.clock
		c.notice(slog.LevelWarn, "no proxy serves the miners", "miners", c.sums.miners, "grace", c.set.ProxyGrace)
	}
	if c.lostAt != never && c.clock-c.lostAt >= lostPatience {
		c.troubled("no_proxy", "no proxy serves the miners")
	}
	if c.set.ProxyGrace == 0 {
		c.graceOver()
	}
}

// graceOver kills the miners when they were without a proxy for too long: idle tasks
// hold cpus that others could use.
func (c *Core) graceOver() {
	if c.lostAt == never || c.paused() || !c.settled() || c.clock-c.lostAt < c.set.ProxyGrace {
		c.graceWalk = 0
		return
	}
	if c.graceWalk == 0 {
		c.graceWalk = len(c.tasks)
		c.notice(slog.LevelWarn, "killing all miners for want of a proxy", "miners", c.sums.miners, "grace", c.set.ProxyGrace)
	}
	c.graceWalk = min(c.graceWalk, len(c.tasks))
	for n := 0; c.graceWalk > 0 && n < graceAtOnce; c.graceWalk-- {
		if t := c.tasks[c.graceWalk-1]; t.Kind == KindMiner && t.Kill == "" {
			c.kill(t, WhyGrace)
			n++
		}
	}
	if c.graceWalk == 0 {
		c.lostAt = never
	}
}
