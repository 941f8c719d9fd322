// Package updates is an agent's task status update manager: one stream per task, of which
// only the head is sent, again and again with growing pauses, until it is acknowledged
// (src/slave/task_status_update_manager.cpp of Mesos). It does no I/O of its own; call
// [New], then its methods from one goroutine.
package updates

import (
	"errors"
	"fmt"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Update is one status update of a task.
type Update struct {
	Framework string
	Executor  string // empty if the update belongs to no executor
	Status    mesos.TaskStatus
}

// Journal keeps what happened to one stream for the next run of the agent.
type Journal interface {
	Update(status mesos.TaskStatus) error
	Acknowledged(uuid []byte) error
}

// Config connects a manager to its agent.
type Config struct {
	// Forward sends the head of a stream.
	Forward func(Update)
	// After calls f later, on the manager's goroutine, unless it is stopped.
	After func(d time.Duration, f func()) (stop func())
	// RetryMin and RetryMax bound the pauses between sendings of one head; they double in between.
	RetryMin, RetryMax time.Duration
}

// Manager holds all streams of an agent.
type Manager struct {
	config  Config
	paused  bool
	streams map[key]*stream
	order   []key // in order of creation, so that resending has a stable order
}

type key struct{ framework, task string }

type stream struct {
	pending    []Update
	received   map[string]bool // by uuid
	acked      map[string]bool
	terminated bool
	journal    Journal // nil if nothing is checkpointed
	stop       func()  // of the retry timer
}

// ErrNoStream is returned for acknowledgements of tasks that have nothing to acknowledge.
var ErrNoStream = errors.New("no status update stream for the task")

// ErrUnexpected is returned for acknowledgements that do not name the head.
var ErrUnexpected = errors.New("unexpected acknowledgement")

// New makes a manager that is paused until Resume.
func New(config Config) *Manager {
	return &Manager{config: config, paused: true, streams: make(map[key]*stream)}
}

// Update takes an update in; the journal is only used if it opens the stream. An update that was
// there before is fine and does nothing.
func (m *Manager) Update(u Update, journal Journal) error {
	k := key{u.Framework, u.Status.TaskID.Value}
	s := m.streams[k]
	if s == nil {
		s = m.open(k, journal)
	}
	uuid := string(u.Status.UUID)
	if s.acked[uuid] || s.received[uuid] {
		return nil
	}
	if s.journal != nil {
		if err := s.journal.Update(u.Status); err != nil {
			return fmt.Errorf("checkpoint status update of task %s: %w", k.task, err)
		}
	}
	s.received[uuid] = true
	s.pending = append(s.pending, u)
	if !m.paused && len(s.pending) == 1 {
		m.send(s, m.config.RetryMin)
	}
	return nil
}

func (m *Manager) open(k key, journal Journal) *stream {
	s := &stream{received: make(map[string]bool), acked: make(map[string]bool), journal: journal, stop: func() {}}
	m.streams[k] = s
	m.order = append(m.order, k)
	return s
}

// send forwards the head of a stream and sets the clock for the next time.
func (m *Manager) send(s *stream, pause time.Duration) {
	s.stop()
	s.stop = m.config.After(pause, func() {
		if !m.paused && len(s.pending) > 0 {
			m.send(s, min(2*pause, m.config.RetryMax))
		}
	})
	m.config.Forward(s.pending[0])
}

// Acknowledge ends the head of a stream and sends the next update. Terminated says that
// it was the last one of the task: the stream is gone.
func (m *Manager) Acknowledge(framework, task string, uuid []byte) (terminated bool, err error) {
	k := key{framework, task}
	s := m.streams[k]
	if s == nil {
		return false, ErrNoStream
	}
	if len(s.pending) == 0 || string(s.pending[0].Status.UUID) != string(uuid) {
		return false, ErrUnexpected
	}
	if s.journal != nil {
		if err := s.journal.Acknowledged(uuid); err != nil {
			return false, fmt.Errorf("checkpoint acknowledgement of task %s: %w", task, err)
		}
	}
	s.stop()
	m.acknowledge(s)
	if s.terminated {
		m.drop(k)
		return true, nil
	}
	if !m.paused && len(s.pending) > 0 {
		m.send(s, m.config.RetryMin)
	}
	return false, nil
}

func (m *Manager) acknowledge(s *stream) {
	head := s.pending[0]
	s.pending = s.pending[1:]
	s.acked[string(head.Status.UUID)] = true
	s.terminated = s.terminated || Terminal(head.Status.GetState())
}

// Replay restores a stream from its journal. It says whether the stream had ended.
func (m *Manager) Replay(framework, executor string, statuses []mesos.TaskStatus, acked [][]byte, journal Journal) (terminated bool) {
	if len(statuses) == 0 {
		return false
	}
	k := key{framework, statuses[0].TaskID.Value}
	s := m.open(k, journal)
	for _, status := range statuses {
		s.received[string(status.UUID)] = true
		s.pending = append(s.pending, Update{framework, executor, status})
	}
	for _, uuid := range acked {
		if len(s.pending) > 0 && string(s.pending[0].Status.UUID) == string(uuid) {
			m.acknowledge(s)
		}
	}
	if s.terminated {
		m.drop(k)
	}
	return s.terminated
}

// Pause stops all sending, until Resume.
func (m *Manager) Pause() { m.paused = true }

// Resume sends the heads of all streams and starts their clocks anew.
func (m *Manager) Resume() {
	m.paused = false
	for _, k := range m.order {
		m.resend(m.streams[k])
	}
}

// ResumeFramework sends the heads of one framework's streams and starts their clocks anew.
func (m *Manager) ResumeFramework(framework string) {
	for _, k := range m.order {
		if k.framework == framework && !m.paused {
			m.resend(m.streams[k])
		}
	}
}

func (m *Manager) resend(s *stream) {
	if len(s.pending) > 0 {
		m.send(s, m.config.RetryMin)
	}
}

// Pending are the updates of a task that were not acknowledged by its scheduler, the head first.
func (m *Manager) Pending(framework, task string) []mesos.TaskStatus {
	s := m.streams[key{framework, task}]
	if s == nil {
		return nil
	}
	var statuses []mesos.TaskStatus
	for _, u := range s.pending {
		statuses = append(statuses, u.Status)
	}
	return statuses
}

// Cleanup forgets all streams of a framework.
func (m *Manager) Cleanup(framework string) {
	for _, k := range slices.Clone(m.order) {
		if k.framework == framework {
			m.streams[k].stop()
			m.drop(k)
		}
	}
}

func (m *Manager) drop(k key) {
	delete(m.streams, k)
	m.order = slices.DeleteFunc(m.order, func(o key) bool { return o == k })
}

// Terminal says whether a task is at its end in that state.
func Terminal(state mesos.TaskState) bool {
	switch state {
	case mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_LOST, mesos.TASK_ERROR,
		mesos.TASK_DROPPED, mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR:
		return true
	default:
		return false
	}
}
