// Package api is what a running scheduler tells over HTTP, and the client that
// `lode status` reads it with. Status is the document of /api/v1/status; Fetch gets
// it from a scheduler, package summary prints it for people.
//
// Names and shapes here are relied on by other programs: fields are only added.
package api

import (
	"slices"
	"time"
)

// Status is a snapshot of a scheduler.
type Status struct {
	FrameworkID string `json:"framework_id"`
	// Name and Roles are those that the framework has at Mesos.
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// Uptime is the time since the scheduler's start, seconds.
	Uptime float64 `json:"uptime_seconds"`
	// Master is host:port of the leading master, "" while there is none.
	Master    string `json:"master"`
	Connected bool   `json:"connected"`
	// Error is why there is no connection; "": there is one.
	Error string `json:"error,omitempty"`
	// Problems are what an operator has to look at; empty: nothing.
	Problems []Problem `json:"problems"`
	// Paused is by whom, or what, mining is paused: "by alice (a demonstration) and by
	// the rule price > 0.3: price is 0.5"; "": it is not.
	Paused string `json:"paused,omitempty"`
	// Hashrate is the sum over miners, hashes per second.
	Hashrate  float64    `json:"hashrate"`
	Tasks     []Task     `json:"tasks"`
	Blocks    []Block    `json:"blocks"`
	Ended     []Ended    `json:"ended"`
	Agents    []Agent    `json:"agents"`
	Decisions []Decision `json:"offer_decisions"`
	Need      Need       `json:"need"`
	Proxies   Proxies    `json:"proxies"`
	Artifact  Artifact   `json:"artifact"`
	// Reconciled says whether every task was heard of since the last subscription.
	Reconciled bool      `json:"reconciled"`
	Time       time.Time `json:"time"`
}

// Confirmed returns the blocks that a node has in its main chain.
func (s Status) Confirmed() []Block {
	return slices.DeleteFunc(slices.Clone(s.Blocks), func(b Block) bool { return b.State != "confirmed" })
}

// Task is one task that has not ended.
type Task struct {
	ID             string `json:"id"`
	Kind           string `json:"kind"`  // proxy or miner
	State          string `json:"state"` // TASK_STAGING, TASK_RUNNING …
	AgentID        string `json:"agent_id"`
	Hostname       string `json:"hostname"`
	ExecutorDigest string `json:"executor_digest"` // as the executor reports it; "": no report yet
	// Verified says that its messages carry the key of its launch; those of executors
	// of before do not.
	Verified bool    `json:"verified"`
	Hashrate float64 `json:"hashrate"` // hashes per second
	Threads  int     `json:"threads"`
	Kernel   string  `json:"kernel"`
	Shares   Shares  `json:"shares"`

	CPUs       float64   `json:"cpus"`
	LaunchedAt time.Time `json:"launched_at"`
	// ReportAge is the age of the newest report in seconds; -1: none yet.
	ReportAge float64 `json:"report_age_seconds"`
	Message   string  `json:"message,omitempty"`
	// Killing is why the scheduler wants the task to end; "": it does not.
	Killing string        `json:"killing,omitempty"`
	Miner   *MinerDetail  `json:"miner,omitempty"`
	Proxy   *ProxyDetail  `json:"proxy,omitempty"`
	Uptime  time.Duration `json:"uptime_ns"`
}

// Shares counts shares by outcome.
type Shares struct {
	Accepted   uint64  `json:"accepted"`
	Rejected   uint64  `json:"rejected"`
	Stale      uint64  `json:"stale"`
	Difficulty float64 `json:"difficulty"` // sum over accepted shares, pdiff
}

// MinerDetail is what only miners report.
type MinerDetail struct {
	State  string  `json:"state"` // mining or idle; silent: it has not reported for long
	Hashes uint64  `json:"hashes"`
	Proxy  string  `json:"proxy"` // host:port connected to
	JobAge float64 `json:"job_age_seconds"`
	Error  string  `json:"error,omitempty"`
	// Yielded and Host are not told by executors of before.
	Yielded *Yielded `json:"yielded,omitempty"`
	Host    *Host    `json:"host,omitempty"`
}

