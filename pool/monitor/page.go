package monitor

import (
	"time"

	"lode/history"
	"lode/pool/accounts"
	"lode/pool/api"
	"lode/web"
)

// maxPageWorkers is how many workers the page shows, the fastest ones: a document for
// all of a large farm would not fit beside the miners.
const maxPageWorkers = 2000

// pageDocument is what the proxy's page asks for. Workers come by columns.
type pageDocument struct {
	Time        time.Time     `json:"time"`
	Uptime      float64       `json:"uptime"` // seconds
	Ready       bool          `json:"ready"`
	Draining    bool          `json:"draining"`
	Network     string        `json:"network"`
	Upstream    string        `json:"upstream"`
	Height      int64         `json:"height"`
	Difficulty  float64       `json:"network_difficulty"` // pdiff; 0: unknown
	Stratum     []string      `json:"stratum"`
	Connections int           `json:"connections"`
	Hashrate    float64       `json:"hashrate"`
	Shares      shares        `json:"shares"`
	Outcomes    []pageOutcome `json:"outcomes"`
	BestShare   float64       `json:"best_share"`
	Broadcast   float64       `json:"broadcast_p99_ms"` // 0: none yet
	LastError   string        `json:"last_error"`
	Upstreams   []Upstream    `json:"upstreams"`
	Blocks      []block       `json:"blocks"`
	WorkerCount int           `json:"worker_count"`
	Workers     pageWorkers   `json:"workers"`
}

type pageOutcome struct {
	Outcome    string  `json:"outcome"`
	Shares     uint64  `json:"shares"`
	All        uint64  `json:"all"`
	Difficulty float64 `json:"difficulty"`
}

type pageWorkers struct {
	ID       []string  `json:"id"`
	Hashrate []float64 `json:"hashrate"`
	Accepted []uint64  `json:"accepted"`
	Rejected []uint64  `json:"rejected"`
	Stale    []uint64  `json:"stale"`
	Work     []float64 `json:"work"`
	Best     []float64 `json:"best"`
	Blocks   []uint64  `json:"blocks"`
	Seen     []int64   `json:"seen"` // unix seconds of the last share; 0: none
}

// servePage registers the page and what it asks for.
func (m *Monitor) servePage(s *api.Server, ranking func() api.List) {
	page := web.Handler(web.Proxy)
	s.Cheap("GET /{$}", page.ServeHTTP)
	s.Cheap("GET "+web.AssetPrefix, page.ServeHTTP)
	s.Handle("GET "+history.Path, m.o.History)
	s.Handle("GET "+web.DocumentPath, web.Document(func() any { return m.page(ranking()) }))
}

func (m *Monitor) page(ranking api.List) pageDocument {
	s, total, now := m.o.State(), m.o.Accounts.Total(), m.o.Now()
	d := pageDocument{
		Time: now.UTC(), Uptime: now.Sub(m.o.Began).Seconds(), Ready: s.Ready, Draining: s.Draining,
		Network: s.Network, Upstream: s.Upstream, Height: s.Height, Difficulty: s.NetworkDifficulty, Stratum: s.Listen,
		Connections: s.Connections, Hashrate: total.Hashrate5m, Shares: sharesOf(total),
		BestShare: total.BestShare, LastError: s.LastError, Broadcast: m.slowBroadcast().Seconds() * 1000,
		Upstreams: s.Upstreams, Blocks: m.blocks(), WorkerCount: ranking.Len(), Outcomes: []pageOutcome{},
	}
	all := uint64(0)
	for _, t := range total.Tallies {
		all += t.Shares
	}
	for _, o := range accounts.Outcomes() {
		if t := total.Tallies[o.String()]; t.Shares > 0 {
			d.Outcomes = append(d.Outcomes, pageOutcome{o.String(), t.Shares, all, t.Difficulty})
		}
	}
	d.Workers = columns(ranking)
	return d
}

func columns(ranking api.List) pageWorkers {
	n := min(ranking.Len(), maxPageWorkers)
	w := pageWorkers{
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
