package agent

import (
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// playedMaster sorts what the agent tells into channels: those things whose order was the same in every recording.
type playedMaster struct {
	id         mesos.AgentID
	registered chan struct{}

	mu        sync.Mutex
	connected bool // the framework is
	queues    map[string][]told
	news      chan struct{}
}

func newPlayedMaster(id mesos.AgentID) *playedMaster {
	return &playedMaster{
		id: id, registered: make(chan struct{}, 10), connected: true,
		queues: map[string][]told{}, news: make(chan struct{}, 1),
	}
}

// connect says whether the framework is connected, and returns whether that is a change.
func (m *playedMaster) connect(on bool) (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed = m.connected != on
	m.connected = on
	return changed
}

func (m *playedMaster) put(channel string, c told) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.connected {
		return
	}
	m.queues[channel] = append(m.queues[channel], c)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// next takes from a channel, waiting if need be.
func (m *playedMaster) next(t *testing.T, channel string) (told, bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		if q := m.queues[channel]; len(q) > 0 {
			m.queues[channel] = q[1:]
			m.mu.Unlock()
			return q[0], true
		}
		m.mu.Unlock()
		select {
		case <-m.news:
		case <-deadline:
			t.Errorf("nothing comes as %s", channel)
			return told{}, false
		}
	}
}

func (m *playedMaster) RegisterAgent(a link.Agent, _ mesos.AgentInfo) {
	a.Registered(m, m.id)
	m.registered <- struct{}{}
}

func (m *playedMaster) ReregisterAgent(a link.Agent, r link.Reregistration) {
	a.Reregistered(m, r.ID)
	m.registered <- struct{}{}
}

func (m *playedMaster) StatusUpdate(_ mesos.AgentID, u link.Update) {
	m.put("StatusUpdate "+u.Status.TaskID.Value, told{kind: "StatusUpdate", update: &u})
}

func (m *playedMaster) ExecutorMessage(_ mesos.AgentID, _ mesos.FrameworkID, e mesos.ExecutorID, data []byte) {
	m.put("ExecutorMessage "+e.Value, told{kind: "ExecutorMessage", data: string(data)})
}

func (m *playedMaster) ExitedExecutor(_ mesos.AgentID, _ mesos.FrameworkID, e mesos.ExecutorID, status int32) {
	m.put("ExitedExecutor "+e.Value, told{kind: "ExitedExecutor", status: status})
}

func (m *playedMaster) UnregisterAgent(mesos.AgentID)                        {}
func (m *playedMaster) Disconnected(mesos.AgentID)                           {}
func (m *playedMaster) Pong(mesos.AgentID)                                   {}
func (m *playedMaster) UpdateOversubscribed(mesos.AgentID, []mesos.Resource) {}
