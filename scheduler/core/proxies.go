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
	// The list is sent again until the miner says that it has it.
	listFirst = 3 * time.Second
	listMost  = time.Minute
	// listUnknown is how long a miner of before is given to say what list it has.
	listUnknown = 30 * time.Second
	listRate    = 1000 // messages a second
	listBurst   = 5000
	// lostPatience is how long miners may be without a proxy before somebody has to
	// look at it.
	lostPatience = 15 * time.Second
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
	bucket bucket
}

func newListQueue() listQueue { return listQueue{bucket: newBucket(listRate, listBurst)} }

// publish changes the list that miners are told, if it is another one. A proxy is in
// it from when it runs, or takes over, until it ends or another takes over: one that
// is out of sight, or silent, may still serve, and a miner finds out soonest.
func (c *Core) publish() {
	same := true
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
	c.state.Epoch++
	c.state.Proxies = ProxyList{Epoch: c.state.Epoch, Addresses: lists[0], Paused: c.paused()}
	for i := len(lists) - 1; i > 0; i-- {
		if lists[i] != nil {
			c.state.Proxies.More = lists[1 : i+1]
			break
		}
	}
	c.dirty = true
	c.tell(ProxiesChanged{c.state.Proxies.all()})
	for _, t := range c.tasks {
		if t.Kind == KindMiner {
			t.run.listSends = 0
			c.wantList(t)
		}
	}
}

// listFor is the list of one miner: few proxies, in an order that spreads miners
// evenly and that changes for as few as can be when a proxy comes or goes.
func (c *Core) listFor(t *Task) *message.Proxies {
	list := &message.Proxies{Epoch: c.state.Proxies.Epoch, Paused: c.state.Proxies.Paused}
	if list.Paused && t.Version < message.FirstLinked {
		return list // its executor may know no pause, but it idles without a proxy
	}
	if len(c.state.Proxies.More) == 0 {
		list.Addresses = c.state.Proxies.Addresses
		return list
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

func affinity(agent string, slot int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(agent))
	h.Write([]byte{0, byte(slot)})
	// FNV mixes its last bytes little.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	return x ^ x>>33
}

// wantList queues the list for a miner that has an older one.
func (c *Core) wantList(t *Task) {
	r := t.run
	if r.knownEpoch >= c.state.Proxies.Epoch || r.listQueued || t.State != stateRunning || t.Kill != "" || r.index < 0 {
		return
	}
	r.listQueued = true
	c.lists.due = append(c.lists.due, t)
}

func (c *Core) sendLists() {
	q := &c.lists
	for len(q.due) > 0 {
		t := q.due[0]
		r := t.run
		wanted := r.knownEpoch < c.state.Proxies.Epoch && t.State == stateRunning && t.Kill == "" && r.index >= 0
		if wanted && !q.bucket.take(c.clock) {
			return
		}
		q.due[0] = nil
		q.due = q.due[1:]
		r.listQueued = false
		if !wanted {
			continue
		}
		r.listAt = c.clock
		pause := exponential(listFirst, listMost, float64(r.listSends))
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
	q.due = nil
}

// knowsList notes what list a miner says that it has.
func (c *Core) knowsList(t *Task, epoch uint64) {
	r := t.run
	r.knownEpoch = max(r.knownEpoch, epoch)
	if r.knownEpoch < c.state.Proxies.Epoch && (r.listSends == 0 || c.clock-r.listAt >= listFirst) {
		c.wantList(t)
	}
}

// send sends a framework message to the executor of a task.
func (c *Core) send(t *Task, m *message.ToExecutor) { c.sendTo(c.peerOf(t), m) }

// hearMiner lets a miner testify for the proxy that it uses, or against the one that
// it should use.
func (c *Core) hearMiner(t *Task, m *Report) {
	const settling = 15 * time.Second // a miner that has just started has no work yet
	if m.Miner.State == "mining" {
		for _, s := range c.slots {
			if s.active != nil && (m.Miner.Proxy == "" || slices.Contains(s.active.Addresses, m.Miner.Proxy)) {
				s.witness.hear(c.clock, c.witnessSpan(), true)
				return
			}
		}
		return
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
	first.witness.hear(c.clock, c.witnessSpan(), false)
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
		return
	}
	n := 0
	for _, t := range c.tasks {
		if t.Kind == KindMiner && t.Kill == "" {
			c.kill(t, WhyGrace)
			n++
		}
	}
	c.lostAt = never
	if n > 0 {
		c.notice(slog.LevelWarn, "killed all miners for want of a proxy", "miners", n, "grace", c.set.ProxyGrace)
	}
}
