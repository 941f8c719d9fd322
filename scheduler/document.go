package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/message"
	"lode/scheduler/api"
	"lode/scheduler/core"
)

// The core speaks its own types; the documents that people and programs read are made
// of them here, outside of its lock.

// Status is a snapshot of what the scheduler knows.
func (s *Scheduler) Status() api.Status {
	tasks, agents := []api.Task{}, []api.Agent{}
	s.eachTask(func(t *core.TaskView) { tasks = append(tasks, *taskOf(t)) })
	s.eachAgent(func(a *core.AgentView) { agents = append(agents, agentOf(a)) })
	s.mu.Lock()
	snapshot := s.core.Snapshot(time.Now())
	s.mu.Unlock()
	status := statusOf(&snapshot, tasks, agents)
	status.Name, status.Roles, status.Uptime = s.config.Name, slices.Clone(s.config.Roles), time.Since(s.started).Seconds()
	status.Artifact = s.binaries.info(snapshot.Artifact)
	if since, err := s.ledger.trouble(); err != nil {
		status.Problems = append(status.Problems, api.Problem(storeProblem(since, err)))
	}
	return status
}

func storeProblem(since time.Time, err error) core.Problem {
	return core.Problem{
		Kind: "store", Since: since, Text: "nothing can be stored, so nothing is launched and no update acknowledged: " + err.Error(),
	}
}

// pieceSize is how many tasks or agents are copied at a time under the core's lock.
const pieceSize = 256

// eachTask calls see for every task. It holds the core's lock for the copies of a few at a
// time, and not while see works.
func (s *Scheduler) eachTask(see func(*core.TaskView)) {
	each(s, (*core.Walk).Tasks, see)
}

// eachAgent is as eachTask.
func (s *Scheduler) eachAgent(see func(*core.AgentView)) {
	each(s, (*core.Walk).Agents, see)
}

func each[T any](s *Scheduler, next func(*core.Walk, []T) (int, bool), see func(*T)) {
	s.walking.Lock()
	defer s.walking.Unlock()
	s.mu.Lock()
	walk := s.core.Walk()
	s.mu.Unlock()
	piece := make([]T, pieceSize)
	for more := true; more; {
		var n int
		s.mu.Lock()
		n, more = next(walk, piece)
		s.mu.Unlock()
		for i := range piece[:n] {
			see(&piece[i])
		}
	}
}

// statusOf makes the document of what was seen: first the tasks and the agents, then the
// rest. What ended in between is not a task any more.
func statusOf(c *core.Snapshot, tasks []api.Task, agents []api.Agent) api.Status {
	over := make(map[string]bool, len(c.Ended))
	for i := range c.Ended {
		over[c.Ended[i].ID] = true
	}
	s := api.Status{
		FrameworkID: c.FrameworkID, Master: c.Master, Connected: c.Connected, Error: c.Error,
		Tasks:     slices.DeleteFunc(tasks, func(t api.Task) bool { return over[t.ID] }),
		Blocks:    make([]api.Block, 0, len(c.Blocks)),
		Ended:     make([]api.Ended, 0, len(c.Ended)),
		Agents:    agents,
		Decisions: make([]api.Decision, 0, len(c.Decisions)),
		Problems:  make([]api.Problem, 0, len(c.Problems)),
		Need:      api.Need{Proxies: c.NeedProxy, Miners: c.NeedMiners, Suppressed: c.Suppressed, Why: c.Need.Text},
		Proxies:   api.Proxies{Epoch: c.Proxies.Epoch, Addresses: slices.Concat(append([][]string{{}, c.Proxies.Addresses}, c.Proxies.More...)...)},
		Artifact:  api.Artifact{URL: c.Artifact.URL, Digest: c.Artifact.Digest},

		Paused: c.Paused, Reconciled: c.Reconciled, Time: c.Time,
	}
	if s.Proxies.Addresses == nil {
		s.Proxies.Addresses = []string{}
	}
	if c.NeedProxy > 0 {
		s.Need.Why = "a proxy is needed"
	}
	for i := range s.Tasks {
		if t := &s.Tasks[i]; t.Kind == core.KindMiner {
			s.Hashrate += t.Hashrate
		}
	}
	slices.SortFunc(s.Tasks, func(a, b api.Task) int {
		if a.Kind != b.Kind {
			return -strings.Compare(a.Kind, b.Kind) // proxies first
		}
		return cmp.Or(a.LaunchedAt.Compare(b.LaunchedAt), strings.Compare(a.ID, b.ID))
	})
	for i := range slices.Backward(c.Blocks) {
		s.Blocks = append(s.Blocks, *blockOf(&c.Blocks[i]))
	}
	for i := range c.Ended {
		s.Ended = append(s.Ended, *endedOf(&c.Ended[i]))
	}
	for i := range c.Decisions {
		s.Decisions = append(s.Decisions, *decisionOf(&c.Decisions[i]))
	}
	slices.SortFunc(s.Agents, func(a, b api.Agent) int { return strings.Compare(a.ID, b.ID) })
	for _, p := range c.Problems {
		s.Problems = append(s.Problems, api.Problem(p))
	}
	return s
}

