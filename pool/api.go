package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lode/pool/accounts"
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

// handler serves API, metrics and health check.
func (p *Proxy) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{p})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.serveHealth)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.apiStatus()) })
	mux.HandleFunc("GET /api/v1/workers", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.accounts.Workers()) })
	mux.HandleFunc("GET /api/v1/upstreams", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.apiUpstreams()) })
	mux.HandleFunc("GET /api/v1/blocks", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.apiBlocks()) })
	mux.HandleFunc("POST /notify", func(w http.ResponseWriter, _ *http.Request) {
		p.Notify()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // the client is gone
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
	where := p.place.Load()
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
		u.Up, u.Active = p.failover.up[i], i == p.failover.active
		if p.failover.known[i] {
			since := p.failover.since[i].UTC()
			u.Since = &since
		}
		if o := p.offers[i]; o.work != nil {
			u.Height = o.work.height
			if !u.Up {
				u.Error = "it is behind another node"
			}
		} else if o.err != nil {
			u.Error = o.err.Error()
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

// serveHTTP serves the API until ctx ends.
func (p *Proxy) serveHTTP(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(short) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("HTTP API at %s: %w", l.Addr(), err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
