package core

import (
	"container/heap"
	"math"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/scheduler/constraint"
)

// decaying counts events and forgets half of them every halfLife.
type decaying struct {
	n  float64
	at time.Duration
}

const halfLife = 5 * time.Minute

func (d *decaying) count(clock time.Duration) float64 {
	if d.n == 0 {
		return 0
	}
	return d.n * math.Exp2(-float64(clock-d.at)/float64(halfLife))
}

func (d *decaying) add(clock time.Duration, n float64) {
	d.n, d.at = d.count(clock)+n, clock
}

// agent is what is remembered of an agent. It is not stored: a scheduler that was
// restarted may try again.
type agent struct {
	id, hostname string
	url          *mesos.URL // of its API, never changed; nil: no offer has told it
	tasks        []*Task
	place        constraint.Place // nil: not known, or there are no constraints
	mining       int              // of these, miners that run and are wanted
	cpus         int64            // of miners that are wanted and not away, thousandths
	failures     decaying
	busy         *busyness     // nil: others never were
	until        time.Duration // nothing is launched before
	noHold       time.Duration // no offer of it is kept before
	seen         time.Duration
	badCache     string // digest of the binary that its fetcher cache has a bad copy of
	plain        bool   // it could not get the executor's archive, or its copy is damaged
	spare        spare
	down         *outage // nil: no maintenance is planned
	index        int     // in Core.fleet
	walked       uint32  // the last Walk that saw it
}

// spare is what an agent has left of what a proxy needs beside cpus, as its last offers
// say: those that come together are parts of one whole.
type spare struct {
	known bool
	at    time.Duration
	mem   int64 // thousandths of a MB
	ports uint64
}

const sparePause = 2 * time.Second

func (s *spare) see(clock time.Duration, inv inventory) {
	if !s.known || clock-s.at >= sparePause {
		*s = spare{known: true, at: clock}
	}
	s.mem, s.ports = max(s.mem, inv.sum("mem", false)), max(s.ports, inv.ports())
}

// outage is a planned maintenance.
type outage struct {
	agent *agent
	from  time.Time
	lasts time.Duration // 0: for ever
	told  time.Duration // when Mesos last told of it
	index int           // in outages; -1: it has been heeded
}

// outages is a heap of those that are to be heeded, earliest first.
type outages []*outage

func (o outages) Len() int           { return len(o) }
func (o outages) Less(i, j int) bool { return o[i].from.Before(o[j].from) }
func (o outages) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].index, o[j].index = i, j
}

func (o *outages) Push(x any) {
	x.(*outage).index = len(*o)
	*o = append(*o, x.(*outage))
}

func (o *outages) Pop() any {
	last := len(*o) - 1
	x := (*o)[last]
	(*o)[last], x.index = nil, -1
	*o = (*o)[:last]
	return x
}

// agentLife is how long an agent without tasks that is not heard of is remembered.
const agentLife = time.Hour

// agent returns the record of an agent, making one if there is none.
func (c *Core) agent(id, hostname string) *agent {
	a := c.agents[id]
	if a == nil {
		a = &agent{id: id, index: len(c.fleet)}
		c.agents[id] = a
		c.fleet = append(c.fleet, a)
		c.watchAgent(a)
	}
	if hostname != "" {
		a.hostname = hostname
	}
	a.seen = c.clock
	return a
}

// watchAgent forgets an agent that is of no use any more.
func (c *Core) watchAgent(a *agent) {
	c.after(agentLife, func() {
		if len(a.tasks) == 0 && c.clock-a.seen >= agentLife && c.clock >= a.until {
			c.forgetAgent(a)
			return
		}
		c.watchAgent(a)
	})
}

func (c *Core) forgetAgent(a *agent) {
	delete(c.agents, a.id)
	c.callOff(a)
	last := c.fleet[len(c.fleet)-1]
	c.fleet[a.index], last.index = last, a.index
	c.fleet[len(c.fleet)-1] = nil
	c.fleet = c.fleet[:len(c.fleet)-1]
}

func (c *Core) leaveAlone(a *agent, d time.Duration) {
	a.until = max(a.until, c.clock+c.jitter(d))
}

func (c *Core) unavailability(a *agent, u *mesos.Unavailability) {
	if u == nil {
		c.callOff(a)
		return
	}
	if a.down == nil {
		a.down = &outage{agent: a, index: -1}
	}
	o := a.down
	o.from, o.told, o.lasts = time.Unix(0, u.Start.Nanoseconds), c.clock, 0
	if u.Duration != nil {
		o.lasts = time.Duration(u.Duration.Nanoseconds)
	}
	if o.index < 0 {
		heap.Push(&c.outages, o)
	} else {
		heap.Fix(&c.outages, o.index)
	}
}

// callOff forgets the maintenance of an agent.
func (c *Core) callOff(a *agent) {
	if a.down != nil && a.down.index >= 0 {
		heap.Remove(&c.outages, a.down.index)
	}
	a.down = nil
}

// maintenance says whether the agent is in maintenance, or will be within margin.
func (a *agent) maintenance(now time.Time, margin time.Duration) (from time.Time, soon bool) {
	if a == nil || a.down == nil || (a.down.lasts > 0 && now.After(a.down.from.Add(a.down.lasts))) {
		return time.Time{}, false
	}
	return a.down.from, now.Add(margin).After(a.down.from)
}

// exponential returns base, doubled n times, at most limit.
func exponential(base, limit time.Duration, n float64) time.Duration {
	if d := float64(base) * math.Exp2(max(0, n)); d < float64(limit) {
		return time.Duration(d)
	}
	return limit
}
