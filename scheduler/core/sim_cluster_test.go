package core

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// cluster is a small Mesos in virtual time: a master, agents, and executors that
// behave like Lode's. Everything that happens comes from one seed.
type cluster struct {
	rnd    *rand.Rand
	now    time.Time
	warped time.Duration
	timers timers
	serial int

	faulty bool // faults happen
	faults chances
	chaos  func(string) // counts what went wrong

	master   *simMaster
	agents   []*simAgent
	executed map[string]bool         // task ids that ever reached the master
	proxyAt  map[string]*simExecutor // by address
	noWork   bool                    // no upstream has work
	bad      string                  // digest of a binary that cannot start
	badRuns  bool                    // it runs for a moment, and says nothing
	noMiners bool                    // no agent can start a miner
	fetch    time.Duration           // that executors take to be fetched
	cursed   []curse                 // of the next proxies that start

	// toScheduler is where events go.
	toScheduler func(session int, e Event)
	// told notes that an offer tells of an agent's maintenance.
	told func(*simAgent)
	// say, if anybody listens, is told what happens.
	say func(string, ...any)
}

// chances are those of what can go wrong at any time, in a history.
type chances struct {
	loseMessage, duplicate, launchFails, loseLaunch, executorDies float64
	loseCall                                                      float64 // breaks the session too
	dropCall                                                      float64 // does not
	oddEnd                                                        float64
	refuse                                                        float64 // an ACCEPT
	neverRuns                                                     float64
}

// curse is what is wrong with a proxy from its start.
type curse func(*simExecutor)

type timer struct {
	at  time.Time
	seq int
	do  func()
}

// timers is a heap, earliest first, in the order of their setting among equals. (That of
// the library allocates for each.)
type timers []timer

func (t timers) less(i, j int) bool {
	if d := t[i].at.Compare(t[j].at); d != 0 {
		return d < 0
	}
	return t[i].seq < t[j].seq
}

