package master

import "context"

// waiter waits for a number of agents.
type waiter struct {
	agents int
	done   chan struct{}
}

// WaitForAgents returns true when at least n agents are registered and connected, false when
// ctx or the master ends before.
func (m *Master) WaitForAgents(ctx context.Context, n int) bool {
	w := &waiter{agents: n, done: make(chan struct{})}
	m.post(func() {
		m.waiters = append(m.waiters, w)
		m.tellWaiters()
	})
	select {
	case <-w.done:
		return true
	case <-ctx.Done():
		return false
	case <-m.box.stopped:
		return false
	}
}

func (m *Master) tellWaiters() {
	there := 0
	for _, a := range m.agents {
		if a.connected {
			there++
		}
	}
	waiting := m.waiters[:0]
	for _, w := range m.waiters {
		if there >= w.agents {
			close(w.done)
		} else {
			waiting = append(waiting, w)
		}
	}
	m.waiters = waiting
}
