package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/message"
)

// fault is something that goes wrong at a time. It has random numbers of its own, so
// that it stays what it is when others are left out.
type fault struct {
	at   time.Time
	name string
	do   func(h *harness, rnd *rand.Rand)
}

func between(rnd *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rnd.Int64N(int64(to-from)+1))
}

func (h *harness) anAgent(rnd *rand.Rand) *simAgent { return h.agents[rnd.IntN(len(h.agents))] }

// aProxy returns a proxy that runs.
func (h *harness) aProxy(rnd *rand.Rand) *simExecutor {
	var all []*simExecutor
	for _, a := range h.agents {
		for _, id := range sortedKeysOf(a.tasks) {
			if e := a.tasks[id].executor; e.started && !e.dead && e.task.GetProxy() != nil {
				all = append(all, e)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[rnd.IntN(len(all))]
}

func (h *harness) aMiner(rnd *rand.Rand) *simExecutor {
	a := h.anAgent(rnd)
	for _, id := range sortedKeysOf(a.tasks) {
		if e := a.tasks[id].executor; e.started && !e.dead && e.task.GetMiner() != nil {
			return e
		}
	}
	return nil
}

type repertory struct {
	name   string
	weight int
	do     func(h *harness, rnd *rand.Rand)
}

// repertoire is what can go wrong, with how often it does.
var repertoire = []repertory{
	{"master fails over", 6, func(h *harness, rnd *rand.Rand) { h.master.failover(between(rnd, time.Second, 5*time.Second)) }},
	{"master is away for minutes", 3, func(h *harness, rnd *rand.Rand) { h.master.failover(between(rnd, time.Minute, 8*time.Minute)) }},
	{"connection breaks", 6, func(h *harness, rnd *rand.Rand) { h.master.disconnect() }},
	{"agent is cut off", 10, func(h *harness, rnd *rand.Rand) { h.cutFor(h.anAgent(rnd), between(rnd, time.Second, 3*time.Minute)) }},
	{"agent is cut off for minutes", 3, func(h *harness, rnd *rand.Rand) {
		h.cutFor(h.anAgent(rnd), between(rnd, 3*time.Minute, 20*time.Minute))
	}},
	{"agent is cut off for days", 2, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		h.cutFor(a, between(rnd, 10*time.Minute, 30*time.Minute))
		days := between(rnd, time.Hour, 30*24*time.Hour)
		h.after(3*time.Minute, func() {
			if h.faulty {
				h.tell("%v pass", days)
				h.warp(days)
			}
		})
	}},
	{"agent is lost for good", 3, func(h *harness, rnd *rand.Rand) {
		if a := h.anAgent(rnd); a != h.agents[0] {
			a.cutOff()
			a.lost = true
			if rnd.IntN(2) == 0 { // or what runs there runs on, out of sight
				for _, t := range a.tasks {
					t.executor.hang()
				}
			}
		}
	}},
	{"agent comes back as another", 3, func(h *harness, rnd *rand.Rand) { h.reboot(h.anAgent(rnd)) }},
	{"machine of a proxy dies", 3, func(h *harness, rnd *rand.Rand) {
		e := h.aProxy(rnd)
		if e == nil {
			return
		}
		a := e.t.agent
		for _, t := range a.tasks {
			t.executor.hang()
		}
		a.cutOff()
		h.after(between(rnd, time.Minute, 10*time.Minute), func() {
			for _, id := range sortedKeysOf(a.tasks) {
				if e := a.tasks[id].executor; e.hung {
					e.die()
				}
			}
			a.comeBack()
		})
	}},
	{"scheduler is killed", 6, func(h *harness, rnd *rand.Rand) { h.crash(between(rnd, 100*time.Millisecond, 20*time.Second)) }},
	{"scheduler is away for minutes", 3, func(h *harness, rnd *rand.Rand) { h.crash(between(rnd, time.Minute, 10*time.Minute)) }},
	{"scheduler is away for days", 1, func(h *harness, rnd *rand.Rand) {
		h.crash(10 * time.Second)
		days := between(rnd, time.Hour, 6*24*time.Hour)
		h.after(5*time.Second, func() {
			if h.faulty {
				h.warp(days)
			}
		})
	}},
	{"other settings", 4, func(h *harness, rnd *rand.Rand) {
		if h.payout += "x"; h.proxyN > 1 && rnd.IntN(2) == 0 {
			h.proxyN-- // --proxies
		}
		h.crash(between(rnd, 100*time.Millisecond, 5*time.Second))
	}},
	{"another executor", 4, func(h *harness, rnd *rand.Rand) {
		if h.digest == h.bad {
			h.bad = ""
		}
		h.digest += "x"
		h.good = h.digest
		h.crash(between(rnd, 100*time.Millisecond, 5*time.Second))
	}},
	{"an executor that cannot start", 3, func(h *harness, rnd *rand.Rand) {
		if h.bad == "" {
			h.digest += "b"
			h.bad = h.digest
			h.crash(between(rnd, 100*time.Millisecond, 5*time.Second))
			h.badRuns = rnd.IntN(2) == 0
		}
	}},
	{"executors of an agent die", 5, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; rnd.IntN(2) == 0 && t.executor.started {
				t.executor.die()
			}
		}
	}},
	{"proxy dies", 5, func(h *harness, rnd *rand.Rand) {
		if e := h.aProxy(rnd); e != nil {
			e.die()
		}
	}},
	{"proxy hangs", 5, func(h *harness, rnd *rand.Rand) {
		if e := h.aProxy(rnd); e != nil {
			e.hang()
			if rnd.IntN(2) == 0 {
				h.after(between(rnd, time.Second, 3*time.Minute), func() { e.hung = false })
			}
		}
	}},
	{"miner hangs", 3, func(h *harness, rnd *rand.Rand) {
		if e := h.aMiner(rnd); e != nil {
			e.hang()
			if rnd.IntN(2) == 0 {
				h.after(between(rnd, time.Second, 3*time.Minute), func() { e.hung = false })
			}
		}
	}},
	{"proxy has no work", 5, func(h *harness, rnd *rand.Rand) {
		if e := h.aProxy(rnd); e != nil {
			e.idle = true
			if rnd.IntN(3) > 0 {
				h.after(between(rnd, time.Second, 5*time.Minute), func() { e.idle = false })
			}
		}
	}},
	{"no agent can start a miner", 2, func(h *harness, rnd *rand.Rand) {
		h.noMiners, h.watch.book.futile = true, 0
		h.watch.book.futileFrom = h.awake()
		for _, a := range h.agents {
			for _, id := range sortedKeysOf(a.tasks) {
				if e := a.tasks[id].executor; e.started && e.task.GetMiner() != nil {
					e.die()
				}
			}
		}
		h.after(between(rnd, time.Minute, 8*time.Minute), func() { h.noMiners = false })
	}},
	{"proxies are of no use, and those that follow", 3, func(h *harness, rnd *rand.Rand) {
		curses := []curse{(*simExecutor).hang, func(e *simExecutor) { e.idle = true }, func(e *simExecutor) { e.remote = true }}
		if e := h.aProxy(rnd); e != nil {
			curses[rnd.IntN(len(curses))](e)
		}
		for range 1 + rnd.IntN(2) {
			h.cursed = append(h.cursed, curses[rnd.IntN(len(curses))])
		}
	}},
	{"proxy is out of its miners' reach", 3, func(h *harness, rnd *rand.Rand) {
		if e := h.aProxy(rnd); e != nil {
			e.remote = true
			if rnd.IntN(3) == 0 {
				h.after(between(rnd, time.Second, 5*time.Minute), func() { e.remote = false })
			}
		}
	}},
	{"another agent speaks of a task", 3, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; !t.foreign && !t.terminal {
				h.serial++
				state, liar := mesos.TASK_FAILED, mesos.AgentID{Value: "liar"}
				h.master.event(Update{mesos.TaskStatus{
					TaskID: t.info.TaskID, State: &state, AgentID: &liar, UUID: []byte(fmt.Sprintf("%016d", h.serial)),
				}})
				return
			}
		}
	}},
	{"operator drains an agent", 3, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		h.command(Operate{Drain: a.id})
		h.after(between(rnd, 10*time.Second, 4*time.Minute), func() { h.command(Operate{Undrain: a.id}) })
	}},
	{"operator scales", 3, func(h *harness, rnd *rand.Rand) {
		most := max(4, 2*len(h.agents))
		h.command(Operate{Scale: &Scale{MaxMiners: intp(1 + rnd.IntN(most))}})
		if rnd.IntN(2) == 0 {
			n := 2 + rnd.IntN(most)
			h.after(between(rnd, 5*time.Second, 3*time.Minute), func() {
				if h.faulty {
					h.command(Operate{Scale: &Scale{MaxMiners: &n}})
				}
			})
		}
	}},
	{"somebody else ends a task", 3, func(h *harness, rnd *rand.Rand) {
		e := h.aMiner(rnd)
		if rnd.IntN(4) == 0 {
			e = h.aProxy(rnd)
		}
		if e == nil || e.stuck || e.hung {
			return
		}
		if e.kill(); rnd.IntN(2) == 0 { // or it hangs in its end
			e.stuck, e.hangsInEnd = true, true
		}
	}},
	{"agents fetch slowly", 3, func(h *harness, rnd *rand.Rand) {
		h.fetch = between(rnd, 10*time.Second, 40*time.Second)
		for _, a := range h.agents {
			for _, id := range sortedKeysOf(a.tasks) {
				if e := a.tasks[id].executor; e.started && e.task.GetMiner() != nil {
					e.die()
				}
			}
		}
		h.after(between(rnd, 10*time.Second, 2*time.Minute), func() { h.fetch = 0 })
	}},
	{"operator pauses", 2, func(h *harness, rnd *rand.Rand) {
		h.command(Operate{Pause: true})
		h.after(between(rnd, 10*time.Second, 3*time.Minute), func() { h.command(Operate{Resume: true}) })
	}},
	{"operator restarts a task", 2, func(h *harness, rnd *rand.Rand) {
		if h.core != nil && len(h.core.tasks) > 0 {
			h.command(Operate{Restart: h.core.tasks[rnd.IntN(len(h.core.tasks))].ID})
		}
	}},
	{"nobody has work", 4, func(h *harness, rnd *rand.Rand) {
		h.noWork = true
		h.after(between(rnd, time.Second, 10*time.Minute), func() { h.noWork = false })
	}},
	{"clock jumps", 4, func(h *harness, rnd *rand.Rand) {
		h.skewed = true
		h.skew += between(rnd, -48*time.Hour, 48*time.Hour)
	}},
	{"disk is slow", 4, func(h *harness, rnd *rand.Rand) {
		h.slow = between(rnd, 20*time.Millisecond, 3*time.Second)
		h.after(between(rnd, time.Second, time.Minute), func() { h.slow = 0 })
	}},
	{"disk is full", 2, func(h *harness, rnd *rand.Rand) {
		h.crash(between(rnd, 5*time.Second, time.Minute)) // the scheduler ends, as it cannot store
	}},
	{"master is slow", 3, func(h *harness, rnd *rand.Rand) {
		h.late = between(rnd, 100*time.Millisecond, 5*time.Second)
		h.after(between(rnd, time.Second, 30*time.Second), func() { h.late = 0 })
	}},
	{"master takes no calls", 3, func(h *harness, rnd *rand.Rand) {
		h.stalled = true
		h.after(between(rnd, time.Second, 8*time.Minute), h.goOn)
	}},
	{"preemption", 3, func(h *harness, rnd *rand.Rand) {
		for _, a := range h.agents {
			for _, id := range sortedKeysOf(a.tasks) {
				if t := a.tasks[id]; t.executor.started && len(t.info.Resources) > 0 && t.info.Resources[0].Revocable != nil {
					reason := mesos.REASON_CONTAINER_PREEMPTED
					t.executor.dead = true
					t.update(mesos.TASK_GONE, &reason)
				}
			}
		}
	}},
	{"agent is drained", 3, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		a.draining = true
		h.master.rescindOf(a)
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; !t.terminal {
				reason := mesos.REASON_AGENT_DRAINING
				t.executor.dead = true
				t.update(mesos.TASK_KILLED, &reason)
			}
		}
		h.after(between(rnd, time.Second, 3*time.Minute), func() { a.draining = false })
	}},
	{"maintenance", 4, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		a.down = h.now.Add(between(rnd, 10*time.Second, 12*time.Minute))
		if rnd.IntN(2) == 0 { // it begins before faults end
			a.down = h.now.Add(between(rnd, 40*time.Second, 2*time.Minute))
		}
		delete(h.watch.askedFirst, a.id)
		over := h.now.Add(between(rnd, 20*time.Second, 14*time.Minute)) // or called off
		h.maintain(a, over)
	}},
	{"odd end of a task", 5, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; t.executor.started && !t.terminal && !t.foreign {
				odd := oddEnds[rnd.IntN(len(oddEnds))]
				t.executor.dead = true
				t.update(odd.state, &odd.reason)
				return
			}
		}
	}},
	{"foreign tasks", 3, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		if a.cut || !a.known {
			return
		}
		for i := range 1 + rnd.IntN(3) {
			t := &simTask{agent: a, state: mesos.TASK_RUNNING, atMaster: true, foreign: true}
			t.info = mesos.TaskInfo{TaskID: mesos.TaskID{Value: fmt.Sprintf("foreign-%d-%d", h.serial, i)}, AgentID: mesos.AgentID{Value: a.id}}
			t.executor = &simExecutor{t: t, c: h.cluster, started: true, task: new(message.Task)}
			a.add(t)
		}
	}},
	{"damaged copy in an agent's cache", 3, func(h *harness, rnd *rand.Rand) {
		a := h.anAgent(rnd)
		a.badCache = true
		a.badArchive = rnd.IntN(4) > 0
	}},
	{"operator kills", 4, func(h *harness, rnd *rand.Rand) {
		if h.core == nil || len(h.core.tasks) == 0 {
			return
		}
		id := h.core.tasks[rnd.IntN(len(h.core.tasks))].ID
		h.watch.operator[id] = true
		if rnd.IntN(2) == 0 {
			h.command(Operate{Kill: id})
			return
		}
		h.enqueue(KillTask{ID: id})
	}},
	{"failure without a cause", 2, func(h *harness, rnd *rand.Rand) { h.master.event(Failure{AgentID: h.anAgent(rnd).id}) }},
}