// ProxyDetail is what only proxies report.
type ProxyDetail struct {
	Ready   bool   `json:"ready"`
	Shard   uint32 `json:"shard"`
	Epoch   uint64 `json:"epoch"`
	Stratum string `json:"stratum"` // host:port
	// Addresses are all under which miners reach it, best first.
	Addresses []string `json:"addresses,omitempty"`
	HTTP      string   `json:"http"` // host:port
	Upstream  string   `json:"upstream"`
	// Network is the node's: mainnet, testnet4 …; "": not known, as at a pool.
	Network     string `json:"network,omitempty"`
	Connections uint32 `json:"connections"`
	Height      int64  `json:"height"`
	Error       string `json:"error,omitempty"`
}

// Block is a block that this cluster found.
type Block struct {
	Height        int64     `json:"height"`
	Hash          string    `json:"hash"`  // display order
	State         string    `json:"state"` // submitted, confirmed or orphaned
	Finder        string    `json:"finder,omitempty"`
	Confirmations uint32    `json:"confirmations"`
	FoundAt       time.Time `json:"found_at"`
	// Stored says that the scheduler holds the block itself.
	Stored bool `json:"stored"`
	// Submissions counts how often the scheduler gave the block to nodes itself.
	Submissions int    `json:"submissions,omitempty"`
	Error       string `json:"error,omitempty"`
}

// Ended is a task that ended lately.
type Ended struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Cause is a short name of what was wrong, the same on every agent; "": nothing.
	Cause string `json:"cause,omitempty"`
	// Output is the end of what its executor wrote to stderr, if the scheduler read it: it
	// does so once a cause.
	Output   string    `json:"output,omitempty"`
	AgentID  string    `json:"agent_id"`
	Hostname string    `json:"hostname"`
	At       time.Time `json:"at"`
	// Wanted says that the scheduler had asked for the end.
	Wanted bool `json:"wanted"`
}

// Agent is what the scheduler knows of an agent.
type Agent struct {
	ID       string `json:"id"`
	Hostname string `json:"hostname"`
	// Failures counts recent failures; it decays.
	Failures float64 `json:"failures"`
	// BackoffUntil is when tasks are launched here again; nil: now.
	BackoffUntil *time.Time `json:"backoff_until,omitempty"`
	// Unavailable is when maintenance starts; nil: none is announced.
	Unavailable *time.Time `json:"unavailable,omitempty"`
}

// Decision says what became of an offer and why.
type Decision struct {
	At       time.Time `json:"at"`
	OfferID  string    `json:"offer_id"`
	AgentID  string    `json:"agent_id"`
	Hostname string    `json:"hostname"`
	// Resources is a summary such as "cpus 4, mem 2048, ports 1000".
	Resources string `json:"resources"`
	// Outcome is accepted, declined, rescinded or expired.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	// Tasks were launched from the offer.
	Tasks []string `json:"tasks,omitempty"`
	// Refuse is for how long the rest is declined, in seconds.
	Refuse float64 `json:"refuse_seconds"`
}

// Problem is something that does not work, and will not without help.
type Problem struct {
	Kind  string    `json:"kind"`
	Since time.Time `json:"since"`
	Text  string    `json:"text"`
}

// Need says what the scheduler wants offers for.
type Need struct {
	Proxies    int    `json:"proxies"`
	Miners     bool   `json:"miners"`
	Suppressed bool   `json:"suppressed"`
	Why        string `json:"why"`
}

// Proxies is the list that miners are told.
type Proxies struct {
	Epoch     uint64   `json:"epoch"`
	Addresses []string `json:"addresses"`
}

// Artifact is the executor binary that agents fetch.
type Artifact struct {
	URL string `json:"url"`
	// Archive is where it is in a .tar.gz, which agents fetch as long as they can unpack it;
	// "": nowhere.
	Archive string `json:"archive,omitempty"`
	Digest  string `json:"digest"` // SHA-256, hex
	Size    int64  `json:"size"`
}
