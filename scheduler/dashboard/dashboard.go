// Package dashboard makes of a scheduler's status what its page shows, and what its
// history records.
package dashboard

import (
	"time"

	"lode/scheduler/api"
)

// Document is what the page of the scheduler asks for. Tasks come by columns: with ten
// thousand of them that is a third of the bytes.
type Document struct {
	Time        time.Time      `json:"time"`
	Uptime      float64        `json:"uptime"` // seconds
	Name        string         `json:"name"`
	Role        string         `json:"role"`
	FrameworkID string         `json:"framework_id"`
	Master      string         `json:"master"`
	Connected   bool           `json:"connected"`
	Error       string         `json:"error"`
	Paused      string         `json:"paused"` // why miners do not hash; "": they do
	Operator    bool           `json:"paused_by_operator"`
	Problems    []string       `json:"problems"` // what does not mend itself
	Hashrate    float64        `json:"hashrate"` // H/s
	Totals      Totals         `json:"totals"`
	Proxy       Proxy          `json:"proxy"`
	Need        api.Need       `json:"need"`
	Artifact    api.Artifact   `json:"artifact"`
	Tasks       Tasks          `json:"tasks"`
	Agents      []Agent        `json:"agents"`
	Blocks      []api.Block    `json:"blocks"`
	Ended       []api.Ended    `json:"ended"`
	Decisions   []api.Decision `json:"offer_decisions"`
}

// Totals are sums over the tasks.
type Totals struct {
	Tasks      int     `json:"tasks"`
	Miners     int     `json:"miners"`
	Mining     int     `json:"mining"`
	Idle       int     `json:"idle"` // miners that run and do not mine
	Threads    int     `json:"threads"`
	CPUs       float64 `json:"cpus"` // of miners
	Accepted   uint64  `json:"accepted"`
	Rejected   uint64  `json:"rejected"`
	Stale      uint64  `json:"stale"`
	Difficulty float64 `json:"difficulty"` // of accepted shares, pdiff
	// Harvested, Away and Parked are seconds of the running miners' threads: hashing,
	// with the core taken by others, and asleep so that others have it. Given counts how
	// often they gave a core back.
	Harvested float64 `json:"harvested"`
	Away      float64 `json:"away"`
	Parked    float64 `json:"parked"`
	Given     uint64  `json:"given"`
}

// Proxy is the proxy that serves, or else what is known of the one that should.
type Proxy struct {
	Ready       bool   `json:"ready"`
	Address     string `json:"address"`
	Upstream    string `json:"upstream"`
	Network     string `json:"network"`
	Height      int64  `json:"height"`
	Connections uint32 `json:"connections"`
	Error       string `json:"error"`
}

// Tasks are the tasks that have not ended, by columns of one length.
type Tasks struct {
	ID       []string  `json:"id"`
	Kind     []string  `json:"kind"`
	State    []string  `json:"state"`
	Agent    []string  `json:"agent"`
	Host     []string  `json:"host"`
	Hashrate []float64 `json:"hashrate"`
	Threads  []int     `json:"threads"`
	Kernel   []string  `json:"kernel"`
	Accepted []uint64  `json:"accepted"`
	Rejected []uint64  `json:"rejected"`
	Stale    []uint64  `json:"stale"`
	Age      []float64 `json:"age"` // of the newest report, seconds; -1: none
	Doing    []string  `json:"doing"`
}

// Agent is an agent with what runs there.
type Agent struct {
	api.Agent
	Tasks    int     `json:"tasks"`
	Threads  int     `json:"threads"`
	Hashrate float64 `json:"hashrate"`
}

// maxRows bounds the lists that only grow.
const maxRows = 1000

// Make makes the document of a status.
func Make(s api.Status, c api.Control, name, role string, uptime time.Duration) Document {
	d := Document{
		Time: s.Time, Uptime: uptime.Seconds(), Name: name, Role: role,
		FrameworkID: s.FrameworkID, Master: s.Master, Connected: s.Connected, Error: s.Error, Hashrate: s.Hashrate,
		Paused: s.Paused, Operator: c.Paused, Problems: []string{},
		Need: s.Need, Artifact: s.Artifact,
		Blocks: list(s.Blocks), Ended: list(s.Ended), Decisions: list(s.Decisions),
		Tasks: makeTasks(s.Tasks), Agents: makeAgents(s), Totals: total(s.Tasks), Proxy: proxyOf(s),
	}
	for _, p := range s.Problems {
		d.Problems = append(d.Problems, p.Text)
	}
	return d
}