func agentOf(a *core.AgentView) api.Agent {
	return api.Agent{
		ID: a.ID, Hostname: a.Hostname, Failures: a.Failures, BackoffUntil: timeOrNil(a.BackoffUntil), Unavailable: timeOrNil(a.Unavailable),
	}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// taskOf describes one task with its newest report.
func taskOf(t *core.TaskView) *api.Task {
	d := api.Task{
		ID: t.ID, Kind: t.Kind, State: t.State, AgentID: t.AgentID, Hostname: t.Hostname,
		CPUs: float64(t.CPUs) / 1000, LaunchedAt: t.LaunchedAt, Killing: string(t.Kill),
		Verified: t.Verified, ExecutorDigest: t.Digest, Message: t.Message, ReportAge: -1,
	}
	if r := t.Report; r != nil {
		d.ReportAge = t.ReportAge.Seconds()
		d.Uptime, d.Hashrate, d.Threads, d.Kernel, d.Shares = r.Uptime, r.Hashrate, r.Threads, r.Kernel, api.Shares(r.Shares)
		if t.Silent {
			d.Hashrate = 0 // silence this long means that nobody knows
		}
		if m := r.Miner; m != nil {
			d.Miner = &api.MinerDetail{
				State: m.State, Hashes: m.Hashes, Proxy: m.Proxy, JobAge: m.JobAge.Seconds(), Error: m.Error,
				Yielded: yieldedOf(m.Yielded), Host: hostOf(m.Host, t.CPUs),
			}
			if t.Silent {
				d.Miner.State = "silent"
			}
		}
		if p := r.Proxy; p != nil {
			d.Proxy = &api.ProxyDetail{
				Ready: p.Ready && !t.Silent, Shard: t.Shard, Epoch: t.Epoch, Stratum: p.Stratum, HTTP: p.HTTP,
				Upstream: p.Upstream, Network: p.Network, Connections: p.Connections, Height: p.Height, Error: p.Error,
			}
		}
	}
	if d.Proxy == nil && t.Kind == core.KindProxy {
		d.Proxy = &api.ProxyDetail{Shard: t.Shard, Epoch: t.Epoch, Stratum: t.Addresses[0]}
	}
	if d.Proxy != nil {
		d.Proxy.Addresses = t.Addresses
	}
	return &d
}

func endedOf(e *core.Ended) *api.Ended {
	return &api.Ended{
		ID: e.ID, Kind: e.Kind, State: e.State, Reason: e.Reason, Message: e.Message, Cause: e.Cause, Output: e.Output,
		AgentID: e.AgentID, Hostname: e.Hostname, At: e.At, Wanted: e.Wanted,
	}
}

func decisionOf(d *core.Decision) *api.Decision {
	return &api.Decision{
		At: d.At, OfferID: d.OfferID, AgentID: d.AgentID, Hostname: d.Hostname, Resources: summary(d.Resources),
		Outcome: d.Outcome, Reason: d.Reason.Text, Tasks: d.Tasks, Refuse: d.Refuse.Seconds(),
	}
}

// summary is for people: "cpus 4, mem 2048, ports 1000".
func summary(resources []mesos.Resource) string {
	var cpus, mem float64
	var ports uint64
	for i := range resources {
		switch r := &resources[i]; r.Name {
		case "cpus":
			cpus += r.GetScalar().GetValue()
		case "mem":
			mem += r.GetScalar().GetValue()
		case "ports":
			for _, span := range r.GetRanges().GetRange() {
				ports += span.End - span.Begin + 1
			}
		}
	}
	return fmt.Sprintf("cpus %.6g, mem %.6g, ports %d", cpus, mem, ports)
}

func blockOf(b *core.BlockView) *api.Block {
	return &api.Block{
		Height: b.Height, Hash: b.Hash, State: b.State, Finder: b.Finder, Confirmations: b.Confirmations,
		FoundAt: b.FoundAt, Stored: b.Stored, Submissions: b.Submissions, Error: b.Error,
	}
}

func yieldedOf(y *message.Yielded) *api.Yielded {
	if y == nil {
		return nil // an executor of before
	}
	const us = 1e-6
	return &api.Yielded{
		Count: y.Count, Away: float64(y.AwayUs) * us, Parked: float64(y.ParkedUs) * us, CPU: float64(y.CpuUs) * us,
		P50: float64(y.P50Us) * us, P99: float64(y.P99Us) * us,
	}
}

// hostOf is for a miner on so many thousandths of a cpu.
func hostOf(h *message.Host, milli int64) *api.Host {
	if h == nil {
		return nil
	}
	a := &api.Host{
		CPUs: h.Cpus, Cores: h.Cores, Cgroup: h.Cgroup, Weight: h.Weight, IdleGroup: h.IdleGroup,
		Quota: float64(h.QuotaMilli) / 1000, Policy: h.Policy,
		Others: float64(h.OthersMilli) / 1000, Watts: float64(h.Milliwatts) / 1000, JoulesPerGH: h.JoulesPerGigahash,
	}
	a.Promise = api.PromiseOf(a, float64(milli)/1000)
	return a
}
