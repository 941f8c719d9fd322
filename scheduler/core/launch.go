package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/message"
)

// executorFile is what the fetcher calls the binary in the sandbox.
const executorFile = "lode-executor"

// killGrace is how long an executor may take to end its task.
const killGrace = 5 * time.Second

// launch gives a placed task its number, enters it into the state and describes it
// to Mesos in info.
func (c *Core) launch(a *agent, l launch, info *mesos.TaskInfo) error {
	t := l.task
	c.state.NextTask++
	n := c.state.NextTask
	t.AgentID, t.Hostname = a.id, a.hostname
	t.Digest, t.Spec = c.artifact().Digest, c.spec(t.Kind)
	t.State, t.LaunchedAt, t.Since = stateStaging, c.now, c.now
	t.Version, t.Place = message.Version, a.place
	t.Reserved = reservedCPUs(l.resources.task, l.resources.executor)
	t.ReportMs = c.reportInterval(t.Kind).Milliseconds()
	if t.Kind == KindProxy {
		c.state.Epoch++
		t.Epoch = c.state.Epoch
		t.ID = "proxy-" + strconv.Itoa(t.Slot) + "-" + strconv.FormatUint(n, 10)
	} else {
		t.KeyEpoch = c.state.KeyEpoch
		t.ID = "miner-" + idReplacer.Replace(t.AgentID) + "-" + strconv.FormatUint(n, 10)
	}
	data, err := message.Encode(c.describe(t))
	if err != nil {
		return fmt.Errorf("describe task %s: %w", t.ID, err)
	}
	c.state.Tasks[t.ID] = t
	c.adopt(t, a)
	t.run.fresh = true
	if t.Kind == KindMiner {
		t.run.knownEpoch = c.state.Proxies.Epoch
		c.roles.returned(t.AgentID)
		a.spare.mem -= c.minerMem()
	} else {
		c.enterSlot(t)
	}
	c.changed(t)
	c.counters.Launched[t.Kind]++
	c.tell(TaskChanged{Task: c.view(t)})
	program := c.programFor(a)
	t.run.packed = program.artifact.URL == program.artifact.Archive
	info.Name = "lode " + t.Kind
	info.TaskID.Value, info.AgentID.Value = t.ID, t.AgentID
	info.Resources, info.Data, info.KillPolicy = l.resources.task, data, program.kill
	info.Executor = program.executorOf(t.ID, l.resources.executor)
	return nil
}

