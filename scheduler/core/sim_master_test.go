package core

import (
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

type simMaster struct {
	c          *cluster
	generation int
	up         bool
	durable    bool // it remembers agents over its own failover
	session    int  // of the scheduler; 0: none
	sessions   int
	framework  string
	suppressed bool
	offers     map[string]*simOffer
	nextOffer  int
	recovered  map[string]bool // agents of before that have not come back
	byID       map[string]*simTask
	agents     map[string]*simAgent
}

type simOffer struct {
	agent   *simAgent
	info    mesos.Offer
	at      time.Time
	session int
}

func (m *simMaster) take(id string) *simOffer {
	o := m.offers[id]
	if o != nil {
		delete(m.offers, id)
		o.agent.offers--
	}
	return o
}

func (m *simMaster) clearOffers() {
	clear(m.offers)
	for _, a := range m.c.agents {
		a.offers = 0
	}
}

func (m *simMaster) rescind(id string) {
	if m.take(id) != nil {
		m.event(Rescind{id})
	}
}

func (m *simMaster) rescindOf(a *simAgent) {
	for _, id := range sortedKeysOf(m.offers) {
		if m.offers[id].agent == a {
			m.rescind(id)
		}
	}
}

// event sends an event on the current stream; streams keep their order.
func (m *simMaster) event(e Event) {
	if !m.up || m.session == 0 {
		return
	}
	session := m.session
	m.c.after(5*time.Millisecond, func() { m.c.toScheduler(session, e) })
}

// subscribe starts a session.
func (m *simMaster) subscribe(id string) (session int) {
	m.sessions++
	m.session = m.sessions
	m.suppressed = false
	m.clearOffers()
	for _, a := range m.c.agents {
		a.filterUntil = time.Time{}
	}
	if id == "" {
		id = fmt.Sprintf("F%d", m.sessions)
	}
	m.framework = id
	m.event(Subscribed{FrameworkID: id, Master: "master:5050", Session: uint64(m.session)})
	for _, a := range m.c.agents {
		if a.known && !a.cut && !a.lost {
			a.resendHeads()
		}
	}
	return m.session
}

// disconnect ends the session.
func (m *simMaster) disconnect() {
	if m.session != 0 {
		session := m.session
		m.session = 0
		m.clearOffers()
		m.c.after(5*time.Millisecond, func() { m.c.toScheduler(session, Disconnected{"the stream broke"}) })
	}
}

// failover replaces the master by one that knows only what agents tell it.
func (m *simMaster) failover(down time.Duration) {
	m.disconnect()
	m.up = false
	m.generation++
	clear(m.recovered)
	for _, a := range m.c.agents {
		if a.known && !a.unreachable && m.durable {
			m.recovered[a.id] = true
		}
		a.known = false
		for _, t := range a.tasks {
			t.atMaster = false
		}
	}
	generation := m.generation
	m.c.after(down, func() {
		if m.generation != generation {
			return
		}
		m.up = true
		for _, a := range m.c.agents {
			m.c.after(m.c.between(0, 10*time.Second), a.reregister)
		}
	})
	m.c.after(down+10*time.Minute, func() { // --agent_reregister_timeout
		for _, a := range m.c.agents {
			if m.generation == generation && m.recovered[a.id] {
				delete(m.recovered, a.id)
				a.unreachable = true
			}
		}
	})
}

// call carries out a call of the scheduler.
func (m *simMaster) call(session int, call *scheduler.Call) {
	if !m.up || session != m.session {
		return
	}
	switch call.Type {
	case scheduler.Call_ACCEPT:
		m.accept(call.Accept)
	case scheduler.Call_DECLINE:
		for _, id := range call.Decline.OfferIDs {
			if o := m.take(id.Value); o != nil {
				o.agent.refuse(call.Decline.Filters, newInventory(o.info.Resources, true))
			}
		}
	case scheduler.Call_REVIVE:
		m.suppressed = false
		for _, a := range m.c.agents {
			a.filterUntil = time.Time{}
		}
	case scheduler.Call_SUPPRESS:
		m.suppressed = true
	case scheduler.Call_KILL:
		m.kill(call.Kill.TaskID.Value, call.Kill.AgentID.Value)
	case scheduler.Call_SHUTDOWN:
		if t := m.c.task(call.Shutdown.ExecutorID.Value); t != nil && !t.agent.cut && t.agent.known {
			m.c.after(5*time.Second, func() { t.executor.die() })
		}
	case scheduler.Call_ACKNOWLEDGE:
		m.acknowledge(call.Acknowledge)
	case scheduler.Call_RECONCILE:
		m.reconcile(call.Reconcile)
	case scheduler.Call_MESSAGE:
		if t := m.c.task(call.Message.ExecutorID.Value); t != nil && !t.agent.cut && t.agent.known && !t.terminal && !t.foreign {
			if !m.c.chance(m.c.faults.loseMessage) {
				m.c.after(m.c.between(0, 100*time.Millisecond), func() { t.executor.receive(call.Message.Data) })
			}
		}
	}
}

func (m *simMaster) accept(accept *scheduler.Call_Accept) {
	o := m.take(accept.OfferIDs[0].Value)
	var left inventory
	if o != nil {
		left = newInventory(o.info.Resources, true)
	}
	for _, op := range accept.Operations {
		for _, info := range op.Launch.TaskInfos {
			switch {
			case o == nil:
				reason, state := mesos.REASON_INVALID_OFFERS, mesos.TASK_DROPPED
				m.event(Update{mesos.TaskStatus{TaskID: info.TaskID, State: &state, Reason: &reason, AgentID: &info.AgentID}})
			case m.c.chance(m.c.faults.loseLaunch):
				m.c.chaos("launch lost")
			default:
				left.subtract(slices.Concat(info.Resources, info.Executor.Resources))
				m.launch(o.agent, info)
			}
		}
	}
	if o != nil {
		o.agent.refuse(accept.Filters, left)
	}
}

// oddEnds are ends that Mesos may bring at any time.
var oddEnds = []struct {
	state  mesos.TaskState
	reason mesos.TaskStatus_Reason
}{
	{mesos.TASK_ERROR, mesos.REASON_TASK_INVALID},
	{mesos.TASK_LOST, mesos.REASON_AGENT_RESTARTED},
	{mesos.TASK_DROPPED, mesos.REASON_EXECUTOR_TERMINATED},
	{mesos.TASK_GONE, mesos.REASON_EXECUTOR_REREGISTRATION_TIMEOUT},
	{mesos.TASK_GONE_BY_OPERATOR, mesos.REASON_AGENT_REMOVED_BY_OPERATOR},
	{mesos.TASK_FINISHED, mesos.REASON_COMMAND_EXECUTOR_FAILED},
	{mesos.TASK_KILLED, mesos.REASON_AGENT_DRAINING},
	{mesos.TASK_FAILED, mesos.REASON_CONTAINER_LIMITATION_MEMORY},
}

func (m *simMaster) launch(a *simAgent, info mesos.TaskInfo) {
	t := &simTask{agent: a, info: info, state: mesos.TASK_STAGING, atMaster: true}
	t.executor = newSimExecutor(t)
	a.add(t)
	e := t.executor
	uri := &info.Executor.Command.URIs[0]
	cached := uri.GetCache()
	switch {
	case a.badArchive && cached && uri.GetExtract(): // gzip knows that it is damaged
		m.c.after(m.c.between(100*time.Millisecond, 2*time.Second), func() {
			reason := mesos.REASON_CONTAINER_LAUNCH_FAILED
			t.update(mesos.TASK_FAILED, &reason, "Failed to launch container: Failed to fetch all URIs for container: exited with status 1")
			e.dead = true
		})
	case e.task.ExecutorDigest == m.c.bad && m.c.badRuns:
		m.c.after(m.c.between(100*time.Millisecond, 2*time.Second), func() {
			e.hung = true // it says nothing, and ends
			e.start()
			m.c.after(m.c.between(2*time.Second, 4*time.Second), e.die)
		})
	case e.task.ExecutorDigest == m.c.bad, a.badCache && cached:
		m.c.after(m.c.between(100*time.Millisecond, 2*time.Second), func() {
			if e.dead {
				return
			}
			reason := mesos.REASON_EXECUTOR_TERMINATED
			t.update(mesos.TASK_FAILED, &reason, "exec format error")
			e.dead = true
		})
	case m.c.noMiners && e.task.GetMiner() != nil:
		m.c.after(m.c.between(100*time.Millisecond, time.Second), func() {
			reason := mesos.REASON_EXECUTOR_TERMINATED
			t.update(mesos.TASK_DROPPED, &reason, "Failed to create executor directory: No such user")
			e.dead = true
		})
	case m.c.chance(m.c.faults.launchFails):
		m.c.chaos("launch fails")
		m.c.after(m.c.between(0, 3*time.Second), func() {
			reason := mesos.REASON_CONTAINER_LAUNCH_FAILED
			t.update(mesos.TASK_FAILED, &reason)
			e.dead = true
		})
	case m.c.chance(m.c.faults.neverRuns): // its fetch hangs, say
		m.c.chaos("launch hangs")
	case m.c.chance(m.c.faults.oddEnd):
		m.c.chaos("odd end")
		odd := oddEnds[m.c.rnd.IntN(len(oddEnds))]
		m.c.after(m.c.between(0, 10*time.Second), func() {
			t.update(odd.state, &odd.reason)
			e.dead = true
		})
		m.c.after(m.c.between(200*time.Millisecond, 3*time.Second), e.start)
	default:
		m.c.after(m.c.fetch+m.c.between(200*time.Millisecond, 3*time.Second), e.start)
	}
}

func (m *simMaster) kill(id, agent string) {
	t := m.c.task(id)
	if t == nil || !t.atMaster {
		m.reconcileOne(id, agent)
		return
	}
	if t.agent.cut || t.agent.id != agent {
		return
	}
	m.c.after(m.c.between(0, time.Second), func() { t.executor.kill() })
}

func (m *simMaster) acknowledge(ack *scheduler.Call_Acknowledge) {
	t := m.c.task(ack.TaskID.Value)
	if t == nil || t.agent.cut || len(t.updates) == 0 || string(t.updates[0].UUID) != string(ack.UUID) {
		return
	}
	done := terminal(t.updates[0].GetState().String())
	t.updates = t.updates[1:]
	if done {
		t.agent.forget(t)
		return
	}
	t.sendHead()
}

func (m *simMaster) reconcile(r *scheduler.Call_Reconcile) {
	if len(r.Tasks) > 0 {
		for _, q := range r.Tasks {
			m.reconcileOne(q.TaskID.Value, q.GetAgentID().GetValue())
		}
		return
	}
	for _, a := range m.c.agents {
		for _, id := range sortedKeysOf(a.tasks) {
			if t := a.tasks[id]; t.atMaster {
				m.event(Update{t.status(mesos.REASON_RECONCILIATION)})
			}
		}
	}
}

func (m *simMaster) reconcileOne(id, agent string) {
	if t := m.c.task(id); t != nil && t.atMaster {
		m.event(Update{t.status(mesos.REASON_RECONCILIATION)})
		return
	}
	if m.recovered[agent] {
		return
	}
	a := m.agents[agent]
	state := mesos.TASK_UNKNOWN
	switch {
	case a == nil:
	case a.unreachable:
		state = mesos.TASK_UNREACHABLE
	case a.known:
		state = mesos.TASK_GONE
	}
	reason := mesos.REASON_RECONCILIATION
	m.event(Update{mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: id}, State: &state, Reason: &reason, AgentID: &mesos.AgentID{Value: agent},
	}})
}
