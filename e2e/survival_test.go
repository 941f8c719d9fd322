package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"lode/devmesos"
	"lode/scheduler/api"
)

// What dies in each of these tests dies by SIGKILL, or like it. Afterwards mining
// goes on, nothing runs twice or unknown, and every block is in the chain.

func TestSchedulerKilled(t *testing.T) {
	w := newWorld(t, options{})
	before := w.mining(2)
	w.moreBlocks(1)
	w.scheduler.kill()
	height := w.height()
	eventually(t, "miners go on without a scheduler", func() bool { return w.height() > height }, func() string { return "" })

	w.startScheduler()
	after := w.mining(2)
	if after.FrameworkID != before.FrameworkID {
		t.Errorf("framework id after a restart: got %s, want %s", after.FrameworkID, before.FrameworkID)
	}
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		t.Errorf("tasks after a restart: got %v, want the same as before: %v", got, want)
	}
	w.moreBlocks(2)
	w.noOrphans()
}

func TestMinerKilled(t *testing.T) {
	w := newWorld(t, options{})
	before := w.mining(2)
	victim := tasks(before, "miner")[0].ID
	kill(t, w.executorOf(victim))
	w.until("the killed miner is replaced", func(s api.Status) bool {
		miners := ids(tasks(s, "miner"))
		return len(miners) == 2 && !slices.Contains(miners, victim)
	})
	after := w.mining(2)
	if got, want := ids(tasks(after, "proxy")), ids(tasks(before, "proxy")); !slices.Equal(got, want) {
		t.Errorf("proxy: got %v, want the same as before: %v", got, want)
	}
	w.moreBlocks(1)
	w.noOrphans()
}

func TestProxyKilled(t *testing.T) {
	w := newWorld(t, options{agents: 3})
	before := w.mining(3)
	w.moreBlocks(1)
	victim := tasks(before, "proxy")[0].ID
	found := w.status().Blocks
	kill(t, w.executorOf(victim))
	w.until("another proxy is there", func(s api.Status) bool {
		proxies := ids(tasks(s, "proxy"))
		return len(proxies) == 1 && proxies[0] != victim
	})
	after := w.mining(3)
	same := 0
	for _, id := range ids(tasks(after, "miner")) {
		if slices.Contains(ids(tasks(before, "miner")), id) {
			same++
		}
	}
	if same < 2 { // one may have made room for the proxy
		t.Errorf("only %d of 3 miners went on through the move of the proxy", same)
	}
	w.moreBlocks(2)
	w.noOrphans()
	w.notLost(found)
}

func TestAgentKilledAndRestarted(t *testing.T) {
	w := newWorld(t, options{})
	before := w.mining(2)
	for _, agent := range w.mesos.Agents() {
		if err := agent.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := agent.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	w.moreBlocks(2)
	after := w.mining(2)
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		t.Errorf("tasks after the agents' restart: got %v, want the same as before: %v", got, want)
	}
	w.noOrphans()
}

func TestNodeKilled(t *testing.T) {
	w := newWorld(t, options{})
	w.mining(2)
	w.moreBlocks(3)
	if err := w.node.Kill(); err != nil {
		t.Fatal(err)
	}
	// It goes on with the work that it has for a minute, which nobody needs to wait for.
	w.until("the proxy says that it misses the node", func(s api.Status) bool {
		proxies := tasks(s, "proxy")
		return len(proxies) == 1 && proxies[0].Proxy != nil && proxies[0].Proxy.Error != ""
	})
	found := w.status().Blocks
	if err := w.node.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mining(2)
	// btcd forgot the blocks since its last flush: they must be there again.
	w.notLost(found)
	w.moreBlocks(2)
	w.noOrphans()
}

func TestMasterFailover(t *testing.T) {
	w := newWorld(t, options{})
	before := w.mining(2)
	if err := w.mesos.FailoverMaster(devmesos.Failover{Downtime: time.Second}); err != nil {
		t.Fatal(err)
	}
	w.moreBlocks(2)
	after := w.mining(2)
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		t.Errorf("tasks after the failover: got %v, want the same as before: %v", got, want)
	}
	if after.FrameworkID != before.FrameworkID {
		t.Errorf("framework id: got %s, want %s", after.FrameworkID, before.FrameworkID)
	}
	w.noOrphans()
}

// All masters are away for as long as it takes to find two blocks.
func TestMastersAway(t *testing.T) {
	w := newWorld(t, options{})
	before := w.mining(2)
	w.mesos.KillMaster()
	w.until("the scheduler says that it has no master", func(s api.Status) bool { return s.FrameworkID != "" && !s.Connected })
	height := w.height()
	eventually(t, "two blocks are found without a master", func() bool { return w.height() >= height+2 }, func() string { return "" })
	if err := w.mesos.StartMaster(false); err != nil {
		t.Fatal(err)
	}
	w.until("the scheduler is subscribed again", func(s api.Status) bool { return s.Connected })
	after := w.mining(2)
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		t.Errorf("tasks after the masters' return: got %v, want the same as before: %v", got, want)
	}
	w.moreBlocks(1)
	w.noOrphans()
}