var idReplacer = strings.NewReplacer("/", "_", `\`, "_")

// description is the room for that of one task.
type description struct {
	task  message.Task
	link  message.Link
	kind  message.Task_Miner
	miner message.MinerTask
}

// describe tells the executor what the task is. No secret of the node is in it; a
// miner's password is, because TaskInfo.data is in none of Mesos' state endpoints. It is
// good until the next task is described.
func (c *Core) describe(t *Task) *message.Task {
	d := &c.described
	m := &d.task
	*m = message.Task{Version: message.Version, ExecutorDigest: t.Digest, ReportIntervalMs: uint64(t.ReportMs), Link: &d.link}
	d.link = message.Link{Key: c.launchKey(t.ID), Session: c.state.Session}
	if t.Kind == KindMiner {
		d.miner = message.MinerTask{
			Kernel:   c.set.Kernel,
			Yield:    c.set.Yield,
			OneACore: c.set.OneACore, CoreSched: c.set.CoreSched,
			User:     t.ID,
			Password: c.passwords.Of(t.ID),
			Proxies:  c.listFor(t),
		}
		m.Kind, d.kind.Miner = &d.kind, &d.miner
		return m
	}
	host, _, _ := net.SplitHostPort(t.Addresses[0])
	m.Kind = &message.Task_Proxy{Proxy: &message.ProxyTask{
		StratumPort:        uint32(t.Ports[0]),
		HttpPort:           uint32(t.Ports[1]),
		Shard:              t.Shard,
		Upstreams:          c.set.Upstreams,
		PayoutAddress:      c.set.PayoutAddress,
		CoinbaseTag:        c.set.CoinbaseTag,
		MinBlockIntervalMs: uint64(c.set.MinBlockInterval.Milliseconds()),
		AdvertiseHost:      host,
		Limits:             c.set.ProxyLimits,
	}}
	return m
}

// spec is what tasks of a kind are told by an operator's settings, shortened: a task
// with another one works by settings of before.
func (c *Core) spec(kind string) string {
	if c.specs == nil {
		h := sha256.New()
		fmt.Fprintf(h, "%q %q %q %v", c.set.Upstreams, c.set.PayoutAddress, c.set.CoinbaseTag, c.set.MinBlockInterval)
		if len(c.set.ProxyLimits) > 0 {
			fmt.Fprintf(h, " %q", c.set.ProxyLimits)
		}
		p := hex.EncodeToString(h.Sum(nil)[:8])
		h.Reset()
		fmt.Fprintf(h, "%q", c.set.Kernel)
		if c.set.Yield != "" || c.set.OneACore { // else as it was before there were these
			fmt.Fprintf(h, " %q %v", c.set.Yield, c.set.OneACore)
		}
		if c.set.CoreSched {
			fmt.Fprint(h, " core-sched")
		}
		c.specs = map[string]string{KindProxy: p, KindMiner: hex.EncodeToString(h.Sum(nil)[:8])}
	}
	return c.specs[kind]
}

// outdated says that a task was launched with other settings, or, if the operator
// wants that looked at, with another executor than new tasks get.
func (c *Core) outdated(t *Task) bool {
	return t.Spec != c.spec(t.Kind) || t.Kind == KindMiner && t.KeyEpoch < c.state.KeyEpoch ||
		c.upgrading() && t.Digest != c.artifact().Digest
}

// on is the artifact as an agent is to fetch it.
func (a Artifact) on(g *agent) Artifact {
	if a.Archive != "" && !g.plain {
		a.URL = a.Archive
	}
	return a
}

// uri is how agents get the executor. Agents may keep a copy if the URL names the
// content: it is right then, unless it is damaged. An archive is unpacked, and what is
// in it is executable.
func (a Artifact) uri(damaged bool) mesos.CommandInfo_URI {
	yes, no, file := true, false, executorFile
	cache := !damaged && a.Digest != "" && strings.Contains(a.URL, a.Digest)
	if strings.HasSuffix(a.URL, ".tar.gz") || strings.HasSuffix(a.URL, ".tgz") {
		return mesos.CommandInfo_URI{Value: a.URL, Executable: &no, Extract: &yes, Cache: &cache}
	}
	return mesos.CommandInfo_URI{Value: a.URL, Executable: &yes, Extract: &no, Cache: &cache, OutputFile: &file}
}

// program is what all launches of an executor have in common. It is never changed.
type program struct {
	artifact  Artifact
	framework string
	damaged   bool
	executor  mesos.ExecutorInfo
	kill      *mesos.KillPolicy
}

// programFor is what executors on an agent are launched with.
func (c *Core) programFor(a *agent) *program {
	artifact := c.artifact().on(a)
	damaged := a.badCache == artifact.Digest
	if p := c.program; p != nil && p.artifact == artifact && p.framework == c.state.FrameworkID && p.damaged == damaged {
		return p
	}
	no, name, value := false, "lode executor", "./"+executorFile
	c.program = &program{
		artifact: artifact, framework: c.state.FrameworkID, damaged: damaged,
		executor: mesos.ExecutorInfo{
			Type:        mesos.ExecutorInfo_CUSTOM,
			FrameworkID: &mesos.FrameworkID{Value: c.state.FrameworkID},
			Name:        &name,
			Command: &mesos.CommandInfo{
				URIs:  []mesos.CommandInfo_URI{artifact.uri(damaged)},
				Shell: &no, Value: &value, Arguments: []string{executorFile},
			},
			ShutdownGracePeriod: &mesos.DurationInfo{Nanoseconds: (2 * killGrace).Nanoseconds()},
		},
		kill: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: killGrace.Nanoseconds()}},
	}
	return c.program
}

// executorOf is of an id that is never used again: Mesos demands an identical
// ExecutorInfo for an id that lives, and drops tasks for one that just ended.
func (p *program) executorOf(id string, resources []mesos.Resource) *mesos.ExecutorInfo {
	e := p.executor
	e.ExecutorID.Value, e.Resources = id, resources
	return &e
}
