package master

import (
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	operator "github.com/mesos/mesos-go/api/v1/lib/master"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/devmesos/internal/resources"
	"lode/devmesos/internal/wire"
)

// framework is a framework that is subscribed, was subscribed, or – recovered – is
// only known from its agents.
type framework struct {
	id        string
	info      mesos.FrameworkInfo
	principal string // authenticated, or what the framework says
	roles     map[string]bool
	suppress  map[string]bool
	// constraints are the offer constraints by role; nil if there are none.
	constraints *constraints

	stream    *wire.Stream // nil unless connected
	streamID  string
	heartbeat *timer
	failover  *timer
	recovered bool // after a master failover, until it subscribes

	registered, reregistered, unregistered time.Time

	tasks       map[string]*task // not terminal, or terminal and not acknowledged
	completed   []*task          // the newest last
	unreachable map[string]*task
	offers      map[string]*offer
	inverse     map[string]*inverseOffer
	filters     map[filterKey][]*filter
	quiet       map[string]bool // agents that need not be asked to be left for a while
	// allocated is what the framework uses or is offered, by role.
	allocated map[string]resources.Set
}

func newFramework(id string, info mesos.FrameworkInfo) *framework {
	fw := &framework{
		id:          id,
		tasks:       make(map[string]*task),
		unreachable: make(map[string]*task),
		offers:      make(map[string]*offer),
		inverse:     make(map[string]*inverseOffer),
		filters:     make(map[filterKey][]*filter),
		quiet:       make(map[string]bool),
		allocated:   make(map[string]resources.Set),
	}
	fw.setInfo(info)
	return fw
}

func (fw *framework) setInfo(info mesos.FrameworkInfo) {
	info.ID = &mesos.FrameworkID{Value: fw.id}
	fw.info = info
	fw.principal = info.GetPrincipal()
	fw.roles = make(map[string]bool)
	for _, role := range rolesOf(&info) {
		fw.roles[role] = true
	}
}

// rolesOf lists the roles that a framework subscribes to.
func rolesOf(info *mesos.FrameworkInfo) []string {
	if capable(info, mesos.FrameworkInfo_Capability_MULTI_ROLE) {
		return info.Roles
	}
	if info.Role != nil {
		return []string{*info.Role}
	}
	return []string{"*"}
}

func capable(info *mesos.FrameworkInfo, capability mesos.FrameworkInfo_Capability_Type) bool {
	return slices.ContainsFunc(info.Capabilities, func(c mesos.FrameworkInfo_Capability) bool { return c.Type == capability })
}

func (fw *framework) can(capability mesos.FrameworkInfo_Capability_Type) bool {
	return capable(&fw.info, capability)
}

func (fw *framework) partitionAware() bool {
	return fw.can(mesos.FrameworkInfo_Capability_PARTITION_AWARE)
}

// orLost is the state for frameworks that know partitions, else TASK_LOST.
func (fw *framework) orLost(state mesos.TaskState) mesos.TaskState {
	if fw.partitionAware() {
		return state
	}
	return mesos.TASK_LOST
}

func (fw *framework) connected() bool { return fw.stream != nil }

// send gives an event to the scheduler; without one it is lost.
func (m *Master) send(fw *framework, event *scheduler.Event) {
	if fw.stream == nil {
		return
	}
	if err := fw.stream.Send(event); err != nil {
		m.log.Debug("event lost", "framework", fw.id, "type", event.Type.String(), "error", err)
	}
}

// subscription is a SUBSCRIBE call that passed the checks of the HTTP layer.
type subscription struct {
	info        mesos.FrameworkInfo
	suppressed  []string
	constraints *constraints
	principal   string // authenticated, or empty
	stream      *wire.Stream
	streamID    string
}

// subscribe lets a framework in, or refuses it on its stream.
func (m *Master) subscribe(s subscription) {
	if s.principal != "" && s.info.Principal == nil {
		s.info.Principal = &s.principal
	}
	if reason := m.refuseFramework(&s); reason != "" {
		m.log.Info("subscription refused", "framework", s.info.Name, "reason", reason)
		s.stream.Send(errorEvent(reason)) //nolint:errcheck // a stream that is new has room
		s.stream.Close()
		return
	}
	id := s.info.GetID().GetValue()
	fw, known := m.frameworks[id]
	if known {
		m.resubscribe(fw, s)
	} else {
		fw = m.newSubscriber(id, s)
	}
	fw.suppress = setOf(s.suppressed)
	fw.constraints = s.constraints
	fw.stream, fw.streamID = s.stream, s.streamID
	fw.recovered = false
	m.watchStream(fw, s.stream)
	m.send(fw, &scheduler.Event{Type: scheduler.Event_SUBSCRIBED, Subscribed: &scheduler.Event_Subscribed{
		FrameworkID:              fw.info.ID,
		HeartbeatIntervalSeconds: ptr(m.cfg.Timing.Heartbeat.Seconds()),
		MasterInfo:               &m.info,
	}})
	beat := func() { m.send(fw, &scheduler.Event{Type: scheduler.Event_HEARTBEAT}) }
	beat()
	fw.heartbeat = m.every(m.cfg.Timing.Heartbeat, beat)
	if known {
		m.notifyFramework(fw, operator.Event_FRAMEWORK_UPDATED)
	} else {
		m.notifyFramework(fw, operator.Event_FRAMEWORK_ADDED)
	}
}

