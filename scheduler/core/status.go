package core

import (
	"maps"
	"slices"
	"strings"
	"time"

	"lode/message"
	"lode/scheduler/api"
)

// Status describes everything for people and programs. It holds no secret.
func (c *Core) Status(now time.Time) api.Status {
	c.now = now
	miners, why, _ := c.minersWanted()
	s := api.Status{
		FrameworkID: c.state.FrameworkID,
		Master:      c.master,
		Connected:   c.connected,
		Error:       c.lastError,
		Tasks:       []api.Task{},
		Blocks:      []api.Block{},
		Ended:       []api.Ended{},
		Agents:      []api.Agent{},
		Decisions:   []api.Decision{},
		Need:        api.Need{Miners: miners, Suppressed: c.revive.suppressed, Why: why},
		Problems:    c.problems(),
		Proxies:     api.Proxies{Epoch: c.state.Proxies.Epoch, Addresses: c.state.Proxies.Addresses},
		Artifact:    api.Artifact{URL: c.set.ArtifactURL, Digest: c.set.ArtifactDigest},
		Paused:      c.pausedWhy(),
		Reconciled:  c.recon.done && len(c.recon.pending) == 0,
		Time:        now,
	}
	if s.Proxies.Addresses == nil {
		s.Proxies.Addresses = []string{}
	}
	if c.proxyWanted() {
		s.Need.Proxies = 1
		s.Need.Why = "a proxy is needed"
	}
	for _, id := range c.taskIDs() {
		t := c.taskStatus(c.state.Tasks[id])
		s.Tasks = append(s.Tasks, *t)
		if t.Kind == KindMiner {
			s.Hashrate += t.Hashrate
		}
	}
	slices.SortStableFunc(s.Tasks, func(a, b api.Task) int {
		if a.Kind != b.Kind {
			return -strings.Compare(a.Kind, b.Kind) // proxies first
		}
		return a.LaunchedAt.Compare(b.LaunchedAt)
	})
	for _, b := range slices.Backward(c.state.Blocks) {
		s.Blocks = append(s.Blocks, *blockStatus(b))
	}
	for _, e := range c.ended.newest() {
		s.Ended = append(s.Ended, api.Ended(e))
	}
	for _, d := range c.decisions.newest() {
		s.Decisions = append(s.Decisions, api.Decision(d))
	}
	for _, id := range slices.Sorted(maps.Keys(c.agents)) {
		s.Agents = append(s.Agents, c.agents[id].status(now))
	}
	return s
}

func (a *agent) status(now time.Time) api.Agent {
	s := api.Agent{ID: a.id, Hostname: a.hostname, Failures: a.failures.count(now)}
	if a.wait(now) > 0 {
		until := a.until
		s.BackoffUntil = &until
	}
	if !a.down.IsZero() {
		down := a.down
		s.Unavailable = &down
	}
	return s
}

// taskStatus describes one task with its newest report.
func (c *Core) taskStatus(t *Task) *api.Task {
	r := c.runs[t.ID]
	s := api.Task{ReportAge: -1}
	if r != nil && r.report != nil {
		s = *r.report
		s.ReportAge = c.now.Sub(r.reportAt).Seconds()
		if s.ReportAge > max(60, 10*c.set.ReportInterval.Seconds()) {
			// Silence this long means that nobody knows.
			s.Hashrate = 0
		}
	}
	s.ID, s.Kind, s.State, s.AgentID, s.Hostname = t.ID, t.Kind, t.State, t.AgentID, t.Hostname
	s.Verified = t.Version >= message.FirstLinked
	s.CPUs, s.LaunchedAt, s.Killing = fromMilli(t.CPUs), t.LaunchedAt, t.Kill
	if r != nil {
		s.ExecutorDigest, s.Message = r.digest, limit(r.message, 300)
	}
	if s.Proxy == nil && t.Kind == KindProxy {
		s.Proxy = &api.ProxyDetail{Shard: t.Shard, Epoch: t.Epoch, Stratum: t.Addresses[0]}
	}
	return &s
}
