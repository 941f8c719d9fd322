package master

import (
	"maps"
	"net"
	"net/netip"
	"strconv"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
	"lode/devmesos/internal/resources"
)

// agent is a registered agent.
type agent struct {
	id   string
	info mesos.AgentInfo
	link link.Agent
	host string // of its endpoint
	port int32

	connected   bool
	deactivated bool // by an operator, or because it drains
	drain       *drain

	// total is what the agent has, oversubscribed what it can lend in addition, used
	// what tasks and executors hold or offers name; none of them is allocated to a role.
	total, oversubscribed, used resources.Set

	tasks     map[string]map[string]*task     // by framework and task
	executors map[string]map[string]*executor // by framework and executor
	// kills are those that could not be sent, by framework.
	kills  map[string]map[string]*mesos.KillPolicy
	offers map[string]*offer

	leaving []leave // answers to inverse offers

	ping       *timer
	unanswered int // pings

	registered, reregistered time.Time
}

// executor is an executor that runs on an agent, as far as the master knows.
type executor struct {
	fw        *framework
	info      mesos.ExecutorInfo
	role      string
	resources resources.Set
}

func newAgent(id string, l link.Agent, info mesos.AgentInfo, now time.Time) *agent {
	info.ID = &mesos.AgentID{Value: id}
	a := &agent{
		id:         id,
		connected:  true,
		registered: now,
		tasks:      make(map[string]map[string]*task),
		executors:  make(map[string]map[string]*executor),
		kills:      make(map[string]map[string]*mesos.KillPolicy),
		offers:     make(map[string]*offer),
	}
	a.setInfo(l, info)
	return a
}

func (a *agent) setInfo(l link.Agent, info mesos.AgentInfo) {
	info.ID = &mesos.AgentID{Value: a.id}
	a.info, a.link = info, l
	a.total = resources.From(info.Resources)
	host, port, err := net.SplitHostPort(l.Endpoint())
	if err == nil {
		n, _ := strconv.ParseInt(port, 10, 32)
		a.host, a.port = host, int32(n)
	}
}

// url is where the agent's HTTP server is.
func (a *agent) url() *mesos.URL {
	address := mesos.Address{Hostname: ptr(a.info.Hostname), Port: a.port}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		address.IP = ptr(ip.String())
	}
	return &mesos.URL{Scheme: "http", Address: address, Path: ptr("/slave(1)")}
}

func (a *agent) pid() string {
	return "slave(1)@" + net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

func (a *agent) addTask(t *task) {
	of := a.tasks[t.fw.id]
	if of == nil {
		of = make(map[string]*task)
		a.tasks[t.fw.id] = of
	}
	of[t.info.TaskID.Value] = t
}

func (a *agent) removeTask(t *task) {
	delete(a.tasks[t.fw.id], t.info.TaskID.Value)
	if len(a.tasks[t.fw.id]) == 0 {
		delete(a.tasks, t.fw.id)
	}
}

// allTasks lists the agent's tasks in a fixed order.
func (a *agent) allTasks() []*task {
	var all []*task
	for _, fw := range sortedKeys(a.tasks) {
		for _, id := range sortedKeys(a.tasks[fw]) {
			all = append(all, a.tasks[fw][id])
		}
	}
	return all
}

// schedulable says whether the agent may be offered.
func (a *agent) schedulable() bool { return a.connected && !a.deactivated }

// hold takes resources of an agent for a framework.
func (m *Master) hold(a *agent, fw *framework, role string, r resources.Set) {
	plain := r.Unallocated()
	a.used = a.used.Plus(plain)
	fw.allocated[role] = fw.allocated[role].Plus(plain)
}

// free gives them back.
func (m *Master) free(a *agent, fw *framework, role string, r resources.Set) {
	plain := r.Unallocated()
	a.used = a.used.Minus(plain)
	if fw.allocated[role] = fw.allocated[role].Minus(plain); fw.allocated[role].Empty() {
		delete(fw.allocated, role)
	}
}

// available is what nobody holds.
func (a *agent) available() resources.Set {
	return a.total.Plus(a.oversubscribed).Minus(a.used)
}

func (m *Master) addExecutor(a *agent, fw *framework, info mesos.ExecutorInfo) {
	e := &executor{fw: fw, info: info, role: allocationRole(info.Resources), resources: resources.From(info.Resources)}
	of := a.executors[fw.id]
	if of == nil {
		of = make(map[string]*executor)
		a.executors[fw.id] = of
	}
	of[info.ExecutorID.Value] = e
	m.hold(a, fw, e.role, e.resources)
}

func (m *Master) removeExecutor(a *agent, e *executor) {
	m.free(a, e.fw, e.role, e.resources)
	delete(a.executors[e.fw.id], e.info.ExecutorID.Value)
	if len(a.executors[e.fw.id]) == 0 {
		delete(a.executors, e.fw.id)
	}
}

// rescindAll takes back everything that is offered of an agent.
func (m *Master) rescindAll(a *agent) {
	for _, o := range sortedOffers(a.offers) {
		m.rescind(o)
	}
	for _, o := range maps.Clone(m.inverse) {
		if o.agent == a {
			m.rescindInverse(o)
		}
	}
}