func (m *Master) newSubscriber(id string, s subscription) *framework {
	if id == "" {
		id = m.frameworkID()
	}
	fw := newFramework(id, s.info)
	fw.registered = m.now()
	fw.reregistered = fw.registered
	m.frameworks[id] = fw
	m.log.Info("framework subscribed", "framework", id, "name", s.info.Name)
	m.allocateSoon()
	return fw
}

// resubscribe gives a framework a new stream. What was offered is taken back without
// a word, except for roles that it left.
func (m *Master) resubscribe(fw *framework, s subscription) {
	wasConnected := fw.connected()
	before := fw.roles
	// These two never change (Framework::update of a real master).
	s.info.User, s.info.Checkpoint = fw.info.User, fw.info.Checkpoint
	fw.setInfo(s.info)
	for _, o := range sortedOffers(fw.offers) {
		if !fw.roles[o.role] {
			m.rescind(o)
			continue
		}
		m.removeOffer(o)
	}
	for _, o := range fw.inverse {
		m.removeInverseOffer(o)
	}
	if wasConnected {
		m.send(fw, errorEvent("Framework failed over"))
		fw.stream.Close()
		fw.heartbeat.stop()
	}
	fw.failover.stop()
	m.clearFilters(fw, nil)
	now := m.now()
	if fw.recovered {
		fw.registered = now
	}
	fw.reregistered = now
	m.log.Info("framework subscribed again", "framework", fw.id, "failover", wasConnected)
	for _, a := range m.agents {
		a.link.UpdateFramework(fw.info)
		a.link.FrameworkReregistered(*fw.info.ID)
	}
	// Activation causes an allocation; a failover is no activation.
	if !wasConnected || !maps.Equal(before, fw.roles) {
		m.allocateSoon()
	}
}

func (m *Master) frameworkID() string {
	id := sprintID(m.id, "%s-%04d", m.nextFramework)
	m.nextFramework++
	return id
}

// watchStream disconnects the framework when its stream ends from the other side.
func (m *Master) watchStream(fw *framework, stream *wire.Stream) {
	m.box.watch(stream.Done(), func() {
		if fw.stream == stream {
			m.disconnect(fw)
		}
	})
}

// disconnect is what happens when a scheduler's stream broke.
func (m *Master) disconnect(fw *framework) {
	m.log.Info("framework disconnected", "framework", fw.id)
	fw.stream, fw.streamID = nil, ""
	fw.heartbeat.stop()
	for _, o := range sortedOffers(fw.offers) {
		m.removeOffer(o)
	}
	for _, o := range fw.inverse {
		m.removeInverseOffer(o)
	}
	m.clearFilters(fw, nil)
	timeout := failoverTimeout(&fw.info)
	if timeout <= 0 {
		m.removeFramework(fw)
		return
	}
	fw.failover = m.after(timeout, func() {
		m.log.Info("framework failover timeout", "framework", fw.id, "timeout", timeout)
		m.removeFramework(fw)
	})
}

func failoverTimeout(info *mesos.FrameworkInfo) time.Duration {
	return time.Duration(info.GetFailoverTimeout() * float64(time.Second))
}

// removeFramework ends a framework for good: everything that it runs is shut down,
// nobody is told by an update.
func (m *Master) removeFramework(fw *framework) {
	fw.failover.stop()
	fw.heartbeat.stop()
	for _, a := range m.agents {
		a.link.ShutdownFramework(*fw.info.ID)
	}
	for _, id := range sortedKeys(fw.tasks) {
		t := fw.tasks[id]
		if !isTerminal(t.state) {
			status := m.status(fw, t, mesos.TASK_KILLED, mesos.REASON_FRAMEWORK_REMOVED, "Framework "+fw.id+" removed")
			m.updateTask(t, status, mesos.TASK_KILLED)
		}
		m.removeTask(t)
	}
	for _, a := range m.agents {
		for _, e := range a.executors[fw.id] {
			m.removeExecutor(a, e)
		}
		delete(a.executors, fw.id)
		delete(a.kills, fw.id)
	}
	for _, o := range sortedOffers(fw.offers) {
		m.removeOffer(o)
	}
	for _, o := range fw.inverse {
		m.removeInverseOffer(o)
	}
	m.clearFilters(fw, nil)
	fw.unregistered = m.now()
	if fw.stream != nil {
		fw.stream.Close()
		fw.stream, fw.streamID = nil, ""
	}
	delete(m.frameworks, fw.id)
	m.completed = append(m.completed, fw)
	if n := len(m.completed) - m.cfg.MaxCompleted; n > 0 {
		m.completed = slices.Delete(m.completed, 0, n)
	}
	m.log.Info("framework removed", "framework", fw.id)
	m.notifyFramework(fw, operator.Event_FRAMEWORK_REMOVED)
}

func (m *Master) isCompleted(id string) bool {
	return slices.ContainsFunc(m.completed, func(fw *framework) bool { return fw.id == id })
}

// recoverFramework makes a framework known that only its agents tell of. No timer
// runs for it (MESOS-4659).
func (m *Master) recoverFramework(info mesos.FrameworkInfo) *framework {
	fw := newFramework(info.GetID().GetValue(), info)
	fw.recovered = true
	m.frameworks[fw.id] = fw
	m.log.Info("framework recovered from an agent", "framework", fw.id)
	return fw
}

func newStreamID() string { return uuid.NewString() }

func setOf(list []string) map[string]bool {
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return set
}
