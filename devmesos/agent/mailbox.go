package agent

import "sync"

// mailbox is an actor's queue of things to do. Putting never blocks: whoever calls an agent may be an actor itself.
type mailbox struct {
	wake chan struct{} // has room for one
	stop chan struct{} // closed by close

	mu     sync.Mutex
	queue  []func()
	closed bool
}

func newMailbox() *mailbox {
	return &mailbox{wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// post queues f. It says false, and forgets f, once the mailbox is closed.
func (m *mailbox) post(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.queue = append(m.queue, f)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// do runs f on the actor and waits for it. It says false if the actor ended before.
func (m *mailbox) do(f func()) bool {
	done := make(chan struct{})
	if !m.post(func() { f(); close(done) }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-m.stop:
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// run works until close. What is queued then is forgotten.
func (m *mailbox) run() {
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
		}
		for f := m.next(); f != nil; f = m.next() {
			f()
		}
	}
}

func (m *mailbox) next() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.queue) == 0 {
		return nil
	}
	f := m.queue[0]
	m.queue[0] = nil
	m.queue = m.queue[1:]
	return f
}

func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.queue = nil
		close(m.stop)
	}
}
