package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lode/executor/mining"
	"lode/history"
	"lode/internal/apidoc"
	"lode/internal/metricdoc"
	"lode/pool/api"
	"lode/pool/monitor"
	"lode/version"
	"lode/web"
)

// mineSite serves the page of a miner, its status and its metrics.
type mineSite struct {
	user    string
	pools   []string
	miner   *mining.Miner
	speed   *speed
	began   time.Time
	history *history.Recorder
}

func newMineSite(cmd *mineCmd, m *mining.Miner, speed *speed, began time.Time) *mineSite {
	return &mineSite{user: cmd.User, pools: cmd.Pool, miner: m, speed: speed, began: began, history: history.New()}
}

// recordInterval is how often values are taken for the page's curve.
const recordInterval = 10 * time.Second

// server has all that is answered.
func (s *mineSite) server() *api.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(mineMetrics{s.status})
	version.Register(registry)
	server := api.New(api.Limits{})
	server.JSON(apidoc.Doc{Path: "/api/v1/status", Answer: "What the miner does.", Type: mineStatus{}}, func() any { return s.status() })
	monitor.ServePage(server, s.history, func() any { return s.document() })
	server.Handle(apidoc.Doc{Path: "/metrics", Answer: "[Metrics](metrics.md) for Prometheus."},
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}))
	server.Cheap(apidoc.Doc{Path: "/healthz", Answer: "`ok`: there is work.", Errors: "503 there is none, with the reason"}, s.health)
	return server
}

// serve answers until ctx ends.
func (s *mineSite) serve(ctx context.Context, l net.Listener) error {
	server := s.server()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.record(ctx)
	}()
	err := server.Serve(ctx, l)
	<-ended
	return err
}

func (s *mineSite) record(ctx context.Context) {
	ticker := time.NewTicker(recordInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.history.Add(now, map[string]float64{"hashrate": s.speed.rate()})
		}
	}
}

// mineStatus is the document of /api/v1/status; its names are those of a pool-proxy's.
type mineStatus struct {
	Ready      bool            `json:"ready"`              // whether there is work
	User       string          `json:"user"`               // the worker's name
	Upstream   string          `json:"upstream"`           // the pool that is mined for; "": none
	Height     int64           `json:"height"`             // of the block that is mined; 0: unknown
	Network    float64         `json:"network_difficulty"` // pdiff; 0: unknown
	Difficulty float64         `json:"difficulty"`         // pdiff of shares, as the pool asks
	Threads    int             `json:"threads"`            // that hash
	Kernel     string          `json:"kernel"`             // by which they do
	Hashes     uint64          `json:"hashes"`             // since the start
	Hashrate   float64         `json:"hashrate"`           // H/s, of the last ten seconds
	Shares     web.ProxyShares `json:"shares"`
	BestShare  float64         `json:"best_share"`           // pdiff, of an accepted share
	Uptime     float64         `json:"uptime"`               // s
	LastError  string          `json:"last_error,omitempty"` // why there was no work the last time
}

func (s *mineSite) status() mineStatus {
	m := s.miner.Status()
	return mineStatus{
		Ready: m.Pool != "", User: s.user, Upstream: m.Pool, Height: m.Job.Height, Network: m.Job.Network, Difficulty: m.Job.Difficulty,
		Threads: m.Engine.Threads, Kernel: m.Engine.Kernel, Hashes: m.Engine.Hashes, Hashrate: s.speed.rate(),
		Shares: sharesOf(&m), BestShare: m.Best, Uptime: time.Since(s.began).Seconds(), LastError: m.LastErr,
	}
}

func (s *mineSite) document() web.ProxyDocument {
	m := s.status()
	all := m.Shares.Accepted + m.Shares.Rejected + m.Shares.Stale
	d := web.ProxyDocument{
		Kind: web.KindMiner, Time: time.Now().UTC(), Uptime: m.Uptime, Ready: m.Ready, Upstream: m.Upstream, Height: m.Height, Difficulty: m.Network,
		Stratum: []string{}, Threads: m.Threads, Kernel: m.Kernel, Hashrate: m.Hashrate, Shares: m.Shares, BestShare: m.BestShare,
		LastError: m.LastError, Outcomes: []web.ProxyOutcome{}, Upstreams: []web.ProxyUpstream{}, Blocks: []web.ProxyBlock{}, WorkerCount: 1,
		Workers: web.ProxyWorkers{
			ID: []string{m.User}, Hashrate: []float64{m.Hashrate}, Accepted: []uint64{m.Shares.Accepted}, Rejected: []uint64{m.Shares.Rejected},
			Stale: []uint64{m.Shares.Stale}, Work: []float64{m.Shares.Difficulty}, Best: []float64{m.BestShare}, Blocks: []uint64{0}, Seen: []int64{0},
		},
	}
	for _, o := range []web.ProxyOutcome{
		{Outcome: "accepted", Shares: m.Shares.Accepted, All: all, Difficulty: m.Shares.Difficulty},
		{Outcome: "rejected", Shares: m.Shares.Rejected, All: all},
		{Outcome: "stale", Shares: m.Shares.Stale, All: all},
	} {
		if o.Shares > 0 {
			d.Outcomes = append(d.Outcomes, o)
		}
	}
	for i, pool := range s.pools {
		u := web.ProxyUpstream{URL: pool, Kind: "pool", Up: pool == m.Upstream, Active: pool == m.Upstream}
		if u.Active {
			u.Height = m.Height
		} else if i < max(slices.Index(s.pools, m.Upstream), 0) || !m.Ready {
			u.Error = m.LastError
		}
		d.Upstreams = append(d.Upstreams, u)
	}
	return d
}

// health answers 200 while there is work.
func (s *mineSite) health(w http.ResponseWriter, _ *http.Request) {
	if m := s.status(); !m.Ready {
		http.Error(w, "no work: "+m.LastError, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func mineMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lode_mine_"+name, help, labels, nil)
}

var (
	mineHashes   = mineMetric("hashes_total", "Headers hashed.")
	mineHashrate = mineMetric("hashrate", "Hashes per second, of the last ten seconds.")
	mineShares   = mineMetric("shares_total", "Shares by outcome.", "outcome")
	mineWork     = mineMetric("share_difficulty_total", "Summed difficulty (pdiff) of accepted shares.")
	mineBest     = mineMetric("best_share_difficulty", "Greatest difficulty that an accepted share has reached.")
	mineReady    = mineMetric("ready", "Whether there is work.")
	mineThreads  = mineMetric("threads", "Threads that hash.")
)

// mineMetrics collects the metrics of a status.
type mineMetrics struct{ status func() mineStatus }

func describeMineMetrics() ([]metricdoc.Metric, error) {
	return metricdoc.Of(mineMetrics{func() mineStatus { return mineStatus{} }})
}

// Describe implements prometheus.Collector.
func (mineMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{mineHashes, mineHashrate, mineShares, mineWork, mineBest, mineReady, mineThreads} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s mineMetrics) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	m := s.status()
	counter(mineHashes, float64(m.Hashes))
	gauge(mineHashrate, m.Hashrate)
	counter(mineShares, float64(m.Shares.Accepted), "accepted")
	counter(mineShares, float64(m.Shares.Rejected), "rejected")
	counter(mineShares, float64(m.Shares.Stale), "stale")
	counter(mineWork, m.Shares.Difficulty)
	gauge(mineBest, m.BestShare)
	ready := 0.0
	if m.Ready {
		ready = 1
	}
	gauge(mineReady, ready)
	gauge(mineThreads, float64(m.Threads))
}