func (t *timers) push(x timer) {
	*t = append(*t, x)
	h := *t
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (t *timers) pop() timer {
	h := *t
	top, last := h[0], len(h)-1
	h[0], h[last] = h[last], timer{}
	h = h[:last]
	*t = h
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h.less(child, least) {
				least = child
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

func (c *cluster) after(d time.Duration, do func()) {
	c.serial++
	c.timers.push(timer{c.now.Add(d), c.serial, do})
}

func (c *cluster) chance(p float64) bool { return c.faulty && p > 0 && c.rnd.Float64() < p }

// between returns a random duration.
func (c *cluster) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.rnd.Int64N(int64(to-from)+1))
}

// run works until the virtual time, or until done says so.
func (c *cluster) run(until time.Time, done func() bool) {
	for len(c.timers) > 0 && !c.timers[0].at.After(until) {
		t := c.timers.pop()
		c.now = t.at
		t.do()
		if done != nil && done() {
			return
		}
	}
	if c.now.Before(until) {
		c.now = until
	}
}

// warp lets time pass in which nothing happens.
func (c *cluster) warp(d time.Duration) {
	for i := range c.timers {
		c.timers[i].at = c.timers[i].at.Add(d)
	}
	c.now = c.now.Add(d)
	c.warped += d
}

// awake is the time without what was warped away.
func (c *cluster) awake() time.Time { return c.now.Add(-c.warped) }

type simAgent struct {
	c           *cluster
	id          string
	rack, zone  int
	lost        bool // for good
	cut         bool // from the master
	cutAt       time.Time
	cutAwake    time.Time // the same, without what was warped away
	backAt      time.Time
	awayMost    time.Duration // the longest that it was cut off
	unreachable bool          // the master has said so
	known       bool          // to this master
	draining    bool
	splits      bool      // its resources come in two offers
	portless    bool      // it has no ports, so no proxy fits there
	down        time.Time // announced maintenance; zero: none
	total       []mesos.Resource
	tasks       map[string]*simTask
	left        inventory // what free returned; nil: to be made anew
	filterUntil time.Time
	filter      int64     // cpus that are refused, thousandths
	offers      int       // outstanding
	fits        time.Time // since when a proxy would fit on what is free; zero: it does not
	badCache    bool      // its copy of the executor is damaged
	badArchive  bool      // and so is that of the archive with it
}

type simTask struct {
	agent     *simAgent
	info      mesos.TaskInfo
	state     mesos.TaskState
	terminal  bool
	updates   []mesos.TaskStatus // unacknowledged, oldest first
	atMaster  bool
	executor  *simExecutor
	resending bool
	foreign   bool
}

func newCluster(rnd *rand.Rand, agents int) *cluster {
	c := &cluster{rnd: rnd, now: simEpoch, executed: make(map[string]bool), proxyAt: make(map[string]*simExecutor)}
	c.master = &simMaster{
		c: c, up: true, durable: rnd.IntN(2) == 0, offers: make(map[string]*simOffer), recovered: make(map[string]bool),
		byID: make(map[string]*simTask), agents: make(map[string]*simAgent),
	}
	for i := range agents {
		a := &simAgent{c: c, id: fmt.Sprintf("S%d", i), known: true, tasks: make(map[string]*simTask)}
		cpus := 1 + rnd.IntN(4)
		if i == 0 {
			cpus += 2 // there is always room for a proxy and a miner
		}
		a.total = []mesos.Resource{scalar("cpus", float64(cpus), ""), scalar("mem", 4096, ""), ports(31000, 31010)}
		if rnd.IntN(3) == 0 {
			a.total = append(a.total, reserved(scalar("cpus", 1.5, ""), "mining"), reserved(scalar("mem", 512, ""), "mining"))
		}
		if rnd.IntN(3) == 0 {
			a.total = append(a.total, revocable(scalar("cpus", 2, "")))
		}
		a.splits = rnd.IntN(8) == 0
		if i > 0 && rnd.IntN(8) == 0 {
			a.portless = true
			a.total = slices.DeleteFunc(a.total, func(r mesos.Resource) bool { return r.Name == "ports" })
		}
		c.agents = append(c.agents, a)
		c.master.agents[a.id] = a
	}
	c.allocate()
	return c
}

func scalar(name string, v float64, role string) mesos.Resource {
	t := mesos.SCALAR
	r := mesos.Resource{Name: name, Type: &t, Scalar: &mesos.Value_Scalar{Value: v}}
	r.AllocationInfo = &mesos.Resource_AllocationInfo{Role: strp("mining")}
	if role != "" {
		r.Role = &role
	}
	return r
}

func ports(from, to uint64) mesos.Resource {
	t := mesos.RANGES
	return mesos.Resource{
		Name: "ports", Type: &t, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: from, End: to}}},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
	}
}

func strp(s string) *string { return &s }

// free is what no task uses: what the master believes, which follows the latest
// state of a task even if its update is not acknowledged.
func (a *simAgent) free() inventory {
	if a.left != nil {
		return a.left
	}
	inv := newInventory(a.total, true)
	for _, t := range a.tasks {
		if !t.terminal {
			if !inv.subtract(t.resources()) {
				panic("agent " + a.id + " is overcommitted")
			}
		}
	}
	a.left = inv
	switch fits := a.fitsProxy(); {
	case !fits:
		a.fits = time.Time{}
	case a.fits.IsZero():
		a.fits = a.c.awake()
	}
	return inv
}

func (a *simAgent) fitsProxy() bool {
	return !a.portless && a.left.sum("cpus", false) >= proxyCPUs && a.left.sum("mem", false) >= proxyMem*1000
}

func (t *simTask) resources() []mesos.Resource {
	if t.info.Executor == nil {
		return t.info.Resources
	}
	return slices.Concat(t.info.Resources, t.info.Executor.Resources)
}

