package monitor

import (
	"time"

	"lode/pool/accounts"
	"lode/web"
)

// The API's answers. Rates are in H/s, difficulties pdiff, times RFC 3339.
type (
	status struct {
		Ready       bool            `json:"ready"`
		Draining    bool            `json:"draining"`
		Network     string          `json:"network"`
		Upstream    string          `json:"upstream"`
		Height      int64           `json:"height"`
		Connections int             `json:"connections"`
		Hashrate    float64         `json:"hashrate"`
		Shares      web.ProxyShares `json:"shares"`
		Totals      accounts.Report `json:"totals"`
		Extranonces extranonces     `json:"extranonces"`
		LastError   string          `json:"last_error,omitempty"`
	}
	extranonces struct {
		Leased   int `json:"leased"`
		Capacity int `json:"capacity"`
	}
	block struct {
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

func (m *Monitor) status() status {
	s, total := m.o.State(), m.o.Accounts.Total()
	return status{
		Ready: s.Ready, Draining: s.Draining, Network: s.Network, Upstream: s.Upstream, Height: s.Height,
		Connections: s.Connections, Hashrate: total.Hashrate5m, Shares: sharesOf(total),
		Totals: total, Extranonces: extranonces{s.Leased, s.Capacity}, LastError: s.LastError,
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