var repertoireWeight = func() (sum int) {
	for _, f := range repertoire {
		sum += f.weight
	}
	return sum
}()

// makePlan chooses the faults of a seed; of these, only some happen.
func (h *harness) makePlan(seed uint64, end time.Time, only []int) {
	rnd := rand.New(rand.NewPCG(seed, 3))
	h.plan = make(map[int]fault)
	at := simEpoch
	for i := 0; ; i++ {
		at = at.Add(between(rnd, time.Second, 25*time.Second))
		if !at.Before(end) {
			return
		}
		n := rnd.IntN(repertoireWeight)
		k := 0
		for ; n >= repertoire[k].weight; k++ {
			n -= repertoire[k].weight
		}
		if seed%100 == 7 && i%4 == 1 { // only a large cluster shows how many are replaced at a time
			k = slices.IndexFunc(repertoire, func(f repertory) bool { return f.name == "another executor" })
		}
		if seed%100 == 7 && i%4 == 3 { // nor does a small one show what is held back everywhere
			k = slices.IndexFunc(repertoire, func(f repertory) bool { return f.name == "no agent can start a miner" })
		}
		if only != nil && !slices.Contains(only, i) {
			continue
		}
		f := fault{at, repertoire[k].name, repertoire[k].do}
		h.plan[i] = f
		own := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		h.after(f.at.Sub(h.now), func() {
			if h.faulty {
				h.tell("--- %s", f.name)
				h.counts[f.name]++
				f.do(h, own)
			}
		})
	}
}

