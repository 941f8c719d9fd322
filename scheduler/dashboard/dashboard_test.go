package dashboard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"lode/scheduler/api"
)

func status() api.Status {
	return api.Status{
		Hashrate: 30, Connected: true,
		Agents: []api.Agent{{ID: "S1", Hostname: "one", Failures: 2}},
		Tasks: []api.Task{
			{ID: "proxy-0-1", Kind: "proxy", AgentID: "S1", Hashrate: 29, Proxy: &api.ProxyDetail{Ready: true, Shard: 4, Stratum: "h:1", Addresses: []string{"h:1", "10.0.0.1:1"}, Height: 7, Network: "testnet4"}},
			{ID: "miner-a", Kind: "miner", AgentID: "S1", Hashrate: 10, Threads: 1, CPUs: 1, Kernel: "shani", Shares: api.Shares{Accepted: 3, Difficulty: 2}, Miner: &api.MinerDetail{State: "mining", Proxy: "h:1"}},
			{ID: "miner-b", Kind: "miner", AgentID: "S2", Hostname: "two", Hashrate: 20, Threads: 2, CPUs: 2, Kernel: "avx2", Shares: api.Shares{Accepted: 4, Rejected: 1, Stale: 2}, Miner: &api.MinerDetail{State: "idle", Proxy: "10.0.0.1:1"}},
			{ID: "miner-c", Kind: "miner", AgentID: "S2", Hostname: "two", CPUs: 1},
		},
	}
}

func TestMake(t *testing.T) {
	s := status()
	s.Paused = "by alice"
	s.Decisions = []api.Decision{{Hostname: "one", Outcome: "declined", Reason: "no cpus are left"}, {Hostname: "two", Outcome: "declined", Reason: "no cpus are left"}}
	d := Make(s, api.Control{Paused: true, Upgrade: api.Upgrade{State: "running", Old: 3, New: 1}, Drained: []api.Drain{{Agent: "two"}}})
	if d.Agents[0].Drained != "" || d.Agents[1].Drained != "two" {
		t.Errorf("drained: %q, %q", d.Agents[0].Drained, d.Agents[1].Drained)
	}
	if d.Offers != 2 || len(d.Reasons) != 1 || d.Reasons[0].Count != 2 {
		t.Errorf("%d offers with reasons %+v", d.Offers, d.Reasons)
	}
	if d.Upgrade.Old != 3 || d.Proxy.Network != "testnet4" {
		t.Errorf("upgrade %+v, network %q", d.Upgrade, d.Proxy.Network)
	}
	if want := (api.Totals{Tasks: 4, Miners: 3, Mining: 1, Idle: 1, Threads: 3, CPUs: 4, Accepted: 7, Rejected: 1, Stale: 2, Difficulty: 2}); d.Totals != want {
		t.Errorf("totals %+v, want %+v", d.Totals, want)
	}
	if !d.Operator || d.Paused != "by alice" {
		t.Errorf("paused %q by an operator: %v", d.Paused, d.Operator)
	}
	if !d.Proxy.Ready || d.Proxy.Address != "h:1" || d.Proxy.Height != 7 {
		t.Errorf("proxy %+v", d.Proxy)
	}
	if len(d.Agents) != 2 || d.Agents[0].Hashrate != 10 || d.Agents[0].Tasks != 2 || d.Agents[1].Hostname != "two" || d.Agents[1].Hashrate != 20 {
		t.Errorf("agents %+v; want the miners' hashrate only, and the agent that only tasks name", d.Agents)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), ":null") {
		t.Errorf("the page does not expect null: %s", b)
	}
	var columns map[string]json.RawMessage
	if err := json.Unmarshal(b, &columns); err != nil {
		t.Fatal(err)
	}
	var tasks map[string][]any
	if err := json.Unmarshal(columns["tasks"], &tasks); err != nil {
		t.Fatal(err)
	}
	for name, column := range tasks {
		if len(column) != 4 {
			t.Errorf("column %s has %d rows, want 4", name, len(column))
		}
	}
}

func TestProxyThatIsNotReady(t *testing.T) {
	s := status()
	s.Tasks[0].Proxy.Ready, s.Tasks[0].Proxy.Error = false, "no node"
	if p := Make(s, api.Control{}).Proxy; p.Ready || p.Error != "no node" {
		t.Errorf("proxy %+v, want its error", p)
	}
}

func TestSeries(t *testing.T) {
	s := status()
	got := Series(s)
	want := map[string]float64{"hashrate": 30, "mining": 1, "cpus": 4, "kernel:shani": 10, "kernel:avx2": 20, "shard:4": 30}
	if len(got) != len(want) {
		t.Errorf("series %v, want %v", got, want)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("series %s is %v, want %v", name, got[name], v)
		}
	}
	for i := range 1000 {
		s.Tasks = append(s.Tasks, api.Task{Kind: "miner", Kernel: fmt.Sprint(i), Miner: &api.MinerDetail{Proxy: fmt.Sprint(i)}},
			api.Task{Kind: "proxy", Proxy: &api.ProxyDetail{Shard: uint32(i), Stratum: fmt.Sprint(i)}})
	}
	if n := len(Series(s)); n > 3+2*maxSplit {
		t.Errorf("%d series, want at most %d", n, 3+2*maxSplit)
	}
}
