package web

import "time"

// ProxyDocument is what the page Proxy asks for at DocumentPath. Rates are in H/s,
// difficulties pdiff. Lists are never nil.
type ProxyDocument struct {
	// Kind is what serves the page: KindProxy or KindMiner.
	Kind        string          `json:"kind"`
	Time        time.Time       `json:"time"`
	Uptime      float64         `json:"uptime"` // seconds
	Ready       bool            `json:"ready"`
	Draining    bool            `json:"draining"`
	Network     string          `json:"network"`
	Upstream    string          `json:"upstream"`
	Height      int64           `json:"height"`
	Difficulty  float64         `json:"network_difficulty"` // 0: unknown
	Stratum     []string        `json:"stratum"`
	Connections int             `json:"connections"`
	Threads     int             `json:"threads,omitempty"` // of a miner
	Kernel      string          `json:"kernel,omitempty"`
	Hashrate    float64         `json:"hashrate"`
	Shares      ProxyShares     `json:"shares"`
	Outcomes    []ProxyOutcome  `json:"outcomes"`
	BestShare   float64         `json:"best_share"`
	Broadcast   float64         `json:"broadcast_p99_ms"` // 0: none yet
	LastError   string          `json:"last_error"`
	Upstreams   []ProxyUpstream `json:"upstreams"`
	Blocks      []ProxyBlock    `json:"blocks"`
	WorkerCount int             `json:"worker_count"`
	Workers     ProxyWorkers    `json:"workers"`
}

// What serves a ProxyDocument.
const (
	KindProxy = "proxy"
	KindMiner = "miner"
)

// ProxyShares counts shares.
type ProxyShares struct {
	Accepted   uint64  `json:"accepted"`   // shares
	Rejected   uint64  `json:"rejected"`   // shares, for whatever reason but being late
	Stale      uint64  `json:"stale"`      // shares that came too late
	Difficulty float64 `json:"difficulty"` // pdiff, sum over accepted shares
}

// ProxyOutcome counts the shares with one outcome.
type ProxyOutcome struct {
	Outcome    string  `json:"outcome"`
	Shares     uint64  `json:"shares"`
	All        uint64  `json:"all"` // of any outcome
	Difficulty float64 `json:"difficulty"`
}

// ProxyUpstream is where work comes from.
type ProxyUpstream struct {
	URL    string     `json:"url"`
	Kind   string     `json:"kind"` // node or pool
	Up     bool       `json:"up"`
	Active bool       `json:"active"`
	Since  *time.Time `json:"since,omitempty"` // of the last change of up
	Height int64      `json:"height,omitempty"`
	Error  string     `json:"error,omitempty"`
}

// ProxyBlock is a block that was found.
type ProxyBlock struct {
	Height        int64     `json:"height"`
	Hash          string    `json:"hash"`
	State         string    `json:"state"`
	Finder        string    `json:"finder"`
	Confirmations int       `json:"confirmations"`
	FoundAt       time.Time `json:"found_at"`
}

// ProxyWorkers are workers by columns of one length.
type ProxyWorkers struct {
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
