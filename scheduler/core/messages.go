package core

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"lode/message"
)

// receive takes in a framework message. They are not reliable and not ordered with
// status updates, and an executor may send anything.
func (c *Core) receive(e Message) {
	c.counters.Messages++
	m, p, t := c.open(e)
	if m == nil {
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
	switch {
	case m.GetHello() != nil:
		c.hello(t, m.GetHello(), e)
	case m.GetReport() != nil:
		c.receiveReport(t, m.GetReport(), e)
	}
}

func (c *Core) hello(t *Task, h *message.Hello, e Message) {
	c.learnDigest(t, h.ExecutorDigest)
	if t.Kind == KindMiner {
		c.knowsList(t, h.ProxiesEpoch)
		return
	}
	c.giveSecrets(t, h, e)
}

// learnDigest notes what binary an executor says that it is.
func (c *Core) learnDigest(t *Task, digest string) {
	r := t.run
	if digest == "" || digest == r.digest {
		return
	}
	r.digest = c.words.one(limit(digest, 64))
	if r.digest != t.Digest {
		r.agent.badCache = t.Digest
		c.notice(slog.LevelWarn, "executor is of another binary than its task was launched with",
			"task", t.ID, "digest", r.digest, "expected", t.Digest)
	}
}

func (c *Core) receiveReport(t *Task, m *message.Report, e Message) {
	r := t.run
	if r.report != nil && m.Sequence < r.sequence {
		return // overtaken by a newer one, whose word on a block was acknowledged perhaps
	}
	c.learnDigest(t, m.ExecutorDigest)
	both := &struct { // in one piece
		Report
		miner MinerReport
	}{}
	report := &both.Report
	report.Uptime = time.Duration(m.UptimeMs) * time.Millisecond
	if s := m.Shares; s != nil {
		report.Shares = Shares{
			Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: finite(s.Difficulty),
		}
	}
	switch {
	case m.GetMiner() != nil && t.Kind == KindMiner:
		d := m.GetMiner()
		report.Hashrate, report.Threads, report.Kernel = finite(d.Hashrate), int(d.Threads), c.words.one(limit(d.Kernel, 40))
		report.Miner, both.miner = &both.miner, MinerReport{
			State: c.words.one(limit(d.State, 40)), Hashes: d.Hashes, Proxy: c.words.one(limit(d.Proxy, 260)),
			JobAge: time.Duration(d.JobAgeMs) * time.Millisecond, Error: c.words.one(limit(d.Error, 300)),
			Yielded: d.Yielded, Host: c.limitHost(d.Host),
		}
		c.knowsList(t, d.ProxiesEpoch)
		c.hearMiner(t, report)
		if d.Hashrate > 0 {
			c.works(KindMiner)
		}
	case m.GetProxy() != nil && t.Kind == KindProxy:
		d := m.GetProxy()
		report.Hashrate = finite(d.Hashrate)
		report.Proxy = &ProxyReport{
			Ready: d.Ready, Stratum: limit(d.Stratum, 260), HTTP: limit(d.Http, 260), Upstream: limit(d.Upstream, 300),
			Network: limit(d.Network, 40), Connections: d.Connections, Height: d.Height, Error: limit(d.Error, 300),
		}
		switch {
		case d.Ready:
			r.unready = never
			c.works(KindProxy)
		case r.unready == never:
			r.unready = c.clock
		}
		r.ready, r.given = d.Ready, false
		c.slotOf(t).stale = true
		c.watchProxyError(t, r, report)
		r.secretsEpoch = d.SecretsEpoch
		c.learnBlocks(t, d.Blocks, e)
	default:
		return
	}
	c.hosts.count(r.report, -1)
	c.hosts.count(report, 1)
	r.sequence, r.reportAt, r.reportRound, r.report = m.Sequence, c.clock, int32(c.recon.round), report
	if report.Miner != nil {
		c.heedOthers(t, r)
	}
	c.prove(t)
	c.tell(Reported{c.view(t)})
}

// watchProxyError tells an operator once why a proxy has no work.
func (c *Core) watchProxyError(t *Task, r *run, report *Report) {
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

func (c *Core) limitHost(h *message.Host) *message.Host {
	if h != nil {
		h.Policy = c.words.one(limit(h.Policy, 20))
	}
	return h
}

// vocabulary keeps texts that thousands of tasks have in common once.
type vocabulary map[string]string

// mostWords bounds a vocabulary: who makes up ever new ones gains nothing.
const mostWords = 1000

func (v vocabulary) one(text string) string {
	known, ok := v[text]
	switch {
	case ok:
		return known
	case text == "":
		return ""
	case len(v) >= mostWords:
		clear(v)
	}
	v[text] = text
	return text
}
