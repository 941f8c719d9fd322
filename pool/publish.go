package pool

import (
	"time"

	"lode/stratum"
)

// offer is what a source has at present.
type offer struct {
	work  *work // nil: nothing
	place *place
	err   error
	// lagging is since when another node is ahead; zero: none is.
	lagging time.Time
}

// report brings the news of one source.
type report struct {
	p      *Proxy
	source int
}

func (r *report) work(w *work, where *place) {
	if where == nil {
		where = r.p.home
	}
	w.place = where
	r.p.news(r.source, offer{work: w, place: where})
}

func (r *report) lost(err error) { r.p.news(r.source, offer{err: err}) }

// news notes what a source says and passes work on to the miners.
func (p *Proxy) news(source int, o offer) {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	p.stateMu.Lock()
	was := p.offers[source]
	o.lagging = was.lagging
	p.offers[source] = o
	if o.err != nil {
		p.lastError = o.err.Error()
	}
	p.stateMu.Unlock()
	if o.err != nil && (was.err == nil || was.err.Error() != o.err.Error()) {
		p.log.Warn("upstream gives no work", "upstream", p.sources[source].url(), "error", o.err)
	}
	p.choose(source)
}

// choose publishes the work of the best upstream, if there is any that the miners do
// not have: changed is the source that has something new, -1: none has. The caller
// holds publishing.
func (p *Proxy) choose(changed int) {
	now := p.now()
	p.stateMu.Lock()
	for i := range p.offers {
		if o := &p.offers[i]; o.work != nil || o.err != nil {
			p.failover.set(now, i, o.work != nil && !p.lags(now, i))
		}
	}
	before := p.failover.active
	active := p.failover.choose(now)
	var o offer
	if active >= 0 {
		o = p.offers[active]
		p.idleSince = time.Time{}
	} else if p.idleSince.IsZero() {
		p.idleSince = now
	}
	idle := !p.idleSince.IsZero() && now.Sub(p.idleSince) > staleWork
	p.stateMu.Unlock()
	switch {
	case o.work == nil:
		if idle && p.working.CompareAndSwap(true, false) {
			p.log.Warn("no upstream gives work, miners wait")
		}
	case active != before:
		p.log.Info("mining for upstream", "upstream", p.sources[active].url(), "height", o.work.height)
		p.publish(o)
	case active == changed:
		p.publish(o)
	}
}

// lags reports whether a node is behind another one: it was restarted and forgot
// blocks, or hangs. The one that is mined for is given time, since blocks do not
// reach all nodes at once. The caller holds stateMu.
func (p *Proxy) lags(now time.Time, i int) bool {
	mine := &p.offers[i]
	if mine.work.node == nil {
		return false
	}
	behind := false
	for _, o := range p.offers {
		behind = behind || o.work != nil && o.work.node != nil && o.work.height > mine.work.height
	}
	if !behind {
		mine.lagging = time.Time{}
		return false
	}
	if mine.lagging.IsZero() {
		mine.lagging = now
	}
	return i != p.failover.active || now.Sub(mine.lagging) > lagPatience
}

// publish makes a job of the work and sends it to all miners. The caller holds
// publishing.
func (p *Proxy) publish(o offer) {
	current := p.jobs.latest()
	clean := current == nil || current.prev != o.work.prev || current.source != o.work.source || !p.working.Load() || o.work.clean
	p.place.Store(o.place)
	p.server.SetVersionMask(o.work.mask)
	j := p.jobs.add(p.now(), o.work, clean)
	p.working.Store(true)
	p.away.Store(false)
	p.broadcast(j)
}

// broadcast sends a job to all miners. The caller holds publishing.
func (p *Proxy) broadcast(j *job) {
	p.sentAt = p.now()
	// Most miners have the extranonce size of the space.
	v, err := j.variant(j.place.Size()+j.place.e2size, 0)
	if err != nil {
		p.log.Error("cannot make a job", "upstream", p.sources[j.source].url(), "error", err)
		return
	}
	p.server.Broadcast(v.line(j.clean), func(c *stratum.Conn) { p.deliver(c, j) })
}

// refresh sends the present work once more, with the time of now, where an upstream
// has long been quiet: miners take silence for the end of the connection. The caller
// holds publishing.
func (p *Proxy) refresh(now time.Time) {
	p.stateMu.Lock()
	active := p.failover.active
	p.stateMu.Unlock()
	current := p.jobs.latest()
	if active < 0 || current == nil || !p.working.Load() || now.Sub(p.sentAt) < keepAlive {
		return
	}
	if next := current.again(now); next != nil {
		p.broadcast(p.jobs.add(now, next, false))
	}
}

// sendAway closes all connections when there has been no work for IdleClose.
func (p *Proxy) sendAway(now time.Time) {
	if p.config.IdleClose <= 0 {
		return
	}
	p.stateMu.Lock()
	since := p.idleSince
	p.stateMu.Unlock()
	if since.IsZero() || now.Sub(since) < p.config.IdleClose {
		return
	}
	if !p.away.Swap(true) {
		p.log.Warn("no upstream gives work, miners are sent away", "since", since)
	}
	p.server.Conns(func(c *stratum.Conn) { c.Close(errNoWork) })
}

// deliver sends a broadcast job to one miner.
func (p *Proxy) deliver(c *stratum.Conn, j *job) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		return
	}
	if s.sent >= j.key(0) {
		return // it came in meanwhile, and has this job or a newer one
	}
	c.SetVersionMask(j.mask)
	moved := p.moveIfNeeded(s, j)
	v, err := j.variant(s.size(), 0)
	if err != nil {
		return // it is about to move or to leave
	}
	if d := p.capDifficulty(s.vardiff.Difficulty()); d != s.told {
		p.sendDifficulty(s, j.key(0))
	}
	s.sent = j.key(0)
	c.Notify(v.line(j.clean || moved))
}

// trivialNetwork is the difficulty up to which a network is good for tests only.
const trivialNetwork = 1e-6

// capDifficulty keeps a share's difficulty at or below the network's, so that each
// block is a share: miners hand in nothing easier than a share. On networks that are
// trivially easy (regtest, young simnets) it does not: every hash would be a share.
func (p *Proxy) capDifficulty(d float64) float64 {
	if j := p.jobs.latest(); j != nil {
		d = j.capDifficulty(d)
		if j.networkDifficulty > trivialNetwork {
			d = min(d, j.networkDifficulty)
		}
	}
	return d
}
