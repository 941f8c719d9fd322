package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
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
// to Mesos.
func (c *Core) launch(o *mesos.Offer, l *launch) (*mesos.TaskInfo, error) {
	t := l.task
	c.state.NextTask++
	n := c.state.NextTask
	t.AgentID, t.Hostname = o.AgentID.Value, o.Hostname
	t.Digest, t.Spec = c.set.ArtifactDigest, c.spec(t.Kind)
	t.State, t.LaunchedAt, t.Since = stateStaging, c.now, c.now
	t.Version = message.Version
	if t.Kind == KindProxy {
		c.state.Epoch++
		t.Epoch = c.state.Epoch
		t.ID = fmt.Sprintf("proxy-%d-%d", t.Shard, n)
	} else {
		t.KeyEpoch = c.state.KeyEpoch
		t.ID = fmt.Sprintf("miner-%s-%d", strings.NewReplacer("/", "_", `\`, "_").Replace(t.AgentID), n)
	}
	data, err := message.Encode(c.describe(t))
	if err != nil {
		return nil, fmt.Errorf("describe task %s: %w", t.ID, err)
	}
	c.state.Tasks[t.ID] = t
	c.touched.task(t.ID)
	r := &run{}
	if t.Kind == KindMiner {
		r.knownEpoch = c.state.Proxies.Epoch
	}
	c.runs[t.ID] = r
	c.dirty = true
	if c.sums != nil { // one more; thousands may be launched in one step
		c.sums.add(t)
	}
	c.counters.Launched[t.Kind]++
	c.tell(Progress{Type: "task", Task: c.taskStatus(t)})
	return &mesos.TaskInfo{
		Name:       "lode " + t.Kind,
		TaskID:     mesos.TaskID{Value: t.ID},
		AgentID:    o.AgentID,
		Resources:  l.resources,
		Executor:   c.executorInfo(t.ID),
		KillPolicy: &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: killGrace.Nanoseconds()}},
		Data:       data,
	}, nil
}

// describe tells the executor what the task is. No secret of the node is in it; a
// miner's password is, because TaskInfo.data is in none of Mesos' state endpoints.
func (c *Core) describe(t *Task) *message.Task {
	m := &message.Task{
		Version:          message.Version,
		ExecutorDigest:   c.set.ArtifactDigest,
		ReportIntervalMs: uint64(c.set.ReportInterval.Milliseconds()),
		Link:             &message.Link{Key: c.launchKey(t.ID), Session: c.state.Session},
	}
	if t.Kind == KindMiner {
		m.Kind = &message.Task_Miner{Miner: &message.MinerTask{
			Kernel:   c.set.Kernel,
			Yield:    c.set.Yield,
			OneACore: c.set.OneACore,
			User:     t.ID,
			Password: message.WorkerPassword(c.state.WorkerKey, t.ID),
			Proxies:  c.proxyList(),
		}}
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
	h := sha256.New()
	if kind == KindProxy {
		fmt.Fprintf(h, "%q %q %q %v", c.set.Upstreams, c.set.PayoutAddress, c.set.CoinbaseTag, c.set.MinBlockInterval)
		if len(c.set.ProxyLimits) > 0 {
			fmt.Fprintf(h, " %q", c.set.ProxyLimits)
		}
	} else {
		fmt.Fprintf(h, "%q", c.set.Kernel)
		if c.set.Yield != "" || c.set.OneACore { // else as it was before there were these
			fmt.Fprintf(h, " %q %v", c.set.Yield, c.set.OneACore)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// replaceOutdated ends tasks that were launched with other settings: the proxy at
// once, for it may pay to another address, everything else (and, if the operator
// wants it, tasks of another executor binary) a few at a time.
func (c *Core) replaceOutdated() {
	p := c.proxy()
	if p == nil || p.State != stateRunning || !c.settled() {
		return
	}
	if p.Spec != c.spec(KindProxy) {
		c.kill(p, "its settings changed")
		return
	}
	if wanted, _, _ := c.minersWanted(); c.state.Operator.Paused || !wanted && c.maxMiners() < 0 {
		return // miners would not be launched again
	}
	room := max(1, c.tally().miners/20)
	var outdated []*Task
	for _, id := range c.taskIDs() {
		t := c.state.Tasks[id]
		switch {
		case away(t.State): // nobody knows for how long
		case t.Kill != "", t.State != stateRunning:
			room--
		case t.Kind == KindMiner && c.outdated(t):
			outdated = append(outdated, t)
		}
	}
	for _, t := range outdated[:max(0, min(room, len(outdated)))] {
		c.kill(t, "it is replaced by one with new settings or a new executor")
	}
	if len(outdated) == 0 && room > 0 && c.outdated(p) {
		c.kill(p, "it is replaced by one with a new executor")
	}
}

func (c *Core) outdated(t *Task) bool {
	return t.Spec != c.spec(t.Kind) || t.Kind == KindMiner && t.KeyEpoch < c.state.KeyEpoch || c.upgrading() && t.Digest != c.set.ArtifactDigest
}

// executorInfo is of an id that is never used again: Mesos demands an identical
// ExecutorInfo for an id that lives, and drops tasks for one that just ended.
func (c *Core) executorInfo(id string) *mesos.ExecutorInfo {
	yes, no, file, name := true, false, executorFile, "lode executor"
	value := "./" + executorFile
	return &mesos.ExecutorInfo{
		Type:        mesos.ExecutorInfo_CUSTOM,
		ExecutorID:  mesos.ExecutorID{Value: id},
		FrameworkID: &mesos.FrameworkID{Value: c.state.FrameworkID},
		Name:        &name,
		Command: &mesos.CommandInfo{
			URIs: []mesos.CommandInfo_URI{{
				Value: c.set.ArtifactURL, Executable: &yes, Extract: &no, Cache: &yes, OutputFile: &file,
			}},
			Shell: &no, Value: &value, Arguments: []string{executorFile},
		},
		ShutdownGracePeriod: &mesos.DurationInfo{Nanoseconds: (2 * killGrace).Nanoseconds()},
	}
}
