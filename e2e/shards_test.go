package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"lode/scheduler/api"
)

// shards waits until so many proxies serve and so many miners mine, and returns the
// miners by the proxy that they use.
func (w *world) shards(proxies, miners int) (status api.Status, by map[string][]string) {
	w.t.Helper()
	status = w.until(fmt.Sprintf("%d proxies and %d miners work", proxies, miners), func(s api.Status) bool {
		at := make(map[string]string) // proxies by their addresses
		for _, p := range tasks(s, "proxy") {
			if p.State == "TASK_RUNNING" && p.Killing == "" && p.Proxy != nil && p.Proxy.Ready {
				at[p.Proxy.Stratum] = p.ID
			}
		}
		by = make(map[string][]string)
		working := 0
		for _, m := range tasks(s, "miner") {
			if m.Hashrate > 0 && m.Miner != nil && m.Miner.State == "mining" && at[m.Miner.Proxy] != "" {
				by[at[m.Miner.Proxy]] = append(by[at[m.Miner.Proxy]], m.ID)
				working++
			}
		}
		return len(at) == proxies && len(tasks(s, "proxy")) == proxies && working >= miners
	})
	return status, by
}

// Three proxies share the miners. One that dies, and one that hangs, cost no launch of
// a miner: those that used it go on with another one at once. The one that hangs is
// replaced, and ends when it comes back; what it may have found is not lost.
func TestThreeProxies(t *testing.T) {
	const miners = 6
	w := newWorld(t, options{agents: miners, flags: []string{"--proxies=3", "--proxy-cpus=0.5", "--miner-mem=96", "--hold-back-cpus=0.5"}})
	before, by := w.shards(3, miners)
	shards := make(map[uint32]bool)
	agents := make(map[string]bool)
	for _, p := range tasks(before, "proxy") {
		shards[p.Proxy.Shard], agents[p.AgentID] = true, true
	}
	if len(shards) != 3 || len(agents) != 3 {
		t.Errorf("three proxies have shards %v on agents %v", shards, agents)
	}
	w.moreBlocks(1)

	// The proxy with the most miners dies.
	victim := busiest(by)
	kill(t, w.executorOf(victim))
	w.until("its end is known", func(s api.Status) bool { return !slices.Contains(ids(s.Tasks), victim) })
	after, _ := w.shards(3, miners)
	w.kept(before, after, miners) // there may be more, where the proxy was
	w.moreBlocks(1)

	// Another one hangs. Mesos sees nothing of it, and the connections stay open.
	_, by = w.shards(3, miners)
	victim = busiest(by)
	pid := w.executorOf(victim)
	signal(t, pid, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	w.until("its miners use others", func(s api.Status) bool { return len(minersOf(s, victim)) == 0 && working(s) >= miners })
	replaced := w.until("another one takes its place", func(s api.Status) bool {
		proxies := 0
		for _, p := range tasks(s, "proxy") {
			if p.ID == victim && p.Killing == "" {
				return false
			}
			if p.Killing == "" && p.Proxy != nil && p.Proxy.Ready {
				proxies++
			}
		}
		return proxies == 3
	})
	w.kept(before, replaced, miners)
	used := make(map[uint32]string)
	for _, p := range tasks(replaced, "proxy") {
		if p.Proxy == nil { // the one that hung
			continue
		}
		if other := used[p.Proxy.Shard]; other != "" {
			t.Errorf("%s and %s have shard %d", p.ID, other, p.Proxy.Shard)
		}
		used[p.Proxy.Shard] = p.ID
	}
	found := replaced.Blocks

	// It comes back into a cluster that has gone on without it.
	signal(t, pid, syscall.SIGCONT)
	after, by = w.shards(3, miners)
	if len(by[victim]) > 0 {
		t.Errorf("%v use the proxy that was replaced", by[victim])
	}
	w.kept(before, after, miners)
	w.moreBlocks(1)
	w.noOrphans()
	w.notLost(found)
}

// A proxy moves because of new settings: the miners are told of the next one before
// the old one ends.
func TestPlannedMoveOfAProxy(t *testing.T) {
	w := newWorld(t, options{agents: 3, flags: []string{"--proxy-cpus=0.5", "--hold-back-cpus=0.5"}})
	before := w.mining(3)
	old := tasks(before, "proxy")[0].ID
	w.scheduler.stop(t)
	w.args = append(w.args, "--coinbase-tag=another")
	w.startScheduler()
	w.until("another proxy has taken over", func(s api.Status) bool {
		proxies := ids(tasks(s, "proxy"))
		return len(proxies) == 1 && proxies[0] != old
	})
	w.kept(before, w.mining(3), 3)
	w.moreBlocks(1)
	w.noOrphans()
}

func working(s api.Status) (n int) {
	for _, m := range tasks(s, "miner") {
		if m.Hashrate > 0 && m.Miner != nil && m.Miner.State == "mining" {
			n++
		}
	}
	return n
}

// minersOf are those that use a proxy.
func minersOf(s api.Status, proxy string) (miners []string) {
	for _, p := range tasks(s, "proxy") {
		if p.ID != proxy || p.Proxy == nil {
			continue
		}
		for _, m := range tasks(s, "miner") {
			if m.Miner != nil && m.Miner.Proxy == p.Proxy.Stratum {
				miners = append(miners, m.ID)
			}
		}
	}
	return miners
}

func busiest(by map[string][]string) (proxy string) {
	for p, miners := range by {
		if proxy == "" || len(miners) > len(by[proxy]) || len(miners) == len(by[proxy]) && p < proxy {
			proxy = p
		}
	}
	return proxy
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}
