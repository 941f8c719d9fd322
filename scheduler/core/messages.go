package core

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"lode/message"
	"lode/scheduler/api"
)

// receive takes in a framework message. They are not reliable and not ordered with
// status updates, and an executor may send anything.
func (c *Core) receive(e Message) {
	c.counters.Messages++
	m, p, t := c.open(e)
	if m == nil {
		c.quiet = true
		return
	}
	if b := m.GetBlock(); b != nil {
		// Even of a proxy that was given up, or ended lately: a block is a block.
		if t != nil && t.Kind != KindProxy {
			c.refuse("block", slog.LevelWarn, e, errors.New("a miner sends a block"))
			return
		}
		c.receiveBlock(e, p, b)
		return
	}
	if t == nil {
		return
	}
	c.quiet = t.Kind == KindMiner // there may be thousands
	switch {
	case m.GetHello() != nil:
		c.hello(t, m.GetHello(), e)
	case m.GetReport() != nil:
		c.receiveReport(t, m.GetReport(), e)
	}
}

func (c *Core) hello(t *Task, h *message.Hello, e Message) {
	r := c.runs[t.ID]
	c.learnDigest(t, h.ExecutorDigest)
	if t.Kind == KindMiner {
		r.knownEpoch = max(r.knownEpoch, h.ProxiesEpoch)
		if r.knownEpoch < c.state.Proxies.Epoch {
			c.sendProxies(t)
		}
		return
	}
	c.giveSecrets(t, h, e)
}

// learnDigest notes what binary an executor says that it is.
func (c *Core) learnDigest(t *Task, digest string) {
	r := c.runs[t.ID]
	if digest == "" || digest == r.digest {
		return
	}
	r.digest = limit(digest, 64)
	if r.digest != c.set.ArtifactDigest {
		c.notice(slog.LevelWarn, "executor is of another binary than new tasks get",
			"task", t.ID, "digest", r.digest, "expected", c.set.ArtifactDigest)
	}
}

func (c *Core) receiveReport(t *Task, m *message.Report, e Message) {
	r := c.runs[t.ID]
	if r.report != nil && m.Sequence < r.sequence && m.UptimeMs >= uint64(r.report.Uptime.Milliseconds()) {
		return // overtaken by a newer one
	}
	c.learnDigest(t, m.ExecutorDigest)
	r.sequence, r.reportAt = m.Sequence, c.now
	report := &api.Task{Uptime: time.Duration(m.UptimeMs) * time.Millisecond}
	if s := m.Shares; s != nil {
		report.Shares = api.Shares{
			Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: finite(s.Difficulty),
		}
	}
	switch {
	case m.GetMiner() != nil && t.Kind == KindMiner:
		d := m.GetMiner()
		report.Hashrate, report.Threads, report.Kernel = finite(d.Hashrate), int(d.Threads), limit(d.Kernel, 40)
		report.Miner = &api.MinerDetail{
			State: limit(d.State, 40), Hashes: d.Hashes, Proxy: limit(d.Proxy, 260),
			JobAge: float64(d.JobAgeMs) / 1000, Error: limit(d.Error, 300),
			Yielded: yielded(d.Yielded), Host: host(d.Host),
		}
		r.knownEpoch = max(r.knownEpoch, d.ProxiesEpoch)
		if d.Hashrate > 0 {
			c.works(KindMiner)
		}
	case m.GetProxy() != nil && t.Kind == KindProxy:
		d := m.GetProxy()
		report.Hashrate = finite(d.Hashrate)
		report.Proxy = &api.ProxyDetail{
			Ready: d.Ready, Shard: t.Shard, Epoch: t.Epoch,
			Stratum: limit(d.Stratum, 260), HTTP: limit(d.Http, 260), Upstream: limit(d.Upstream, 300),
			Connections: d.Connections, Height: d.Height, Error: limit(d.Error, 300),
		}
		r.ready = d.Ready
		if d.Ready {
			c.works(KindProxy)
		}
		c.watchProxyError(t, r, report)
		r.secretsEpoch = d.SecretsEpoch
		c.learnBlocks(t, d.Blocks, e)
	default:
		return
	}
	r.report = report
	if report.Miner != nil {
		c.heedOthers(t, r)
	}
	c.tell(Progress{Type: "report", Task: c.taskStatus(t)})
}

// watchProxyError tells an operator once why a proxy has no work.
func (c *Core) watchProxyError(t *Task, r *run, report *api.Task) {
	const settling = time.Second // a proxy that has just started waits for its secrets
	text := report.Proxy.Error
	if report.Proxy.Ready {
		text = ""
	}
	if text != r.toldError && report.Uptime >= settling {
		r.toldError = text
		if text != "" {
			c.notice(slog.LevelWarn, "the proxy has no work", "task", t.ID, "error", text)
		}
	}
}

// finite keeps what is not a number out of JSON.
func finite(f float64) float64 {
	if f >= 0 && f < 1e30 {
		return f
	}
	return 0
}

// limit shortens what others send, and keeps control characters out of terminals.
func limit(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
