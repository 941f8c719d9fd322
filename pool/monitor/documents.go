package monitor

import (
	"time"

	"lode/pool/accounts"
	"lode/web"
)

// The API's answers. Rates are in H/s, difficulties pdiff, times RFC 3339.
type (
	status struct {
		Ready       bool            `json:"ready"`       // whether miners get valid work
		Draining    bool            `json:"draining"`    // whether miners are sent elsewhere
		Network     string          `json:"network"`     // main, test, signet or regtest; "": unknown
		Upstream    string          `json:"upstream"`    // that is mined for; "": none
		Height      int64           `json:"height"`      // of the block that is mined; 0: unknown
		Connections int             `json:"connections"` // miners that have logged in
		Hashrate    float64         `json:"hashrate"`    // H/s, over five minutes
		Shares      web.ProxyShares `json:"shares"`
		Totals      accounts.Report `json:"totals"`
		Extranonces extranonces     `json:"extranonces"`
		LastError   string          `json:"last_error,omitempty"` // why miners got no work the last time
		DiskError   string          `json:"disk_error,omitempty"` // why found blocks or accounts are not on disk
	}
	extranonces struct {
		Leased   int `json:"leased"`   // extranonce1 values that miners have
		Capacity int `json:"capacity"` // extranonce1 values that there are
	}
	block struct {
		Height        int64     `json:"height"`           // in the chain
		Hash          string    `json:"hash"`             // in the order of block explorers
		State         string    `json:"state"`            // submitted, confirmed or orphaned
		Finder        string    `json:"finder"`           // the worker
		Confirmations int       `json:"confirmations"`    // blocks from it to the tip, both counted
		Detail        string    `json:"detail,omitempty"` // why it is in that state
		Pool          string    `json:"pool,omitempty"`   // upstream whose block it is
		FoundAt       time.Time `json:"found_at"`         // by the proxy's clock
	}
)

func (m *Monitor) status() status {
	s, total := m.o.State(), m.o.Accounts.Total()
	return status{
		Ready: s.Ready, Draining: s.Draining, Network: s.Network, Upstream: s.Upstream, Height: s.Height,
		Connections: s.Connections, Hashrate: total.Hashrate5m, Shares: sharesOf(total),
		Totals: total, Extranonces: extranonces{s.Leased, s.Capacity}, LastError: s.LastError, DiskError: s.DiskError,
	}
}

// sharesOf sums up by what became of shares.
func sharesOf(r accounts.Report) web.ProxyShares {
	accepted, rejected, stale := r.Sums()
	return web.ProxyShares{Accepted: accepted.Shares, Rejected: rejected.Shares, Stale: stale.Shares, Difficulty: accepted.Difficulty}
}

func (m *Monitor) blocks() []block {
	list := []block{}
	for _, b := range m.o.Blocks() {
		list = append(list, block{
			Height: b.Height, Hash: b.Hash, State: string(b.State), Finder: b.Finder,
			Confirmations: int(b.Confirmations), Detail: b.Detail, FoundAt: b.FoundAt, Pool: b.Pool,
		})
	}
	return list
}
