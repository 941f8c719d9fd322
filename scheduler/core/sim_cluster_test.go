package core

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// cluster is a small Mesos in virtual time: a master, agents, and executors that
// behave like Lode's. Everything that happens comes from one seed.
type cluster struct {
	rnd    *rand.Rand
	now    time.Time
	timers timers
	serial int

	faulty bool // faults happen
	faults faults

	master   *simMaster
	agents   []*simAgent
	executed map[string]bool // task ids that ever reached the master

	// scheduler is where events go; nil while it is down.
	toScheduler func(session int, e Event)
}

// faults are the chances of what can go wrong, in a history.
type faults struct {
	loseMessage, duplicate, launchFails, loseLaunch, executorDies float64
	loseCall                                                      float64 // breaks the session too
}

type timer struct {
	at  time.Time
	seq int
	do  func()
}

type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	if t[i].at.Equal(t[j].at) {
		return t[i].seq < t[j].seq
	}
	return t[i].at.Before(t[j].at)
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

func (c *cluster) after(d time.Duration, do func()) {
	c.serial++
	heap.Push(&c.timers, timer{c.now.Add(d), c.serial, do})
}

func (c *cluster) chance(p float64) bool { return c.faulty && c.rnd.Float64() < p }

// between returns a random duration.
func (c *cluster) between(from, to time.Duration) time.Duration {
	return from + time.Duration(c.rnd.Int64N(int64(to-from)+1))
}

// run works until the virtual time, or until done says so.
func (c *cluster) run(until time.Time, done func() bool) {
	for len(c.timers) > 0 && !c.timers[0].at.After(until) {
		t := heap.Pop(&c.timers).(timer)
		c.now = t.at
		t.do()
		if done != nil && done() {
			return
		}
	}
	c.now = until
}

type simAgent struct {
	c           *cluster
	id          string
	lost        bool // for good
	cut         bool // from the master
	unreachable bool // the master has said so
	known       bool // to this master
	total       []mesos.Resource
	tasks       map[string]*simTask
	left        inventory // what free returned; nil: to be made anew
	filterUntil time.Time
	filter      int64 // cpus that are refused, thousandths
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
}

func newCluster(rnd *rand.Rand, agents int) *cluster {
	c := &cluster{rnd: rnd, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), executed: make(map[string]bool)}
	c.master = &simMaster{c: c, up: true, durable: rnd.IntN(2) == 0, offers: make(map[string]*simOffer), recovered: make(map[string]bool)}
	for i := range agents {
		a := &simAgent{c: c, id: fmt.Sprintf("S%d", i), known: true, tasks: make(map[string]*simTask)}
		cpus := 1 + rnd.IntN(4)
		if i == 0 {
			cpus += 2 // there is always room for a proxy and a miner
		}
		a.total = []mesos.Resource{scalar("cpus", float64(cpus), ""), scalar("mem", 4096, ""), ports(31000, 31010)}
		if rnd.IntN(3) == 0 {
			a.total = append(a.total, scalar("cpus", 1.5, "mining"), scalar("mem", 512, "mining"))
		}
		if rnd.IntN(3) == 0 {
			r := scalar("cpus", 2, "")
			r.Revocable = &mesos.Resource_RevocableInfo{}
			a.total = append(a.total, r)
		}
		c.agents = append(c.agents, a)
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
			if !inv.subtract(t.info.Resources) {
				panic("agent " + a.id + " is overcommitted")
			}
		}
	}
	a.left = inv
	return inv
}

// subtract takes resources out of an inventory; false: they are not in it.
func (inv inventory) subtract(resources []mesos.Resource) bool {
	for name, flavours := range newInventory(resources, true) {
		for _, want := range flavours {
			key, _ := want.template.Marshal()
			i := slices.IndexFunc(inv[name], func(f *flavour) bool {
				k, _ := f.template.Marshal()
				return string(k) == string(key)
			})
			if i < 0 || inv[name][i].amount < want.amount {
				return false
			}
			inv[name][i].amount -= want.amount
			for _, r := range want.ranges {
				for p := r.Begin; p <= r.End; p++ {
					before := countPorts(inv[name][i].ranges)
					inv[name][i].removePort(p)
					if countPorts(inv[name][i].ranges) != before-1 {
						return false
					}
				}
			}
		}
	}
	return true
}