// heal ends all faults but those that nothing but the scheduler can mend: what hangs
// goes on to hang, and agents that are lost stay so.
func (h *harness) heal() {
	h.faulty = false
	h.tell("--- faults end")
	h.noWork, h.noMiners, h.slow, h.late, h.fetch, h.cursed = false, false, 0, 0, 0, nil
	h.goOn()
	if !h.master.up {
		h.master.failover(0)
	}
	h.liftCommands()
	for _, a := range h.agents {
		a.comeBack()
		a.draining, a.down = false, time.Time{}
		for _, t := range a.tasks {
			t.executor.stuck = false
		}
	}
}

func (h *harness) cutFor(a *simAgent, d time.Duration) {
	h.tell("agent %s, for %v", a.id, d)
	a.cutOff()
	h.after(d, func() {
		h.tell("agent %s comes back", a.id)
		a.comeBack()
	})
}

// reboot ends everything on an agent, which comes back with another id; for the
// master the old one is out of reach for good.
func (h *harness) reboot(a *simAgent) {
	if a.lost || a == h.agents[0] {
		return
	}
	a.cutOff()
	a.lost = true
	for _, t := range a.tasks {
		t.executor.dead = true
	}
	h.serial++
	b := &simAgent{c: h.cluster, id: fmt.Sprintf("%s-%d", a.id, h.serial), known: true, tasks: make(map[string]*simTask), total: a.total}
	b.rack, b.zone = a.rack, a.zone
	h.after(20*time.Second, func() {
		h.agents = append(h.agents, b)
		h.master.agents[b.id] = b
	})
}

