package pool

import "lode/pool/accounts"

// Notify has the nodes asked for a new block at once.
func (p *Proxy) Notify() {
	for _, s := range p.sources {
		s.notify()
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
	if i := p.failover.active; i >= 0 && p.failover.up[i] {
		s.Upstream, s.LastError = p.sources[i].url(), ""
	}
	if j := p.jobs.latest(); j != nil {
		s.Height = j.height
	}
	for _, b := range p.keeper.Blocks() {
		s.Blocks = append(s.Blocks, exportBlock(b))
	}
	return s
}