// resources turns an inventory back into a list.
func (inv inventory) resources() []mesos.Resource {
	var out []mesos.Resource
	for _, name := range []string{"cpus", "mem", "ports"} {
		for _, f := range inv[name] {
			switch {
			case f.amount > 0:
				r := f.template
				r.Scalar = &mesos.Value_Scalar{Value: fromMilli(f.amount)}
				out = append(out, r)
			case len(f.ranges) > 0:
				r := f.template
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
		if a.cut || a.lost || !a.known || m.offered(a) {
			continue
		}
		inv := a.free()
		if inv.total("cpus") < 10 && inv.total("mem") < 32000 {
			continue
		}
		if c.now.Before(a.filterUntil) && inv.total("cpus") <= a.filter {
			continue
		}
		m.nextOffer++
		o := mesos.Offer{
			ID: mesos.OfferID{Value: fmt.Sprintf("G%d-O%d", m.generation, m.nextOffer)}, FrameworkID: mesos.FrameworkID{Value: m.framework},
			AgentID: mesos.AgentID{Value: a.id}, Hostname: "host-" + a.id, Resources: inv.resources(),
			AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
		}
		m.offers[o.ID.Value] = &simOffer{a, o}
		offers = append(offers, o)
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
	for _, id := range sortedKeys(a.tasks) {
		t := a.tasks[id]
		t.atMaster = true
		if wasUnreachable || !wasRecovered {
			s := t.status(mesos.REASON_AGENT_REREGISTERED)
			m.event(Update{s})
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
	a.cut = true
	for id, o := range m.offers {
		if o.agent == a {
			m.rescind(id)
		}
	}
	a.c.after(75*time.Second, func() {
		if !a.cut || a.unreachable || !a.known {
			return
		}
		a.unreachable, a.known = true, false
		for _, id := range sortedKeys(a.tasks) {
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
	if !a.known || a.unreachable {
		a.c.after(a.c.between(0, 2*time.Second), a.reregister)
	} else {
		a.resendHeads()
	}
}

// status is a master's word about a task, without a uuid.
func (t *simTask) status(reason mesos.TaskStatus_Reason) mesos.TaskStatus {
	state := t.state
	return mesos.TaskStatus{
		TaskID: t.info.TaskID, State: &state, Reason: &reason, AgentID: &t.info.AgentID,
		ExecutorID: &t.info.Executor.ExecutorID,
	}
}

// update adds a status to the task's stream.
func (t *simTask) update(state mesos.TaskState, reason *mesos.TaskStatus_Reason) {
	if t.terminal {
		return
	}
	t.state = state
	t.terminal = terminal(state.String())
	t.agent.left = nil
	c := t.agent.c
	c.serial++
	uuid := []byte(fmt.Sprintf("%016d", c.serial))
	s := mesos.TaskStatus{
		TaskID: t.info.TaskID, State: &state, Reason: reason, AgentID: &t.info.AgentID,
		ExecutorID: &t.info.Executor.ExecutorID, UUID: uuid,
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
	for _, id := range sortedKeys(a.tasks) {
		a.tasks[id].sendHead()
	}
}

func (c *cluster) agent(id string) *simAgent {
	for _, a := range c.agents {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (c *cluster) task(id string) *simTask {
	for _, a := range c.agents {
		if t := a.tasks[id]; t != nil {
			return t
		}
	}
	return nil
}

func (a *simAgent) refuse(f *mesos.Filters) {
	seconds := 5.0
	if f != nil && f.RefuseSeconds != nil {
		seconds = *f.RefuseSeconds
	}
	a.filterUntil = a.c.now.Add(time.Duration(seconds * float64(time.Second)))
	a.filter = a.free().total("cpus")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
