package core

import (
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/message"
)

// What the core tells of itself are values: whoever wants documents for people and
// programs makes them of these, outside.

// TaskView is a task with what is known of it.
type TaskView struct {
	Task
	Digest    string  // as the executor reports it; "": no report yet
	Message   string  // of the latest status
	Report    *Report // the newest; never changed afterwards. nil: none yet
	ReportAge time.Duration
	Verified  bool // its messages carry the key of its launch
	Silent    bool // the report is too old to be true
}

// Report is what an executor said last.
type Report struct {
	Uptime   time.Duration
	Hashrate float64
	Threads  int
	Kernel   string
	Shares   Shares
	Miner    *MinerReport // of miners
	Proxy    *ProxyReport // of proxies
}

// Shares counts shares by outcome.
type Shares struct {
	Accepted, Rejected, Stale uint64
	Difficulty                float64
}

// MinerReport is what only miners report.
type MinerReport struct {
	State, Proxy, Error string
	Hashes              uint64
	JobAge              time.Duration // negative: there is no job
	// Yielded and Host are nil from executors of before.
	Yielded *message.Yielded
	Host    *message.Host
}

// ProxyReport is what only proxies report.
type ProxyReport struct {
	Ready                                   bool
	Stratum, HTTP, Upstream, Network, Error string
	Connections                             uint32
	Height                                  int64
}

// Ended is a task that ended. Cause is a short name of what was wrong, "" if nothing
// was, or nothing that has one.
type Ended struct {
	ID, Kind, State, Reason, Message, AgentID, Hostname string

	Cause  string
	At     time.Time
	Wanted bool
}

// Decision is what became of an offer.
type Decision struct {
	At        time.Time
	OfferID   string
	AgentID   string
	Hostname  string
	Resources []mesos.Resource // never changed
	Outcome   string           // accepted, declined or rescinded
	Reason    Reason
	Tasks     []string
	Refuse    time.Duration
}

// AgentView is what is known of an agent.
type AgentView struct {
	ID, Hostname string
	Failures     float64
	BackoffUntil time.Time // zero: none
	Unavailable  time.Time // zero: none
}

// BlockView is a block with what became of it.
type BlockView struct {
	Block
	Submissions int
	Error       string
}

// Problem is something that does not work, and will not without help.
type Problem struct {
	Kind  string
	Since time.Time
	Text  string
}

// Snapshot is everything at one time.
type Snapshot struct {
	FrameworkID, Master, Error string
	Connected, Reconciled      bool
	Suppressed                 bool
	Paused                     string // why miners do not hash; "": they do

	Tasks      []TaskView // in no order
	Blocks     []BlockView
	Ended      []Ended     // newest first
	Agents     []AgentView // in no order
	Decisions  []Decision  // newest first
	Problems   []Problem
	Proxies    ProxyList
	Artifact   Artifact // that new tasks get
	NeedProxy  int      // proxies that are to be launched
	NeedMiners bool
	Need       Reason // why miners are not needed
	Time       time.Time
}

// Snapshot copies what is needed for documents. What is costly is left to the caller.
func (c *Core) Snapshot(now time.Time) Snapshot {
	reason, detail := c.minersWanted()
	s := Snapshot{
		FrameworkID: c.state.FrameworkID, Master: c.master, Error: c.lastError,
		Connected: c.connected, Reconciled: c.recon.done && c.recon.pending == 0, Suppressed: c.revive.suppressed, Paused: c.pausedWhy(),
		Tasks: make([]TaskView, 0, len(c.tasks)), Agents: make([]AgentView, 0, len(c.agents)),
		Ended: c.ended.newest(), Decisions: c.decisions.newest(),
		Proxies: c.state.Proxies, Artifact: c.artifact(), Problems: c.Problems(),
		NeedProxy: c.proxiesWanted(), NeedMiners: reason == reasonNone, Need: c.explain(reason, detail), Time: now,
	}
	for _, t := range c.tasks {
		s.Tasks = append(s.Tasks, c.view(t))
	}
	for _, b := range c.state.Blocks {
		s.Blocks = append(s.Blocks, blockView(b))
	}
	for _, a := range c.agents {
		s.Agents = append(s.Agents, c.agentView(a))
	}
	return s
}

func (c *Core) view(t *Task) TaskView {
	r := t.run
	v := TaskView{Task: *t, Digest: r.digest, Message: r.message, Report: r.report, Verified: t.Version >= message.FirstLinked}
	v.run = nil
	if r.report != nil {
		v.ReportAge = max(0, c.clock-r.reportAt)
		v.Silent = v.ReportAge > c.freshFor(t)
	}
	return v
}

func (c *Core) agentView(a *agent) AgentView {
	v := AgentView{ID: a.id, Hostname: a.hostname, Failures: a.failures.count(c.clock)}
	if a.down != nil {
		v.Unavailable = a.down.from
	}
	if a.until > c.clock {
		v.BackoffUntil = c.wall(a.until)
	}
	return v
}

// Counters returns what was counted; the caller must not change the maps.
func (c *Core) Counters() Counters { return c.counters }
