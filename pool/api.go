package pool

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lode/pool/accounts"
	"lode/pool/api"
	"lode/version"
)

// The API's answers. Rates are in H/s, difficulties pdiff, times RFC 3339.
type (
	apiStatus struct {
		Ready       bool            `json:"ready"`
		Draining    bool            `json:"draining"`
		Network     string          `json:"network"`
		Upstream    string          `json:"upstream"`
		Height      int64           `json:"height"`
		Connections int             `json:"connections"`
		Hashrate    float64         `json:"hashrate"`
		Shares      apiShares       `json:"shares"`
		Totals      accounts.Report `json:"totals"`
		Extranonces apiSpace        `json:"extranonces"`
		LastError   string          `json:"last_error,omitempty"`
	}
	apiShares struct {
		Accepted   uint64  `json:"accepted"`
		Rejected   uint64  `json:"rejected"`
		Stale      uint64  `json:"stale"`
		Difficulty float64 `json:"difficulty"`
	}
	apiSpace struct {
		Leased   int `json:"leased"`
		Capacity int `json:"capacity"`
	}
	apiUpstream struct {
		URL    string            `json:"url"`
		Kind   string            `json:"kind"` // node or pool
		Up     bool              `json:"up"`
		Active bool              `json:"active"`
		Since  *time.Time        `json:"since,omitempty"` // of the last change of up
		Height int64             `json:"height,omitempty"`
		Error  string            `json:"error,omitempty"`
		Shares map[string]uint64 `json:"shares,omitempty"` // answers of a pool
	}
	apiBlock struct {
		Height        int64     `json:"height"`
		Hash          string    `json:"hash"`
		State         string    `json:"state"`
		Finder        string    `json:"finder"`
		Confirmations int       `json:"confirmations"`
		Detail        string    `json:"detail,omitempty"`
		Pool          string    `json:"pool,omitempty"` // upstream whose block it is
		FoundAt       time.Time `json:"found_at"`
	}
)

// newAPI serves API, metrics and health check.
func (p *Proxy) newAPI() *api.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{p})
	version.Register(registry)
	s := api.New(p.config.API)
	s.Cheap("GET /healthz", p.serveHealth)
	s.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}))
	s.JSON("/api/v1/status", func() any { return p.apiStatus() })
	s.JSON("/api/v1/upstreams", func() any { return p.apiUpstreams() })
	ranking := p.ranking()
	s.List("/api/v1/workers", ranking)
	p.servePage(s, ranking)
	s.List("/api/v1/blocks", func() api.List { return api.Slice[apiBlock](p.apiBlocks()) })
	s.Post("/notify", p.config.NotifyFrom, p.Notify)
	return s
}

// workerList reports workers when they are asked for.
type workerList []*accounts.Worker

func (l workerList) Len() int     { return len(l) }
func (l workerList) At(i int) any { return l[i].Report() }

// ranking gives the order of the workers, made once a second at most.
func (p *Proxy) ranking() func() api.List {
	var mu sync.Mutex
	var list workerList
	var made time.Time
	return func() api.List {
		mu.Lock()
		defer mu.Unlock()
		if now := p.now(); now.Sub(made) > time.Second {
			list, made = p.accounts.Ranking(), now
		}
		return list
	}
}

// serveHealth answers 200 while miners get valid work.
func (p *Proxy) serveHealth(w http.ResponseWriter, _ *http.Request) {
	s := p.Status()
	switch {
	case p.draining.Load():
		http.Error(w, "draining", http.StatusServiceUnavailable)
	case !s.Ready:
		reason := "no work"
		if s.LastError != "" {
			reason += ": " + s.LastError
		}
		http.Error(w, reason, http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}

func (p *Proxy) apiStatus() apiStatus {
	s := p.Status()
	where := p.space.Load()
	return apiStatus{
		Ready: s.Ready, Draining: p.draining.Load(), Network: s.Network, Upstream: s.Upstream, Height: s.Height,
		Connections: s.Connections, Hashrate: s.Hashrate,
		Shares:      apiShares{s.Shares.Accepted, s.Shares.Rejected, s.Shares.Stale, s.Shares.Difficulty},
		Totals:      p.accounts.Total(),
		Extranonces: apiSpace{where.Leased(), where.Capacity()},
		LastError:   s.LastError,
	}
}

func (p *Proxy) apiUpstreams() []apiUpstream {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	list := make([]apiUpstream, len(p.sources))
	for i, s := range p.sources {
		u := &list[i]
		u.URL, u.Kind = s.url(), "node"
		state := p.arbiter.State(i)
		u.Up, u.Active, u.Height, u.Error = state.Up, state.Active, state.Height, state.Why
		if state.Known {
			since := state.Since.UTC()
			u.Since = &since
		}
		if state.Err != nil {
			u.Error = state.Err.Error()
		}
		if pool, ok := s.(*poolSource); ok {
			u.Kind = "pool"
			u.Shares = pool.counts.byAnswer()
		}
	}
	return list
}

func (c *poolCounts) byAnswer() map[string]uint64 {
	return map[string]uint64{
		"accepted": c.Accepted.Load(), "rejected": c.Rejected.Load(), "stale": c.Stale.Load(), "lost": c.Lost.Load(),
	}
}

func (p *Proxy) apiBlocks() []apiBlock {
	list := []apiBlock{}
	for _, b := range p.keeper.Blocks() {
		list = append(list, apiBlock{
			Height: b.Height, Hash: b.Hash, State: string(b.State), Finder: b.Finder,
			Confirmations: int(b.Confirmations), Detail: b.Detail, FoundAt: b.FoundAt, Pool: b.Pool,
		})
	}
	return list
}
