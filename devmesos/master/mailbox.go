package master

import "sync"

// mailbox runs functions one after the other on a goroutine of its own. Posting
// never blocks; the queue has no bound, as that of an actor of Mesos has none.
type mailbox struct {
	wake    chan struct{} // has room for one
	stopped chan struct{} // closed when the goroutine has ended

	watchers sync.WaitGroup

	mu     sync.Mutex
	queue  []func()
	closed bool
}

func (b *mailbox) start() {
	b.wake = make(chan struct{}, 1)
	b.stopped = make(chan struct{})
	go b.run()
}

func (b *mailbox) run() {
	defer close(b.stopped)
	for range b.wake {
		for {
			b.mu.Lock()
			batch, closed := b.queue, b.closed
			b.queue = nil
			b.mu.Unlock()
			if closed {
				return
			}
			if len(batch) == 0 {
				break
			}
			for _, f := range batch {
				f()
			}
		}
	}
}

func (b *mailbox) post(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.queue = append(b.queue, f)
	b.signal()
}

// signal is called with the lock held.
func (b *mailbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// call runs f and waits for it. It is false if the mailbox was stopped before.
func (b *mailbox) call(f func()) bool {
	done := make(chan struct{})
	b.post(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
		return true
	case <-b.stopped:
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// stop ends the goroutine after the batch that it is in; what was posted later is lost.
func (b *mailbox) stop() {
	b.mu.Lock()
	b.closed = true
	b.signal()
	b.mu.Unlock()
	<-b.stopped
	b.watchers.Wait()
}

// watch posts f when a channel is closed, unless the mailbox stops first.
func (b *mailbox) watch(closed <-chan struct{}, f func()) {
	b.watchers.Go(func() {
		select {
		case <-closed:
			b.post(f)
		case <-b.stopped:
		}
	})
}
