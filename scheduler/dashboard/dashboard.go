// Package dashboard makes of a scheduler's status what its page shows, and what its
// history records.
package dashboard

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"lode/scheduler/api"
)

// Document is what the page of the scheduler asks for. Tasks come by columns: with ten
// thousand of them that is a third of the bytes.
type Document struct {
	Time        time.Time    `json:"time"`
	Uptime      float64      `json:"uptime"` // seconds
	Name        string       `json:"name"`
	Role        string       `json:"role"`
	FrameworkID string       `json:"framework_id"`
	Master      string       `json:"master"`
	Connected   bool         `json:"connected"`
	Error       string       `json:"error"`
	Paused      string       `json:"paused"` // why miners do not hash; "": they do
	Operator    bool         `json:"paused_by_operator"`
	Problems    []string     `json:"problems"` // what does not mend itself
	Hashrate    float64      `json:"hashrate"` // H/s
	Totals      api.Totals   `json:"totals"`
	Proxy       api.Serving  `json:"proxy"`
	Upgrade     api.Upgrade  `json:"upgrade"`
	Need        api.Need     `json:"need"`
	Artifact    api.Artifact `json:"artifact"`
	Tasks       Tasks        `json:"tasks"`
	Agents      []Agent      `json:"agents"`
	Blocks      []api.Block  `json:"blocks"`
	Ended       []api.Ended  `json:"ended"`
	// Reasons say what became of the last Offers.
	Reasons []api.WhyReason `json:"reasons"`
	Offers  int             `json:"offers"`
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
	// Drained is how an operator named it who drained it; "": nobody did.
	Drained string `json:"drained"`
}

// maxRows bounds the lists that only grow.
const maxRows = 1000

// Make makes the document of a status.
func Make(s api.Status, c api.Control) Document {
	d := Document{
		Time: s.Time, Uptime: s.Uptime, Name: s.Name, Role: strings.Join(s.Roles, ", "),
		FrameworkID: s.FrameworkID, Master: s.Master, Connected: s.Connected, Error: s.Error, Hashrate: s.Hashrate,
		Paused: s.Paused, Operator: c.Paused, Problems: []string{},
		Need: s.Need, Artifact: s.Artifact,
		Blocks: list(s.Blocks), Ended: list(s.Ended), Reasons: list(api.Reasons(s.Decisions)), Offers: len(s.Decisions),
		Tasks: makeTasks(s.Tasks), Agents: makeAgents(s, c.Drained), Totals: api.Total(s.Tasks), Proxy: api.ServingProxy(s.Tasks), Upgrade: c.Upgrade,
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

func makeAgents(s api.Status, drained []api.Drain) []Agent {
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
	by := make(map[string]string, len(drained))
	for _, d := range drained {
		by[d.Agent] = d.Agent
	}
	for i := range agents {
		agents[i].Drained = cmp.Or(by[agents[i].ID], by[agents[i].Hostname])
	}
	return agents
}

// maxSplit bounds the number of kernels, and that of shards, that have a series each.
const maxSplit = 16

// Series are the values that the history records: the hashrate in all, by kernel
// ("kernel:NAME") and by shard ("shard:N", of the proxy that a miner is connected to),
// the number of miners that mine, and the cores that they have.
func Series(s api.Status) map[string]float64 {
	t := api.Total(s.Tasks)
	values := map[string]float64{"hashrate": s.Hashrate, "mining": float64(t.Mining), "cpus": t.CPUs}
	shards := make(map[string]string) // by address of a proxy
	for i := range s.Tasks {
		if p := s.Tasks[i].Proxy; p != nil {
			for _, address := range p.Addresses {
				shards[address] = fmt.Sprintf("shard:%d", p.Shard)
			}
			shards[p.Stratum] = fmt.Sprintf("shard:%d", p.Shard)
		}
	}
	kernels, parts := 0, 0
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
		if task.Miner != nil && shards[task.Miner.Proxy] != "" {
			add(shards[task.Miner.Proxy], &parts, task.Hashrate)
		}
	}
	return values
}