// maintain lets the master ask for an agent's resources, for as long as its
// maintenance is planned.
func (h *harness) maintain(a *simAgent, over time.Time) {
	if !h.now.Before(over) || a.down.IsZero() {
		a.down = time.Time{}
		return
	}
	if !a.cut && a.known {
		h.watch.ask(h, a)
		h.serial++
		h.master.event(InverseOffers{[]mesos.InverseOffer{{
			OfferID: mesos.OfferID{Value: fmt.Sprintf("I%d", h.serial)}, AgentID: &mesos.AgentID{Value: a.id},
			Unavailability: mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: a.down.UnixNano()}},
		}}})
	}
	h.after(min(time.Minute, over.Sub(h.now)), func() { h.maintain(a, over) })
}

func (e *simExecutor) hang() {
	if !e.hung {
		if e.serves() {
			e.hungAt = e.c.awake() // its miners notice after a while
		}
		e.hung = true
	}
}

func (h *harness) command(e Operate) {
	e.Who, e.Result = "olga", new(Result)
	if e.Drain != "" {
		h.watch.drained[e.Drain] = h.awake()
	}
	h.enqueue(e)
}

// liftCommands takes back what operators wanted, once the scheduler listens.
func (h *harness) liftCommands() {
	if h.core == nil {
		h.after(time.Second, h.liftCommands)
		return
	}
	h.command(Operate{Resume: true})
	h.command(Operate{Scale: &Scale{MaxMiners: intp(-1)}})
	for _, a := range h.agents {
		h.command(Operate{Undrain: a.id})
	}
	core := h.core
	h.after(5*time.Second, func() {
		if h.core != core { // it crashed, perhaps before it stored that
			h.liftCommands()
		}
	})
}
