package pool

import (
	"sync"
	"time"

	"lode/pool/accounts"
)

// noticeInterval is the least time between two questions to the nodes that Notify
// brings about: whatever tells of blocks may tell of each many times.
const noticeInterval = 200 * time.Millisecond

// Notify has the nodes asked for a new block: at once, or in a moment if they have just
// been asked.
func (p *Proxy) Notify() { p.notices.call() }

func (p *Proxy) notifySources() {
	for _, s := range p.sources {
		s.notify()
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

// Status implements Runner.
func (p *Proxy) Status() Status {
	s := Status{}
	total := p.accounts.Total()
	for _, o := range accounts.Outcomes() {
		t := total.Tallies[o.String()]
		switch o {
		case accounts.Accepted:
			s.Shares.Accepted, s.Shares.Difficulty = t.Shares, t.Difficulty
		case accounts.Stale:
			s.Shares.Stale = t.Shares
		default:
			s.Shares.Rejected += t.Shares
		}
	}
	s.Hashrate = total.Hashrate5m
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	s.Listen, s.ListenTLS, s.HTTP, s.Network, s.LastError = p.listen, p.listenTLS, p.http, p.network, p.lastError
	s.Ready = p.working.Load()
	s.Connections = int(p.server.Stats().Ready.Load())
	if i := p.arbiter.Active(); i >= 0 {
		s.Upstream, s.LastError = p.sources[i].url(), ""
	}
	if j := p.jobs.Latest(); j != nil {
		s.Height = j.Height
	}
	for _, b := range p.keeper.Blocks() {
		s.Blocks = append(s.Blocks, exportBlock(b))
	}
	return s
}
