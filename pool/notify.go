package pool

import (
	"sync"
	"time"

	"lode/pool/source"
)

// notifyInterval is the default of Config.NotifyInterval: whatever tells of blocks may tell
// of each many times.
const notifyInterval = 200 * time.Millisecond

// Notify has the nodes asked for a new block: at once, or in a moment if they have just
// been asked.
func (p *Proxy) Notify() { p.notices.call() }

func (p *Proxy) notifySources() {
	for _, s := range p.sources {
		if w, ok := s.(source.Witness); ok {
			w.Notify()
		}
	}
}

// pacer does something at most once an interval. What is called for meanwhile is done
// once, at its end.
type pacer struct {
	interval time.Duration
	do       func()

	mu      sync.Mutex // guards the rest
	last    time.Time
	waiting *time.Timer // nil: nothing is called for
	stopped bool
}

func (p *pacer) call() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting != nil || p.stopped {
		return
	}
	p.waiting = time.AfterFunc(max(p.interval-time.Since(p.last), 0), func() {
		p.mu.Lock()
		p.last, p.waiting = time.Now(), nil
		stopped := p.stopped
		p.mu.Unlock()
		if !stopped {
			p.do()
		}
	})
}

// stop forgets what is called for, and takes no more.
func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.waiting != nil {
		p.waiting.Stop()
	}
}
