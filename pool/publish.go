package pool

import (
	"time"

	"lode/pool/jobs"
	"lode/stratum"
)

// publish makes a job of the work and sends it to all miners. The caller holds
// publishing.
func (p *Proxy) publish(w *jobs.Work) {
	current := p.jobs.Latest()
	clean := current == nil || current.Prev != w.Prev || current.Source != w.Source || !p.working.Load() || w.Clean
	p.space.Store(w.Space)
	p.server.SetVersionMask(w.Mask)
	j := p.jobs.Add(p.now(), w, clean)
	p.working.Store(true)
	p.away.Store(false)
	p.broadcast(j)
}

// broadcast sends a job to all miners, without waiting. The caller holds publishing.
func (p *Proxy) broadcast(j *jobs.Job) {
	p.sentAt = p.now()
	// Most miners have the extranonce size of the space.
	v, err := j.Variant(j.Space.Size()+j.Space.Rest(), 0)
	if err != nil {
		p.log.Error("cannot make a job", "upstream", p.sources[j.Source].url(), "error", err)
		return
	}
	p.server.Publish(v.Line(j.Clean), func(c *stratum.Conn) { p.deliver(c, j) })
}

// refresh sends the present work once more, with the time of now, where an upstream
// has long been quiet: miners take silence for the end of the connection. The caller
// holds publishing.
func (p *Proxy) refresh(now time.Time) {
	p.stateMu.Lock()
	active := p.arbiter.Active()
	p.stateMu.Unlock()
	current := p.jobs.Latest()
	if active < 0 || current == nil || !p.working.Load() || now.Sub(p.sentAt) < keepAlive {
		return
	}
	if next := current.Again(now); next != nil {
		p.broadcast(p.jobs.Add(now, next, false))
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
func (p *Proxy) deliver(c *stratum.Conn, j *jobs.Job) {
	s := sessionOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.authorized {
		return
	}
	if s.sent >= j.Key(0) {
		return // it came in meanwhile, and has this job or a newer one
	}
	c.SetVersionMask(j.Mask)
	moved := p.moveIfNeeded(s, j)
	v, err := j.Variant(s.size(), 0)
	if err != nil {
		return // it is about to move or to leave
	}
	if d := p.capDifficulty(s.vardiff.Difficulty()); d != s.told {
		p.sendDifficulty(s, j.Key(0))
	}
	s.sent = j.Key(0)
	c.Notify(v.Line(j.Clean || moved))
}

// trivialNetwork is the difficulty up to which a network is good for tests only.
const trivialNetwork = 1e-6

// capDifficulty keeps a share's difficulty at or below the network's, so that each
// block is a share: miners hand in nothing easier than a share. On networks that are
// trivially easy (regtest, young simnets) it does not: every hash would be a share.
func (p *Proxy) capDifficulty(d float64) float64 {
	if j := p.jobs.Latest(); j != nil {
		d = j.Origin.CapDifficulty(d)
		if j.NetworkDifficulty > trivialNetwork {
			d = min(d, j.NetworkDifficulty)
		}
	}
	return d
}