// quickPings are those of a master that soon misses an agent.
var quickPings = devmesos.Timing{AgentPing: time.Second, AgentPings: 5}

// agentOf is where a task runs.
func (w *world) agentOf(task api.Task) *devmesos.Agent {
	w.t.Helper()
	for _, a := range w.mesos.Agents() {
		if id, ok := a.ID(); ok && id.Value == task.AgentID {
			return a
		}
	}
	w.t.Fatalf("no agent %s of task %s", task.AgentID, task.ID)
	return nil
}

// The proxy's agent is lost for good, and with it a miner and the journal of blocks.
func TestAgentLost(t *testing.T) {
	w := newWorld(t, options{agents: 3, timing: quickPings})
	w.mining(3)
	w.moreBlocks(1)
	before := w.mining(3)
	proxy := tasks(before, "proxy")[0]
	w.agentOf(proxy).Lose()
	w.until("another proxy serves elsewhere", func(s api.Status) bool {
		return slices.ContainsFunc(tasks(s, "proxy"), func(p api.Task) bool {
			return p.AgentID != proxy.AgentID && p.State == "TASK_RUNNING" && p.Proxy != nil && p.Proxy.Ready
		})
	})
	after := w.until("the miners of both other agents work", func(s api.Status) bool {
		return len(slices.DeleteFunc(tasks(s, "miner"), func(m api.Task) bool { return m.Hashrate == 0 || m.AgentID == proxy.AgentID })) == 2
	})
	same := 0
	for _, m := range tasks(after, "miner") {
		if m.AgentID != proxy.AgentID && slices.Contains(ids(tasks(before, "miner")), m.ID) {
			same++
		}
	}
	if same < 1 { // the other one may have made room for the proxy
		t.Error("no miner went on through the move of the proxy")
	}
	w.moreBlocks(2)
	w.notLost(before.Blocks)
	eventually(t, "there are the processes of a proxy and two miners", func() bool { return len(w.executors()) == 3 },
		func() string { return fmt.Sprint(w.executors()) })
}

// An agent is cut off from the master until that gives it up, and comes back with all
// that ran there.
func TestAgentCutOff(t *testing.T) {
	w := newWorld(t, options{agents: 3, timing: quickPings})
	before := w.mining(3)
	proxy := tasks(before, "proxy")[0]
	var victim api.Task
	for _, m := range tasks(before, "miner") {
		if m.AgentID != proxy.AgentID {
			victim = m
		}
	}
	agent := w.agentOf(victim)
	agent.Partition(true)
	w.until("the miner is out of sight", func(s api.Status) bool {
		return slices.ContainsFunc(s.Tasks, func(t api.Task) bool { return t.ID == victim.ID && t.State == "TASK_UNREACHABLE" })
	})
	height := w.height()
	eventually(t, "the others go on", func() bool { return w.height() >= height+2 }, func() string { return "" })
	agent.Partition(false)
	after := w.mining(3)
	if got, want := ids(after.Tasks), ids(before.Tasks); !slices.Equal(got, want) {
		t.Errorf("tasks after the agent's return: got %v, want the same as before: %v", got, want)
	}
	w.moreBlocks(1)
	w.noOrphans()
}

// A proxy hangs, with all its connections, and wakes when another one has taken over.
func TestProxyHangs(t *testing.T) {
	w := newWorld(t, options{agents: 3})
	before := w.mining(3)
	w.moreBlocks(1)
	found := w.status().Blocks
	victim := tasks(before, "proxy")[0]
	pid := w.executorOf(victim.ID)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // else nobody can end it
	w.until("another proxy serves", func(s api.Status) bool {
		return slices.ContainsFunc(tasks(s, "proxy"), func(p api.Task) bool { return p.ID != victim.ID && p.Proxy != nil && p.Proxy.Ready })
	})
	height := w.height()
	eventually(t, "blocks are found through it", func() bool { return w.height() >= height+2 }, func() string { return "" })
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	after := w.mining(3) // and one proxy: the former one is ended
	if got := ids(tasks(after, "proxy")); slices.Contains(got, victim.ID) {
		t.Errorf("proxies are %v, with the one that hung", got)
	}
	w.noOrphans()
	w.notLost(found)
}

func (w *world) height() int64 {
	w.t.Helper()
	height, err := w.node.Height(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return height
}

// notLost waits until the node has each of the blocks in its chain. Only a block
// that was not confirmed yet may have lost to another one at its height, which the
// scheduler then knows.
func (w *world) notLost(blocks []api.Block) {
	w.t.Helper()
	var missing string
	eventually(w.t, "every block that was found is in the chain or beaten", func() bool {
		now := map[string]string{}
		for _, b := range w.status().Blocks {
			now[b.Hash] = b.State
		}
		for _, b := range blocks {
			missing = fmt.Sprintf("block %d %s, %s before, now %s", b.Height, b.Hash, b.State, now[b.Hash])
			hash, err := w.node.BlockHash(w.t.Context(), b.Height)
			if err != nil || hash != b.Hash && (b.State == "confirmed" || now[b.Hash] != "orphaned") {
				return false
			}
		}
		return true
	}, func() string { return missing })
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
