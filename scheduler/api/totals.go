package api

// Totals are sums over tasks.
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

// Total sums up tasks.
func Total(tasks []Task) Totals {
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

// Serving is the proxy that serves, or else what is known of the one that should.
type Serving struct {
	Ready       bool   `json:"ready"`
	Address     string `json:"address"`
	Upstream    string `json:"upstream"`
	Network     string `json:"network"`
	Height      int64  `json:"height"`
	Connections uint32 `json:"connections"`
	Error       string `json:"error"`
}

// ServingProxy picks the proxy that serves out of all tasks.
func ServingProxy(tasks []Task) Serving {
	var p Serving
	for i := range tasks {
		detail := tasks[i].Proxy
		if detail == nil || (p.Address != "" && !detail.Ready) {
			continue
		}
		p = Serving{
			Ready: detail.Ready, Address: detail.Stratum, Upstream: detail.Upstream, Network: detail.Network,
			Height: detail.Height, Connections: detail.Connections, Error: detail.Error,
		}
		if p.Ready {
			break
		}
	}
	return p
}
