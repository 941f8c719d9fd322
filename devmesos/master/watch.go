package master

import (
	"net/http"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	operator "github.com/mesos/mesos-go/api/v1/lib/master"

	"lode/devmesos/internal/wire"
)

// serveOperatorStream is SUBSCRIBE of the operator API: the state, then what changes.
func (m *Master) serveOperatorStream(w http.ResponseWriter, r *http.Request, codec wire.Codec) {
	stream := wire.NewStream(codec)
	ok := m.call(func() {
		interval := m.cfg.Timing.Heartbeat.Seconds()
		send := func(e *operator.Event) { stream.Send(e) } //nolint:errcheck // ends with the stream
		send(&operator.Event{Type: operator.Event_SUBSCRIBED, Subscribed: &operator.Event_Subscribed{
			GetState: m.getState(), HeartbeatIntervalSeconds: &interval,
		}})
		beat := func() { send(&operator.Event{Type: operator.Event_HEARTBEAT}) }
		beat()
		heartbeat := m.every(m.cfg.Timing.Heartbeat, beat)
		m.watchers = append(m.watchers, stream)
		m.box.watch(stream.Done(), func() {
			heartbeat.stop()
			m.watchers = slices.DeleteFunc(m.watchers, func(s *wire.Stream) bool { return s == stream })
		})
	})
	if !ok {
		panic(http.ErrAbortHandler)
	}
	stream.Serve(w, r)
}

// notify tells those who watch.
func (m *Master) notify(event func() *operator.Event) {
	if len(m.watchers) == 0 {
		return
	}
	e := event()
	for _, s := range m.watchers {
		s.Send(e) //nolint:errcheck // a watcher that is gone
	}
}

func (m *Master) notifyTaskAdded(t *task) {
	m.notify(func() *operator.Event {
		return &operator.Event{Type: operator.Event_TASK_ADDED, TaskAdded: &operator.Event_TaskAdded{Task: t.proto()}}
	})
}

func (m *Master) notifyTaskUpdated(t *task, status mesos.TaskStatus) {
	m.notify(func() *operator.Event {
		return &operator.Event{Type: operator.Event_TASK_UPDATED, TaskUpdated: &operator.Event_TaskUpdated{
			FrameworkID: *t.fw.info.ID, Status: status, State: &t.state,
		}}
	})
}

func (m *Master) notifyAgentAdded(a *agent) {
	m.notify(func() *operator.Event {
		return &operator.Event{Type: operator.Event_AGENT_ADDED, AgentAdded: &operator.Event_AgentAdded{Agent: m.getAgent(a)}}
	})
}

func (m *Master) notifyAgentRemoved(a *agent) {
	m.notify(func() *operator.Event {
		return &operator.Event{Type: operator.Event_AGENT_REMOVED, AgentRemoved: &operator.Event_AgentRemoved{AgentID: mesos.AgentID{Value: a.id}}}
	})
}

func (m *Master) notifyFramework(fw *framework, kind operator.Event_Type) {
	m.notify(func() *operator.Event {
		e := &operator.Event{Type: kind}
		switch kind {
		case operator.Event_FRAMEWORK_ADDED:
			e.FrameworkAdded = &operator.Event_FrameworkAdded{Framework: m.getFramework(fw)}
		case operator.Event_FRAMEWORK_UPDATED:
			e.FrameworkUpdated = &operator.Event_FrameworkUpdated{Framework: m.getFramework(fw)}
		case operator.Event_FRAMEWORK_REMOVED:
			e.FrameworkRemoved = &operator.Event_FrameworkRemoved{FrameworkInfo: fw.info}
		}
		return e
	})
}
