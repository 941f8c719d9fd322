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
// was, or nothing that has one. Endpoint is the base of its agent's URLs, "" if that is
// not known, FrameworkID what its executor's files are under there, and Output the end of
// what that wrote, if somebody looked (Wrote).
type Ended struct {
	ID, Kind, State, Reason, Message, AgentID, Hostname string
	FrameworkID, Endpoint                               string

	Cause  string
	Output string
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

// Snapshot is everything at one time, but for the tasks and the agents, which a Walk
// looks at.
type Snapshot struct {
	FrameworkID, Master, Error string
	Connected, Reconciled      bool
	Suppressed                 bool
	Paused                     string // why miners do not hash; "": they do

	Blocks     []BlockView
	Ended      []Ended    // newest first
	Decisions  []Decision // newest first
	Problems   []Problem
	Proxies    ProxyList
	Artifact   Artifact // that new tasks get
	NeedProxy  int      // proxies that are to be launched
	NeedMiners bool
	Need       Reason // why miners are not needed
	Time       time.Time
}

// Snapshot copies what is needed for documents. What is costly is left to the caller. What
// it costs does not depend on how many tasks there are.
func (c *Core) Snapshot(now time.Time) Snapshot {
	reason, detail := c.minersWanted()
	s := Snapshot{
		FrameworkID: c.state.FrameworkID, Master: c.master, Error: c.lastError,
		Connected: c.connected, Reconciled: c.recon.done && c.recon.pending == 0, Suppressed: c.revive.suppressed, Paused: c.pausedWhy(),
		Ended: c.ended.newest(), Decisions: c.decisions.newest(),
		Proxies: c.state.Proxies, Artifact: c.artifact(), Problems: c.Problems(),
		NeedProxy: c.proxiesWanted(), NeedMiners: reason == reasonNone, Need: c.explain(reason, detail), Time: now,
	}
	for _, b := range c.state.Blocks {
		s.Blocks = append(s.Blocks, blockView(b))
	}
	return s
}

// Walk looks at all tasks and at all agents piece by piece, while the core goes on
// between the pieces: so whoever guards the core by a lock holds it for a short time. What
// is there from the beginning to the end is seen once; what comes or goes meanwhile may be
// seen or not. There is one walk at a time: the one before it is over when one begins.
type Walk struct {
	c             *Core
	round         uint32
	tasks, agents int // those before this one were not looked at yet
}

// Walk begins to look at what there is now.
func (c *Core) Walk() *Walk {
	c.walks++
	return &Walk{c: c, round: c.walks, tasks: len(c.tasks), agents: len(c.fleet)}
}

// A walk goes down: what takes the place of a task that ended comes from the end of the
// list, so it was seen already, and is marked.

// Tasks fills piece with the next ones, and returns how many there are in it. Those that
// are left are told by more.
func (w *Walk) Tasks(piece []TaskView) (n int, more bool) {
	c := w.c
	for w.tasks = min(w.tasks, len(c.tasks)); w.tasks > 0 && n < len(piece); {
		w.tasks--
		if t := c.tasks[w.tasks]; t.run.walked != w.round {
			t.run.walked = w.round
			piece[n] = c.view(t)
			n++
		}
	}
	return n, w.tasks > 0
}

// Agents is as Tasks.
func (w *Walk) Agents(piece []AgentView) (n int, more bool) {
	c := w.c
	for w.agents = min(w.agents, len(c.fleet)); w.agents > 0 && n < len(piece); {
		w.agents--
		if a := c.fleet[w.agents]; a.walked != w.round {
			a.walked = w.round
			piece[n] = c.agentView(a)
			n++
		}
	}
	return n, w.agents > 0
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
