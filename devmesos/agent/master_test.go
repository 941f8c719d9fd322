package agent

import (
	"fmt"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/link"
)

// patience bounds every wait of a test; a loaded machine may need a good part of it.
const patience = 60 * time.Second

// told is one thing that an agent told its master.
type told struct {
	kind     string // name of the method
	rereg    *link.Reregistration
	update   *link.Update
	executor string
	data     string
	status   int32
	total    []mesos.Resource
}

func (c told) String() string {
	switch {
	case c.update != nil:
		return fmt.Sprintf("%s %s %s %s %q", c.kind, c.update.Status.TaskID.Value, c.update.Status.GetState(), c.update.Status.GetReason(), c.update.Status.GetMessage())
	case c.kind == "ExitedExecutor":
		return fmt.Sprintf("%s %s %d", c.kind, c.executor, c.status)
	default:
		return c.kind + " " + c.executor + c.data
	}
}

// testMaster answers registrations and notes everything else. It acknowledges updates if ack says so.
type testMaster struct {
	id mesos.AgentID

	mu    sync.Mutex
	calls []told
	next  int // of calls: what wait has not seen
	news  chan struct{}
	agent link.Agent
	ack   func(u link.Update) bool
}

func newTestMaster() *testMaster {
	return &testMaster{id: mesos.AgentID{Value: "master-S0"}, news: make(chan struct{}, 1), ack: func(link.Update) bool { return true }}
}

func (m *testMaster) note(c told) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *testMaster) setAck(ack func(link.Update) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ack = ack
}

func (m *testMaster) RegisterAgent(a link.Agent, info mesos.AgentInfo) {
	m.mu.Lock()
	m.agent = a
	m.mu.Unlock()
	m.note(told{kind: "RegisterAgent"})
	a.Registered(m, m.id)
}

func (m *testMaster) ReregisterAgent(a link.Agent, r link.Reregistration) {
	m.mu.Lock()
	m.agent = a
	m.mu.Unlock()
	m.note(told{kind: "ReregisterAgent", rereg: &r})
	a.Reregistered(m, r.ID)
}

func (m *testMaster) UnregisterAgent(mesos.AgentID) { m.note(told{kind: "UnregisterAgent"}) }
func (m *testMaster) Disconnected(mesos.AgentID)    { m.note(told{kind: "Disconnected"}) }
func (m *testMaster) Pong(mesos.AgentID)            { m.note(told{kind: "Pong"}) }

func (m *testMaster) StatusUpdate(_ mesos.AgentID, u link.Update) {
	m.note(told{kind: "StatusUpdate", update: &u, executor: u.ExecutorID.Value})
	m.mu.Lock()
	ack, a := m.ack(u), m.agent
	m.mu.Unlock()
	if ack {
		a.AcknowledgeUpdate(u.FrameworkID, u.Status.TaskID, u.Status.UUID)
	}
}

func (m *testMaster) ExecutorMessage(_ mesos.AgentID, _ mesos.FrameworkID, e mesos.ExecutorID, data []byte) {
	m.note(told{kind: "ExecutorMessage", executor: e.Value, data: string(data)})
}

func (m *testMaster) ExitedExecutor(_ mesos.AgentID, _ mesos.FrameworkID, e mesos.ExecutorID, status int32) {
	m.note(told{kind: "ExitedExecutor", executor: e.Value, status: status})
}

func (m *testMaster) UpdateOversubscribed(_ mesos.AgentID, total []mesos.Resource) {
	m.note(told{kind: "UpdateOversubscribed", total: total})
}

// wait gives the next thing that was told, leaving out pongs.
func (m *testMaster) wait(t *testing.T) told {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		for m.next < len(m.calls) {
			c := m.calls[m.next]
			m.next++
			if c.kind != "Pong" {
				m.mu.Unlock()
				return c
			}
		}
		m.mu.Unlock()
		select {
		case <-m.news:
		case <-deadline:
			t.Fatalf("the agent tells nothing more; so far:%s", m.history())
		}
	}
}

// expect waits for exactly these, in this order, given in the form of told.String.
func (m *testMaster) expect(t *testing.T, want ...string) []told {
	t.Helper()
	var got []told
	for _, w := range want {
		c := m.wait(t)
		got = append(got, c)
		if c.String() != w {
			t.Fatalf("told %q, want %q; so far:%s", c, w, m.history())
		}
	}
	return got
}

func (m *testMaster) history() (all string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		all += "\n\t" + c.String()
	}
	return all
}