// subtract takes resources out of an inventory; false: they are not in it.
func (inv inventory) subtract(resources []mesos.Resource) bool {
	for _, want := range newInventory(resources, true) {
		i := slices.IndexFunc(inv, func(f flavour) bool { return f.same(want.template) })
		if i < 0 || inv[i].amount < want.amount {
			return false
		}
		inv[i].amount -= want.amount
		for _, r := range want.ranges {
			for p := r.Begin; p <= r.End; p++ {
				before := countPorts(inv[i].ranges)
				inv[i].removePort(p)
				if countPorts(inv[i].ranges) != before-1 {
					return false
				}
			}
		}
	}
	return true
}

// of returns what there is of one name.
func (inv inventory) of(name string) (flavours []*flavour) {
	for i := range inv {
		if inv[i].is(name) {
			flavours = append(flavours, &inv[i])
		}
	}
	return flavours
}

// resources turns an inventory back into a list.
func (inv inventory) resources() []mesos.Resource {
	var out []mesos.Resource
	for _, name := range []string{"cpus", "mem", "ports"} {
		for _, f := range inv.of(name) {
			switch {
			case f.amount > 0:
				r := withoutAmount(f.template)
				r.Scalar = &mesos.Value_Scalar{Value: fromMilli(f.amount)}
				out = append(out, r)
			case len(f.ranges) > 0:
				r := withoutAmount(f.template)
				r.Ranges = &mesos.Value_Ranges{Range: slices.Clone(f.ranges)}
				out = append(out, r)
			}
		}
	}
	return out
}

// allocate offers what is free, once a second.
func (c *cluster) allocate() {
	c.after(time.Second, c.allocate)
	m := c.master
	if !m.up || m.session == 0 || m.suppressed {
		return
	}
	var offers []mesos.Offer
	for _, a := range c.agents {
		if a.cut || a.lost || !a.known || a.draining || a.offers > 0 {
			continue
		}
		inv := a.free()
		if inv.total("cpus") < 10 && inv.total("mem") < 32000 {
			continue
		}
		if c.now.Before(a.filterUntil) && inv.total("cpus") <= a.filter {
			continue
		}
		all := inv.resources()
		parts := [][]mesos.Resource{all}
		if a.splits && len(all) > 3 && c.rnd.IntN(2) == 0 {
			parts = [][]mesos.Resource{all[:1], all[1:]}
		}
		for _, resources := range parts {
			m.nextOffer++
			o := mesos.Offer{
				ID: mesos.OfferID{Value: fmt.Sprintf("G%d-O%d", m.generation, m.nextOffer)}, FrameworkID: mesos.FrameworkID{Value: m.framework},
				AgentID: mesos.AgentID{Value: a.id}, Hostname: "host-" + a.id, Resources: resources,
				AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
			}
			a.describe(&o)
			if !a.down.IsZero() {
				if c.told != nil {
					c.told(a)
				}
				o.Unavailability = &mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: a.down.UnixNano()}}
			}
			m.offers[o.ID.Value] = &simOffer{a, o, c.awake(), m.session}
			a.offers++
			offers = append(offers, o)
		}
	}
	if len(offers) > 0 {
		m.event(Offers{offers})
		if c.chance(0.05) {
			id := offers[0].ID.Value
			c.after(c.between(0, 50*time.Millisecond), func() { m.rescind(id) })
		}
	}
}

func (a *simAgent) reregister() {
	m := a.c.master
	if a.cut || a.lost || !m.up || a.known && !a.unreachable {
		return
	}
	wasUnreachable := a.unreachable
	wasRecovered := m.recovered[a.id]
	a.known, a.unreachable = true, false
	delete(m.recovered, a.id)
	for _, id := range sortedKeysOf(a.tasks) {
		t := a.tasks[id]
		t.atMaster = true
		if wasUnreachable || !wasRecovered {
			m.event(Update{t.status(mesos.REASON_AGENT_REREGISTERED)})
		}
	}
	a.resendHeads()
}

