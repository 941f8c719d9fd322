package pool

import (
	"lode/pool/api"
	"lode/pool/monitor"
	"lode/pool/source"
	"lode/pool/upstream"
)

// Status implements Runner.
func (p *Proxy) Status() Status {
	now, total, bound := p.state(), p.folder.Accounts.Total(), p.bound.Load()
	s := Status{
		Ready: now.Ready, Listen: bound.miners, ListenTLS: bound.secure, HTTP: bound.api,
		Upstream: now.Upstream, Network: now.Network, Height: now.Height,
		Connections: now.Connections, Hashrate: total.Hashrate5m, LastError: now.LastError,
	}
	accepted, rejected, stale := total.Sums()
	s.Shares = Shares{Accepted: accepted.Shares, Rejected: rejected.Shares, Stale: stale.Shares, Difficulty: accepted.Difficulty}
	for _, b := range p.keeper.Blocks() {
		s.Blocks = append(s.Blocks, exportBlock(b))
	}
	return s
}

// health is cheap.
func (p *Proxy) health() monitor.Health {
	states, lastError := p.director.States()
	h := monitor.Health{Ready: p.miners.Working(), Draining: p.draining.Load(), LastError: lastError}
	for _, s := range states {
		if s.Active {
			h.LastError = "" // it is of before
		}
	}
	return h
}

// state is what the monitor shows.
func (p *Proxy) state() monitor.State {
	where, server := p.miners.Space(), p.miners.Stratum()
	s := monitor.State{
		Health: p.health(), Network: p.network.get(), Listen: p.bound.Load().list(),
		Connections: int(server.Stats().Ready.Load()), Upstreams: []monitor.Upstream{}, Jobs: p.jobs.Made(),
		Leased: where.Leased(), Capacity: where.Capacity(), TurnedAway: p.miners.TurnedAway(),
		MemoryNeeded: p.memory.Needed(), MemoryLimit: p.memory.Limit, Full: p.memory.Full(),
		Saved: p.folder.Saved(),
	}
	s.Unsaved, s.DiskError = p.disk()
	if j := p.jobs.Latest(); j != nil {
		s.Height, s.NetworkDifficulty = j.Height, j.NetworkDifficulty
	}
	states, _ := p.director.States()
	for i, state := range states {
		u := export(p.sources[i], state)
		if u.Active {
			s.Upstream = u.URL
		}
		s.Upstreams = append(s.Upstreams, u)
	}
	return s
}

// disk is how many found blocks are not on disk, and what is wrong with that; "": nothing.
func (p *Proxy) disk() (unsaved int, wrong string) {
	unsaved, err := p.keeper.Unsaved()
	if err == nil {
		err = p.folder.Trouble()
	}
	if err != nil {
		wrong = err.Error()
	}
	return unsaved, wrong
}

func export(from source.Source, state upstream.State) monitor.Upstream {
	u := monitor.Upstream{URL: from.URL(), Kind: "node", Up: state.Up, Active: state.Active, Height: state.Height, Error: state.Why}
	if state.Known {
		since := state.Since.UTC()
		u.Since = &since
	}
	if state.Err != nil {
		u.Error = state.Err.Error()
	}
	if pool, ok := from.(source.Pool); ok {
		u.Kind, u.Shares = "pool", pool.Answers()
	}
	return u
}

// newAPI serves API, metrics and health check.
func (p *Proxy) newAPI() *api.Server {
	return monitor.New(monitor.Options{
		State: p.state, Health: p.health, Blocks: p.keeper.Blocks, Notify: p.Notify,
		Accounts: p.folder.Accounts, Stratum: p.miners.Stratum().Stats(), History: p.folder.History,
		Began: p.began, Now: p.now, Limits: p.config.API, NotifyFrom: p.config.NotifyFrom,
	})
}
