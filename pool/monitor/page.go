package monitor

import (
	"time"

	"lode/history"
	"lode/internal/apidoc"
	"lode/pool/accounts"
	"lode/pool/api"
	"lode/web"
)

// maxPageWorkers is how many workers the page shows, the fastest ones: a document for
// all of a large farm would not fit beside the miners.
const maxPageWorkers = 2000

// servePage registers the page and what it asks for.
func (m *Monitor) servePage(s *api.Server, ranking func() api.List) {
	ServePage(s, m.o.History, func() any { return m.page(ranking()) })
}

// ServePage registers the page of a proxy or a miner, what it shows, and its curves.
func ServePage(s *api.Server, curves *history.Recorder, document func() any) {
	s.Handle(apidoc.Doc{
		Path: history.Path, Query: "`range` (`1h`, `24h`, `7d` or `30d`; 1h), `points` (at most so many steps, 1 to 2000; 360)",
		Answer: "`from` (Unix time of the first step, s), `step` (s) and `series`: by name a list of means, null where nothing is known; hashrates in H/s.",
		Errors: "400 another range, or no number",
	}, curves)
	s.Handle(apidoc.Doc{Path: web.DocumentPath, Answer: "What the page shows. It is made for the page, and changes with it."}, web.Document(document))
	page := web.Handler(web.Proxy)
	s.Cheap(apidoc.Doc{Path: "/{$}", Answer: "The page."}, page.ServeHTTP)
	s.Cheap(apidoc.Doc{Path: web.AssetPrefix, Answer: "Its scripts and styles.", Errors: "404 there is no such file"}, page.ServeHTTP)
}

func (m *Monitor) page(ranking api.List) web.ProxyDocument {
	s, total, now := m.o.State(), m.o.Accounts.Total(), m.o.Now()
	d := web.ProxyDocument{
		Kind: web.KindProxy, Time: now.UTC(), Uptime: now.Sub(m.o.Began).Seconds(), Ready: s.Ready, Draining: s.Draining,
		Network: s.Network, Upstream: s.Upstream, Height: s.Height, Difficulty: s.NetworkDifficulty, Stratum: s.Listen,
		Connections: s.Connections, Hashrate: total.Hashrate5m, Shares: sharesOf(total),
		BestShare: total.BestShare, LastError: s.LastError, Broadcast: m.slowBroadcast().Seconds() * 1000,
		Upstreams: []web.ProxyUpstream{}, Blocks: []web.ProxyBlock{}, WorkerCount: ranking.Len(), Outcomes: []web.ProxyOutcome{},
	}
	for _, u := range s.Upstreams {
		d.Upstreams = append(d.Upstreams, web.ProxyUpstream{URL: u.URL, Kind: u.Kind, Up: u.Up, Active: u.Active, Since: u.Since, Height: u.Height, Error: u.Error})
	}
	for _, b := range m.blocks() {
		d.Blocks = append(d.Blocks, web.ProxyBlock{
			Height: b.Height, Hash: b.Hash, State: b.State, Finder: b.Finder, Confirmations: b.Confirmations, FoundAt: b.FoundAt,
		})
	}
	all := uint64(0)
	for _, t := range total.Tallies {
		all += t.Shares
	}
	for _, o := range accounts.Outcomes() {
		if t := total.Tallies[o.String()]; t.Shares > 0 {
			d.Outcomes = append(d.Outcomes, web.ProxyOutcome{Outcome: o.String(), Shares: t.Shares, All: all, Difficulty: t.Difficulty})
		}
	}
	d.Workers = columns(ranking)
	return d
}

func columns(ranking api.List) web.ProxyWorkers {
	n := min(ranking.Len(), maxPageWorkers)
	w := web.ProxyWorkers{
		ID: make([]string, n), Hashrate: make([]float64, n), Accepted: make([]uint64, n), Rejected: make([]uint64, n), Stale: make([]uint64, n),
		Work: make([]float64, n), Best: make([]float64, n), Blocks: make([]uint64, n), Seen: make([]int64, n),
	}
	for i := range n {
		r := ranking.At(i).(accounts.Report)
		w.ID[i], w.Hashrate[i], w.Best[i], w.Blocks[i] = r.Worker, r.Hashrate5m, r.BestShare, r.Blocks
		s := sharesOf(r)
		w.Accepted[i], w.Work[i], w.Rejected[i], w.Stale[i] = s.Accepted, s.Difficulty, s.Rejected, s.Stale
		if !r.LastShare.IsZero() {
			w.Seen[i] = r.LastShare.Unix()
		}
	}
	return w
}

// slowBroadcast is the upper end of the bucket that holds the 99th percentile of the
// broadcasts' durations; 0: there was none.
func (m *Monitor) slowBroadcast() time.Duration {
	buckets, count, _ := m.o.Stratum.BroadcastLatency.Snapshot()
	for _, b := range buckets {
		if count > 0 && b.Count*100 >= count*99 {
			return b.UpTo
		}
	}
	if count > 0 {
		return buckets[len(buckets)-1].UpTo
	}
	return 0
}
