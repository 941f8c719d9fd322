package driver

import (
	"bytes"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/executor"
)

// Bounds of the framework messages that wait.
const (
	maxMessages     = 256
	maxMessageBytes = 8 << 20
)

// outbox holds what the agent has not got yet. Its order is the order in which
// the calls are sent: updates first, then messages.
type outbox struct {
	wake chan struct{} // capacity 1: something may be sent or has ended

	mu       sync.Mutex
	tasks    []mesos.TaskInfo // launched, no update acknowledged yet; in launch order
	updates  []update         // not acknowledged yet; in order of generation
	messages []queued
	bytes    int // of all messages
}

type update struct {
	status mesos.TaskStatus
	// sent is when the agent took the update, zero when it did not yet.
	sent time.Time
}

type queued struct {
	key  string
	data []byte
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) addTask(task mesos.TaskInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tasks = append(o.tasks, task)
}

func (o *outbox) addUpdate(status mesos.TaskStatus) {
	o.mu.Lock()
	o.updates = append(o.updates, update{status: status})
	o.mu.Unlock()
	o.signal()
}

func (o *outbox) addMessage(key string, data []byte) (dropped int) {
	defer o.signal()
	o.mu.Lock()
	defer o.mu.Unlock()
	if key != "" {
		for i := range o.messages {
			if m := &o.messages[i]; m.key == key {
				o.bytes += len(data) - len(m.data)
				m.data = data
				return 0
			}
		}
	}
	o.messages = append(o.messages, queued{key, data})
	o.bytes += len(data)
	for len(o.messages) > 1 && (len(o.messages) > maxMessages || o.bytes > maxMessageBytes) {
		o.bytes -= len(o.messages[0].data)
		o.messages = o.messages[1:]
		dropped++
	}
	return dropped
}

type snapshot struct {
	tasks   []mesos.TaskInfo
	updates []executor.Call_Update
}

// snapshot is what a SUBSCRIBE has to tell.
func (o *outbox) snapshot() snapshot {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := snapshot{tasks: slices.Clone(o.tasks)}
	for _, u := range o.updates {
		s.updates = append(s.updates, executor.Call_Update{Status: u.status})
	}
	return s
}

// markSent notes that the agent took these updates.
func (o *outbox) markSent(updates []executor.Call_Update, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, sent := range updates {
		for i := range o.updates {
			if bytes.Equal(o.updates[i].status.UUID, sent.Status.UUID) {
				o.updates[i].sent = now
			}
		}
	}
}

// drop forgets an update that the agent will never take.
func (o *outbox) drop(id []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.updates = slices.DeleteFunc(o.updates, func(u update) bool { return bytes.Equal(u.status.UUID, id) })
}

// acknowledge handles ACKNOWLEDGED; false: no such update.
func (o *outbox) acknowledge(task mesos.TaskID, id []byte) bool {
	defer o.signal()
	o.mu.Lock()
	defer o.mu.Unlock()
	before := len(o.updates)
	o.updates = slices.DeleteFunc(o.updates, func(u update) bool {
		return u.status.TaskID.Value == task.Value && bytes.Equal(u.status.UUID, id)
	})
	if len(o.updates) == before {
		return false
	}
	o.tasks = slices.DeleteFunc(o.tasks, func(t mesos.TaskInfo) bool { return t.TaskID.Value == task.Value })
	return true
}

// next is the first call that is due: an update or, if there is none, a message.
func (o *outbox) next() (status *mesos.TaskStatus, message *queued) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.updates {
		if o.updates[i].sent.IsZero() {
			u := o.updates[i].status
			return &u, nil
		}
	}
	if len(o.messages) > 0 {
		m := o.messages[0]
		return nil, &m
	}
	return nil, nil
}

// popMessage removes m unless it was replaced while it was on its way.
func (o *outbox) popMessage(m *queued) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.messages {
		if q := o.messages[i]; q.key == m.key && len(q.data) == len(m.data) && (len(q.data) == 0 || &q.data[0] == &m.data[0]) {
			o.bytes -= len(q.data)
			o.messages = slices.Delete(o.messages, i, i+1)
			return
		}
	}
}

// oldestSent is since when the agent has had an update without acknowledging it;
// zero: there is none.
func (o *outbox) oldestSent() (oldest time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, u := range o.updates {
		if !u.sent.IsZero() && (oldest.IsZero() || u.sent.Before(oldest)) {
			oldest = u.sent
		}
	}
	return oldest
}

func (o *outbox) pendingUpdates() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.updates)
}

func (o *outbox) pendingMessages() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.messages)
}
