package core

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"slices"
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
	at      time.Time // when
	dead    bool
	stuck   bool // ignores KILL
	hung    bool // stopped: does and says nothing
	ending  bool // it has begun to end, and serves nobody any more
	// hangsInEnd: it will not come to an end
	hangsInEnd bool
	hungAt     time.Time
	idle       bool // a proxy whose upstreams have no work
	remote     bool // a proxy that is ready, and that no miner reaches
	seq        uint64
	spoke      time.Time // its last message that arrived
	told       hearsay   // its last report that arrived
	readyAt    time.Time // since when a proxy serves; zero: it does not
	lastOK     time.Time // when it last served

	proxies *message.Proxies // of a miner
	secrets *message.Secrets // of a proxy
	sealer  *message.Sealer
	key     hpke.PrivateKey

	block    []byte // found, not yet known to be at the scheduler
	hash     []byte
	received bool
	found    int
}

// hearsay is what the scheduler could know from a report.
type hearsay struct {
	at      time.Time
	session uint64 // of the scheduler that it was for
	seq     uint64
	ready   bool
	proxy   string
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
	e.started, e.at = true, e.c.awake()
	e.stuck = e.c.chance(0.1)
	if e.task.GetProxy() != nil && len(e.c.cursed) > 0 {
		e.c.cursed[0](e)
		e.c.cursed = e.c.cursed[1:]
	}
	e.t.update(mesos.TASK_STARTING, nil)
	e.t.update(mesos.TASK_RUNNING, nil)
	e.hello()
	e.reportLoop()
}

// serves says whether a proxy gives work to miners.
func (e *simExecutor) serves() bool {
	return e.started && !e.dead && !e.ending && e.task.GetProxy() != nil && e.secrets != nil && !e.hung && !e.idle && !e.remote && !e.c.noWork
}

// note keeps book of since when a proxy serves.
func (e *simExecutor) note() {
	switch ok := e.serves(); {
	case !ok:
		e.readyAt = time.Time{}
	case e.readyAt.IsZero():
		e.readyAt = e.c.awake()
		fallthrough
	default:
		e.lastOK = e.c.awake()
	}
}

// works says which proxy a miner gets work from; "": none. A miner notices after a
// while that a proxy fell silent.
func (e *simExecutor) works() string {
	for _, address := range e.proxies.GetAddresses() {
		if x := e.c.proxyAt[address]; x != nil && (x.serves() || x.hung && !x.dead && e.c.awake().Sub(x.hungAt) < 10*time.Second) {
			return address
		}
	}
	return ""
}

// connections is how many miners use a proxy.
func (e *simExecutor) connections() (n uint32) {
	if !e.serves() {
		return 0
	}
	for _, t := range e.c.master.byID {
		if m := t.executor; m.started && !m.dead && m.task.GetMiner() != nil && e.c.proxyAt[m.works()] == e {
			n++
		}
	}
	return n
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
	if e.hung {
		return
	}
	e.report()
	if e.task.GetProxy() != nil {
		e.maybeFind()
	}
	if e.c.chance(e.c.faults.executorDies) {
		e.c.chaos("executor dies")
		e.die()
	}
}

func (e *simExecutor) report() {
	e.note()
	e.seq++
	r := &message.Report{Sequence: e.seq, UptimeMs: uint64(e.c.awake().Sub(e.at).Milliseconds()), ExecutorDigest: e.task.ExecutorDigest}
	if e.task.GetMiner() != nil {
		m := &message.MinerReport{ProxiesEpoch: e.proxies.GetEpoch(), Threads: 1, State: "idle", JobAgeMs: -1}
		if m.Proxy = e.works(); m.Proxy != "" {
			m.State, m.Hashrate, m.JobAgeMs = "mining", 1e6, 0
		}
		r.Detail = &message.Report_Miner{Miner: m}
	} else {
		r.Detail = &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: e.serves() || e.remote && e.secrets != nil && !e.idle && !e.c.noWork, Height: int64(e.seq), Connections: e.connections()}}
	}
	e.say(&message.ToScheduler{Event: &message.ToScheduler_Report{Report: r}})
}

// maybeFind finds a block now and then, and sends it until it is received.
func (e *simExecutor) maybeFind() {
	if e.block == nil && e.serves() && e.c.rnd.IntN(6) == 0 && e.found < 2 {
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
	if e.hung {
		return
	}
	m.Version, m.TaskId = message.Version, e.t.info.TaskID.Value
	data, err := e.sealer.Seal(m)
	if err != nil {
		panic(err)
	}
	told := hearsay{session: e.sealer.Session()}
	if r := m.GetReport(); r != nil {
		told.seq, told.ready, told.proxy = r.Sequence, r.GetProxy().GetReady(), r.GetMiner().GetProxy()
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
			if !a.cut && !a.lost && a.known && e.c.master.session != 0 {
				e.spoke = e.c.awake()
				if told.seq > e.told.seq {
					e.told = told
					e.told.at = e.spoke
				}
				e.c.master.event(Message{AgentID: a.id, ExecutorID: m.TaskId, Data: slices.Clone(data)})
			}
		})
	}
}

func (e *simExecutor) receive(data []byte) {
	if e.dead || !e.started || e.hung {
		return
	}
	before := e.sealer.Session()
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
	if e.sealer.Session() != before { // a scheduler that was restarted has taken in nothing
		e.hello()
	}
	e.report()
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
	if e.stuck || e.hung {
		return
	}
	e.ending = true
	e.t.update(mesos.TASK_KILLING, nil)
	e.c.after(e.c.between(0, time.Second), func() {
		if !e.dead && !e.hangsInEnd {
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