// list is never null in JSON, and not longer than maxRows.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l[:min(len(l), maxRows)]
}

func total(tasks []api.Task) Totals {
	t := Totals{Tasks: len(tasks)}
	for i := range tasks {
		task := &tasks[i]
		if task.Miner == nil && task.Kind != "miner" {
			continue
		}
		t.Miners++
		t.Threads += task.Threads
		t.CPUs += task.CPUs
		t.Accepted += task.Shares.Accepted
		t.Rejected += task.Shares.Rejected
		t.Stale += task.Shares.Stale
		t.Difficulty += task.Shares.Difficulty
		if task.Miner != nil && task.Miner.Yielded != nil {
			y := task.Miner.Yielded
			t.Harvested += y.CPU
			t.Away += y.Away
			t.Parked += y.Parked
			t.Given += uint64(y.Count)
		}
		switch {
		case task.Miner == nil:
		case task.Miner.State == "mining":
			t.Mining++
		default:
			t.Idle++
		}
	}
	return t
}

func proxyOf(s api.Status) Proxy {
	var p Proxy
	for i := range s.Tasks {
		detail := s.Tasks[i].Proxy
		if detail == nil || (p.Address != "" && !detail.Ready) {
			continue
		}
		p = Proxy{
			Ready: detail.Ready, Address: detail.Stratum, Upstream: detail.Upstream,
			Height: detail.Height, Connections: detail.Connections, Error: detail.Error,
		}
		if p.Ready {
			break
		}
	}
	return p
}

func makeTasks(tasks []api.Task) Tasks {
	n := len(tasks)
	t := Tasks{
		ID: make([]string, n), Kind: make([]string, n), State: make([]string, n), Agent: make([]string, n), Host: make([]string, n),
		Hashrate: make([]float64, n), Threads: make([]int, n), Kernel: make([]string, n),
		Accepted: make([]uint64, n), Rejected: make([]uint64, n), Stale: make([]uint64, n), Age: make([]float64, n), Doing: make([]string, n),
	}
	for i := range tasks {
		task := &tasks[i]
		t.ID[i], t.Kind[i], t.State[i] = task.ID, task.Kind, task.State
		t.Agent[i], t.Host[i] = task.AgentID, task.Hostname
		t.Hashrate[i], t.Threads[i], t.Kernel[i] = task.Hashrate, task.Threads, task.Kernel
		t.Accepted[i], t.Rejected[i], t.Stale[i] = task.Shares.Accepted, task.Shares.Rejected, task.Shares.Stale
		t.Age[i], t.Doing[i] = task.ReportAge, task.Doing()
	}
	return t
}

func makeAgents(s api.Status) []Agent {
	agents := make([]Agent, 0, len(s.Agents))
	at := make(map[string]int, len(s.Agents))
	for _, a := range s.Agents {
		at[a.ID] = len(agents)
		agents = append(agents, Agent{Agent: a})
	}
	for i := range s.Tasks {
		task := &s.Tasks[i]
		n, known := at[task.AgentID]
		if !known {
			n = len(agents)
			at[task.AgentID] = n
			agents = append(agents, Agent{Agent: api.Agent{ID: task.AgentID, Hostname: task.Hostname}})
		}
		agents[n].Tasks++
		agents[n].Threads += task.Threads
		if task.Kind == "miner" { // a proxy reports what its miners do
			agents[n].Hashrate += task.Hashrate
		}
	}
	return agents
}

// maxSplit bounds the number of kernels, and that of proxies, that have a series each.
const maxSplit = 16

// Series are the values that the history records: the hashrate in all, by kernel
// ("kernel:NAME") and by proxy ("proxy:ADDRESS"), the number of miners that mine, and
// the cores that they have.
func Series(s api.Status) map[string]float64 {
	t := total(s.Tasks)
	values := map[string]float64{"hashrate": s.Hashrate, "mining": float64(t.Mining), "cpus": t.CPUs}
	kernels, proxies := 0, 0
	add := func(name string, n *int, v float64) {
		if _, known := values[name]; !known {
			if *n >= maxSplit {
				return
			}
			*n++
		}
		values[name] += v
	}
	for i := range s.Tasks {
		task := &s.Tasks[i]
		if task.Kernel != "" {
			add("kernel:"+task.Kernel, &kernels, task.Hashrate)
		}
		if task.Miner != nil && task.Miner.Proxy != "" {
			add("proxy:"+task.Miner.Proxy, &proxies, task.Hashrate)
		}
	}
	return values
}