// cutOff partitions the agent from the master.
func (a *simAgent) cutOff() {
	m := a.c.master
	if a.cut || a.lost {
		return
	}
	a.cut, a.cutAt, a.cutAwake = true, a.c.now, a.c.awake()
	m.rescindOf(a)
	cutAt := a.cutAt
	a.c.after(75*time.Second, func() {
		if !a.cut || a.cutAt != cutAt || a.unreachable || !a.known || !m.up {
			return
		}
		a.unreachable, a.known = true, false
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; t.atMaster && !t.terminal {
				s := t.status(mesos.REASON_AGENT_REMOVED)
				state := mesos.TASK_UNREACHABLE
				s.State = &state
				m.event(Update{s})
			}
			a.tasks[id].atMaster = false
		}
		m.event(Failure{AgentID: a.id})
	})
}

func (a *simAgent) comeBack() {
	if a.lost || !a.cut {
		return
	}
	a.cut = false
	a.backAt = a.c.awake()
	a.awayMost = max(a.awayMost, a.c.now.Sub(a.cutAt))
	if !a.known || a.unreachable {
		a.c.after(a.c.between(0, 2*time.Second), a.reregister)
	} else {
		a.resendHeads()
	}
}

// status is a master's word about a task, without a uuid.
func (t *simTask) status(reason mesos.TaskStatus_Reason) mesos.TaskStatus {
	state := t.state
	s := mesos.TaskStatus{TaskID: t.info.TaskID, State: &state, Reason: &reason, AgentID: &t.info.AgentID}
	if t.info.Executor != nil {
		s.ExecutorID = &t.info.Executor.ExecutorID
	}
	return s
}

// update adds a status to the task's stream.
func (t *simTask) update(state mesos.TaskState, reason *mesos.TaskStatus_Reason, text ...string) {
	if t.terminal {
		return
	}
	t.state = state
	t.terminal = terminal(state.String())
	t.agent.left = nil
	c := t.agent.c
	c.serial++
	s := mesos.TaskStatus{
		TaskID: t.info.TaskID, State: &state, Reason: reason, AgentID: &t.info.AgentID, UUID: []byte(fmt.Sprintf("%016d", c.serial)),
	}
	if t.info.Executor != nil {
		s.ExecutorID = &t.info.Executor.ExecutorID
	}
	if len(text) > 0 {
		s.Message = &text[0]
	}
	t.updates = append(t.updates, s)
	if len(t.updates) == 1 {
		t.sendHead()
	}
}

func (t *simTask) sendHead() {
	a := t.agent
	if len(t.updates) == 0 || a.lost {
		return
	}
	head := t.updates[0]
	if !a.cut && a.known {
		t.atMaster = true
		a.c.master.event(Update{head})
		if a.c.chance(a.c.faults.duplicate) {
			a.c.master.event(Update{head})
		}
	}
	if !t.resending {
		t.resending = true
		a.c.after(10*time.Second, func() {
			t.resending = false
			t.sendHead()
		})
	}
}

func (a *simAgent) resendHeads() {
	for _, id := range sortedKeysOf(a.tasks) {
		a.tasks[id].sendHead()
	}
}

func (c *cluster) task(id string) *simTask { return c.master.byID[id] }

func (a *simAgent) add(t *simTask) {
	a.tasks[t.info.TaskID.Value] = t
	a.c.master.byID[t.info.TaskID.Value] = t
	a.left = nil
	if p := t.executor.task.GetProxy(); p != nil {
		a.c.proxyAt[net.JoinHostPort(p.AdvertiseHost, fmt.Sprint(p.StratumPort))] = t.executor
	}
}

func (a *simAgent) forget(t *simTask) {
	delete(a.tasks, t.info.TaskID.Value)
	delete(a.c.master.byID, t.info.TaskID.Value)
	a.left = nil
}

// refuse hides what is offered no more than was refused.
func (a *simAgent) refuse(f *mesos.Filters, refused inventory) {
	seconds := 5.0
	if f != nil && f.RefuseSeconds != nil {
		seconds = *f.RefuseSeconds
	}
	if a.splits {
		seconds = min(seconds, 5) // a filter does not hide what is offered in other parts
	}
	a.filterUntil = a.c.now.Add(time.Duration(seconds * float64(time.Second)))
	a.filter = refused.total("cpus")
}
