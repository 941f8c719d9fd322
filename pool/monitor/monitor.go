// Package monitor shows people and programs what a proxy does: the documents of the HTTP
// API, metrics, the health check, and the page. It knows no more of the proxy than State
// says. What requests cost is bounded by package api.
package monitor

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lode/history"
	"lode/internal/apidoc"
	"lode/pool/accounts"
	"lode/pool/api"
	"lode/pool/blocks"
	"lode/stratum"
	"lode/version"
)

// State is what a proxy does at a moment.
type State struct {
	Health
	Network           string   // "": unknown
	Upstream          string   // that is mined for, without credentials; "": none
	Height            int64    // of the block being mined; 0: unknown
	NetworkDifficulty float64  // pdiff; 0: unknown
	Listen            []string // addresses for miners
	Connections       int      // miners that have logged in
	Upstreams         []Upstream
	Jobs              uint64 // that were made

	// Of the extranonces of the present work, and miners that found none.
	Leased, Capacity int
	TurnedAway       uint64

	// MemoryNeeded is what the process cannot do without, MemoryLimit what it may have
	// (0: any amount), bytes. Full: new connections are refused for want of it.
	MemoryNeeded, MemoryLimit int64
	Full                      bool

	Unsaved   int       // found blocks that are not on disk
	Saved     time.Time // when the accounts were on disk last
	DiskError string    // what is wrong with the disk; "": nothing
}

// Health is whether miners get valid work.
type Health struct {
	Ready, Draining bool
	LastError       string // why not; "": nothing is wrong
}

// Upstream is the state of one.
type Upstream struct {
	URL    string            `json:"url"`              // without credentials
	Kind   string            `json:"kind"`             // node or pool
	Up     bool              `json:"up"`               // whether it gives work
	Active bool              `json:"active"`           // whether it is mined for
	Since  *time.Time        `json:"since,omitempty"`  // of the last change of up
	Height int64             `json:"height,omitempty"` // of its work
	Error  string            `json:"error,omitempty"`  // why it gives no work
	Shares map[string]uint64 `json:"shares,omitempty"` // that were forwarded to a pool, by its answer
}

// Options of a Monitor. All but NotifyFrom must be set.
type Options struct {
	State  func() State
	Health func() Health // cheap: nothing bounds how often it is asked for
	Blocks func() []blocks.Block
	Notify func() // POST /notify

	Accounts *accounts.Book
	Stratum  *stratum.ServerStats
	History  *history.Recorder
	Began    time.Time
	Now      func() time.Time

	Limits     api.Limits
	NotifyFrom []netip.Prefix // networks that POST /notify is taken from; nil: this machine
}

// Monitor answers requests.
type Monitor struct{ o Options }

// New makes the HTTP server of a proxy.
func New(o Options) *api.Server {
	m := &Monitor{o}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{m})
	version.Register(registry)
	s := api.New(o.Limits)
	ranking := m.ranking()
	s.JSON(apidoc.Doc{Path: "/api/v1/status", Answer: "What the proxy does.", Type: status{}}, func() any { return m.status() })
	s.JSON(apidoc.Doc{Path: "/api/v1/upstreams", Answer: "Where work comes from, the preferred one first.", Type: Upstream{}},
		func() any { return o.State().Upstreams })
	s.List(apidoc.Doc{Path: "/api/v1/workers", Answer: "Workers, the fastest first.", Type: accounts.Report{}}, ranking)
	s.List(apidoc.Doc{Path: "/api/v1/blocks", Answer: "Blocks that were found, the newest first.", Type: block{}},
		func() api.List { return api.Slice[block](m.blocks()) })
	m.servePage(s, ranking)
	s.Handle(apidoc.Doc{Path: "/metrics", Answer: "[Metrics](metrics.md) for Prometheus."},
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}))
	s.Cheap(apidoc.Doc{Path: "/healthz", Answer: "`ok`: miners get valid work.", Errors: "503 they do not, with the reason"}, m.serveHealth)
	s.Post(apidoc.Doc{
		Path: "/notify", Who: "the networks of `--notify-from`, else this machine; no page of another site",
		Answer: "202: the node is asked for a new block at once.", Errors: "403 who may not",
	}, o.NotifyFrom, o.Notify)
	return s
}

// workerList reports workers when they are asked for.
type workerList []*accounts.Worker

func (l workerList) Len() int     { return len(l) }
func (l workerList) At(i int) any { return l[i].Report() }

// ranking gives the order of the workers, made once a second at most.
func (m *Monitor) ranking() func() api.List {
	var mu sync.Mutex
	var list workerList
	var made time.Time
	return func() api.List {
		mu.Lock()
		defer mu.Unlock()
		if now := m.o.Now(); now.Sub(made) > time.Second {
			list, made = m.o.Accounts.Ranking(), now
		}
		return list
	}
}

// serveHealth answers 200 while miners get valid work.
func (m *Monitor) serveHealth(w http.ResponseWriter, _ *http.Request) {
	h := m.o.Health()
	switch {
	case h.Draining:
		http.Error(w, "draining", http.StatusServiceUnavailable)
	case !h.Ready:
		reason := "no work"
		if h.LastError != "" {
			reason += ": " + h.LastError
		}
		http.Error(w, reason, http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ok")
	}
}
