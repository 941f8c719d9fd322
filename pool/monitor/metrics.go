package monitor

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lode/internal/metricdoc"
	"lode/pool/accounts"
	"lode/pool/blocks"
	"lode/stratum"
)

// collector makes metrics out of the counters that are there anyway, at each scrape.
// No label comes from a miner: their number stays bounded whoever connects.
type collector struct{ m *Monitor }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lode_proxy_"+name, help, labels, nil)
}

// DescribeMetrics tells which metrics a proxy has, for the reference.
func DescribeMetrics() ([]metricdoc.Metric, error) {
	return metricdoc.Of(collector{&Monitor{Options{
		State:    func() State { return State{Upstreams: []Upstream{{Shares: map[string]uint64{"accepted": 0}}}} },
		Blocks:   func() []blocks.Block { return nil },
		Accounts: accounts.New(time.Now), Stratum: new(stratum.ServerStats),
	}}})
}

// Describe implements prometheus.Collector: the collector is an unchecked one.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	counter := func(value float64, name, help string, labels ...string) {
		names, values := pairs(labels)
		out <- prometheus.MustNewConstMetric(describe(name, help, names...), prometheus.CounterValue, value, values...)
	}
	gauge := func(value float64, name, help string, labels ...string) {
		names, values := pairs(labels)
		out <- prometheus.MustNewConstMetric(describe(name, help, names...), prometheus.GaugeValue, value, values...)
	}
	c.shares(counter, gauge)
	c.state(counter, gauge)
	c.server(out, counter, gauge)
}

// pairs splits name, value, name, value …
func pairs(labels []string) (names, values []string) {
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	return names, values
}

type emit func(value float64, name, help string, labels ...string)

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c collector) shares(counter, gauge emit) {
	total := c.m.o.Accounts.Total()
	for _, o := range accounts.Outcomes() {
		t := total.Tallies[o.String()]
		counter(float64(t.Shares), "shares_total", "Shares by outcome, since the accounts began.", "outcome", o.String())
		counter(t.Difficulty, "share_difficulty_total", "Summed difficulty (pdiff) of shares by outcome; a refused one counts for no more than its hash has reached.", "outcome", o.String())
	}
	for window, rate := range map[string]float64{"1m": total.Hashrate1m, "5m": total.Hashrate5m, "1h": total.Hashrate1h} {
		gauge(rate, "hashrate", "Hashes per second estimated from accepted shares.", "window", window)
	}
	gauge(total.BestShare, "best_share_difficulty", "Greatest difficulty that a share has reached.")
	states := map[blocks.State]int{blocks.Submitted: 0, blocks.Confirmed: 0, blocks.Orphaned: 0}
	for _, b := range c.m.o.Blocks() {
		states[b.State]++
	}
	for state, n := range states {
		gauge(float64(n), "blocks", "Found blocks that are remembered, by state.", "state", string(state))
	}
	counter(float64(total.Blocks), "blocks_found_total", "Blocks found, since the accounts began.")
}

func (c collector) state(counter, gauge emit) {
	s := c.m.o.State()
	for i, u := range s.Upstreams {
		place := strconv.Itoa(i + 1)
		gauge(truth(u.Up), "upstream_up", "Whether the upstream gives work.", "upstream", place, "url", u.URL)
		gauge(truth(u.Active), "upstream_active", "Whether the upstream is mined for.", "upstream", place, "url", u.URL)
		for answer, n := range u.Shares {
			counter(float64(n), "upstream_shares_total", "Shares forwarded to a pool, by its answer.", "upstream", place, "url", u.URL, "answer", answer)
		}
	}
	gauge(truth(s.Ready), "ready", "Whether miners get valid work.")
	gauge(float64(s.Height), "height", "Height of the block that is mined.")
	gauge(float64(s.Leased), "extranonces_leased", "Extranonce1 values that are leased.")
	gauge(float64(s.Capacity), "extranonces_capacity", "Extranonce1 values that there are.")
	counter(float64(s.TurnedAway), "extranonces_refused_total", "Miners that were turned away because no extranonce1 value was free.")
	gauge(float64(s.MemoryNeeded), "memory_needed_bytes", "Memory that the process cannot do without.")
	gauge(float64(s.MemoryLimit), "memory_limit_bytes", "Memory that the process may need, 0: any amount.")
	gauge(truth(s.Full), "memory_full", "Whether new connections are refused for want of memory.")
	gauge(float64(s.Unsaved), "blocks_unsaved", "Found blocks that are not on disk.")
	gauge(unix(s.Saved), "accounts_saved_timestamp_seconds", "When the accounts were on disk last, unix time.")
	counter(float64(s.Jobs), "jobs_total", "Jobs made since the start.")
}

func (c collector) server(out chan<- prometheus.Metric, counter, gauge emit) {
	s := c.m.o.Stratum
	gauge(float64(s.Connections.Load()), "connections", "Open connections of miners.")
	gauge(float64(s.Ready.Load()), "miners", "Connections that have subscribed and authorized.")
	gauge(float64(s.Held.Load()), "connections_held", "Connections of addresses that send garbage, held in the tarpit.")
	for _, m := range []struct {
		value      uint64
		name, help string
	}{
		{s.Accepted.Load(), "connections_accepted_total", "Connections accepted."},
		{s.Refused.Load(), "connections_refused_total", "Connections refused by limits or bans."},
		{s.CrowdedOut.Load(), "connections_crowded_out_total", "Connections closed before their login to make room for others."},
		{s.Guesses.Load(), "refused_logins_total", "Logins refused for user or password."},
		{s.BytesIn.Load(), "bytes_in_total", "Bytes read from miners."},
		{s.BytesOut.Load(), "bytes_out_total", "Bytes written to miners."},
		{s.Lines.Load(), "lines_total", "Messages read from miners."},
		{s.Garbage.Load(), "garbage_lines_total", "Lines that were no messages, or too long."},
		{s.Submits.Load(), "submits_total", "mining.submit messages."},
		{s.Throttled.Load(), "throttled_total", "Times a connection was made to wait for sending too much."},
		{s.SlowCut.Load(), "slow_readers_cut_total", "Connections closed because the miner did not read, or was gone."},
		{s.IdleCut.Load(), "idle_cut_total", "Connections closed for silence or a slow handshake."},
		{s.Bans.Load(), "bans_total", "Addresses banned for garbage."},
		{s.Broadcasts.Load(), "broadcasts_total", "Jobs sent to all miners."},
		{s.BroadcastsSuperseded.Load(), "broadcasts_superseded_total", "Broadcasts given up for a newer clean job."},
	} {
		counter(float64(m.value), m.name, m.help)
	}
	buckets, count, sum := s.BroadcastLatency.Snapshot()
	cumulative := make(map[float64]uint64, len(buckets))
	for _, b := range buckets {
		cumulative[b.UpTo.Seconds()] = b.Count
	}
	out <- prometheus.MustNewConstHistogram(
		describe("broadcast_seconds", "Time from a template or pool job to the last write of its broadcast."), count, sum.Seconds(), cumulative)
}
