package core

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/message"
)

// simExecutor behaves as Lode's executor does towards the scheduler.
type simExecutor struct {
	t       *simTask
	c       *cluster
	task    *message.Task
	started bool
	dead    bool
	stuck   bool // ignores KILL
	seq     uint64

	proxies *message.Proxies // of a miner
	secrets *message.Secrets // of a proxy
	sealer  *message.Sealer
	key     hpke.PrivateKey

	block    []byte // found, not yet known to be at the scheduler
	hash     []byte
	received bool
	found    int
}

func newSimExecutor(t *simTask) *simExecutor {
	task, err := message.DecodeTask(t.info.Data)
	if err != nil {
		panic(err)
	}
	e := &simExecutor{t: t, c: t.agent.c, task: task}
	e.sealer = message.ExecutorEnd(task.Link.Key, task.Link.Session)
	if task.GetProxy() != nil {
		if e.key, err = message.NewSecretsKey(); err != nil {
			panic(err)
		}
	}
	if m := task.GetMiner(); m != nil {
		e.proxies = m.Proxies
	}
	return e
}

func (e *simExecutor) start() {
	if e.dead || e.t.terminal {
		return
	}
	e.started = true
	e.stuck = e.c.chance(0.1)
	e.t.update(mesos.TASK_STARTING, nil)
	e.t.update(mesos.TASK_RUNNING, nil)
	e.hello()
	e.reportLoop()
}

func (e *simExecutor) hello() {
	if e.dead || e.task.GetProxy() != nil && e.secrets != nil {
		return
	}
	h := &message.Hello{ExecutorDigest: e.task.ExecutorDigest}
	if m := e.task.GetMiner(); m != nil {
		h.ProxiesEpoch = e.proxies.GetEpoch()
	} else {
		h.NeedSecrets, h.PublicKey = true, e.key.PublicKey().Bytes()
		e.c.after(2*time.Second, e.hello)
	}
	e.say(&message.ToScheduler{Event: &message.ToScheduler_Hello{Hello: h}})
}

func (e *simExecutor) reportLoop() {
	if e.dead {
		return
	}
	e.c.after(e.c.between(4*time.Second, 6*time.Second), e.reportLoop)
	e.seq++
	r := &message.Report{Sequence: e.seq, UptimeMs: e.seq * 5000, ExecutorDigest: e.task.ExecutorDigest}
	if e.task.GetMiner() != nil {
		r.Detail = &message.Report_Miner{Miner: &message.MinerReport{
			ProxiesEpoch: e.proxies.GetEpoch(), Hashrate: 1e6, Threads: 1, State: "mining",
		}}
	} else {
		r.Detail = &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: e.secrets != nil, Height: int64(e.seq)}}
		e.maybeFind()
	}
	e.say(&message.ToScheduler{Event: &message.ToScheduler_Report{Report: r}})
	if e.c.chance(e.c.faults.executorDies) {
		e.die()
	}
}

// maybeFind finds a block now and then, and sends it until it is received.
func (e *simExecutor) maybeFind() {
	if e.block == nil && e.secrets != nil && e.c.rnd.IntN(6) == 0 && e.found < 3 {
		e.found++
		e.block = testBlock(e.c.rnd.Uint64(), 150+e.c.rnd.IntN(400), easyBits)
		e.hash, e.received = hashOf(e.block), false
	}
	if e.block == nil || e.received {
		return
	}
	const part = 100
	parts := (len(e.block) + part - 1) / part
	for _, i := range e.c.rnd.Perm(parts) {
		e.say(&message.ToScheduler{Event: &message.ToScheduler_Block{Block: &message.Block{
			Block: &message.BlockState{Height: int64(e.found), Hash: e.hash, State: "submitted"},
			Part:  uint32(i), Parts: uint32(parts), Data: e.block[i*part : min(len(e.block), (i+1)*part)],
		}}})
	}
}

// say sends a framework message, which may be lost, doubled or overtaken.
func (e *simExecutor) say(m *message.ToScheduler) {
	a := e.t.agent
	m.Version, m.TaskId = message.Version, e.t.info.TaskID.Value
	data, err := e.sealer.Seal(m)
	if err != nil {
		panic(err)
	}
	copies := 1
	if e.c.chance(e.c.faults.duplicate) {
		copies++
	}
	for range copies {
		if e.c.chance(e.c.faults.loseMessage) {
			continue
		}
		e.c.after(e.c.between(0, 200*time.Millisecond), func() {
			if !a.cut && !a.lost && a.known {
				e.c.master.event(Message{AgentID: a.id, ExecutorID: m.TaskId, Data: data})
			}
		})
	}
}

func (e *simExecutor) receive(data []byte) {
	if e.dead || !e.started {
		return
	}
	m, err := e.sealer.OpenToExecutor(data)
	if errors.Is(err, message.ErrReplayed) || errors.Is(err, message.ErrSession) {
		return // of a scheduler that has crashed meanwhile
	}
	if err != nil {
		panic(err)
	}
	switch {
	case m.GetSealedSecrets() != nil:
		if e.task.GetProxy() == nil {
			panic("secrets were sent to a miner")
		}
		if e.secrets, err = message.OpenSecrets(e.key, e.t.info.TaskID.Value, m.GetSealedSecrets()); err != nil {
			panic(err)
		}
	case m.GetProxies() != nil:
		if m.GetProxies().Epoch > e.proxies.GetEpoch() {
			e.proxies = m.GetProxies()
		}
	case m.GetBlockReceived() != nil:
		if bytes.Equal(m.GetBlockReceived().Hash, e.hash) {
			e.received, e.block = true, nil
		}
	}
}

func (e *simExecutor) kill() {
	if e.dead {
		return
	}
	if !e.started {
		reason := mesos.REASON_TASK_KILLED_DURING_LAUNCH
		e.dead = true
		e.t.update(mesos.TASK_KILLED, &reason)
		return
	}
	if e.stuck {
		return
	}
	e.t.update(mesos.TASK_KILLING, nil)
	e.c.after(e.c.between(0, time.Second), func() {
		if !e.dead {
			e.dead = true
			e.t.update(mesos.TASK_KILLED, nil)
		}
	})
}

func (e *simExecutor) die() {
	if e.dead || e.t.terminal {
		return
	}
	e.dead = true
	reason := mesos.REASON_EXECUTOR_TERMINATED
	e.c.master.event(Failure{AgentID: e.t.agent.id, ExecutorID: e.t.info.TaskID.Value})
	e.t.update(mesos.TASK_FAILED, &reason)
}

const mesosRunning = mesos.TASK_RUNNING
