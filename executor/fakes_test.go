package executor

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"
	"go.uber.org/goleak"

	"lode/executor/boundlog"
	"lode/executor/driver"
	"lode/executor/fakeagent"
	"lode/executor/mining"
	"lode/message"
	"lode/miner"
	"lode/pool"
	"lode/stratum"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine is a miner.Searcher that hashes nothing.
type fakeEngine struct {
	options miner.Options
	paused  atomic.Bool
	// deaf engines do not stop when they should.
	deaf chan struct{}
	hits chan miner.Hit
}

func (e *fakeEngine) Run(ctx context.Context) error {
	<-ctx.Done()
	if e.deaf != nil {
		<-e.deaf
	}
	return nil
}

func (e *fakeEngine) SetWork(*miner.Work)    {}
func (e *fakeEngine) SetPaused(paused bool)  { e.paused.Store(paused) }
func (e *fakeEngine) Hits() <-chan miner.Hit { return e.hits }
func (e *fakeEngine) Stats() miner.Stats {
	return miner.Stats{Hashes: 1000, Kernel: "fake", Threads: e.options.Threads}
}

// fakeConnection has one job for ever.
type fakeConnection struct{ pool string }

func (c fakeConnection) Run(ctx context.Context, on func(stratum.Assignment)) error {
	on(stratum.Assignment{Job: &stratum.Job{ID: c.pool, Clean: true}, Extranonce1: []byte{1}, Extranonce2Size: 4, Difficulty: 1})
	<-ctx.Done()
	return ctx.Err()
}

func (c fakeConnection) Submit(context.Context, stratum.Assignment, []byte, uint32, uint32, uint32) error {
	return nil
}

// fakePool is a pool.Runner.
type fakePool struct {
	config pool.Config
	err    error

	mu     sync.Mutex
	status pool.Status
}

func (p *fakePool) Run(ctx context.Context) error {
	if p.err != nil {
		return p.err
	}
	<-ctx.Done()
	return nil
}

func (p *fakePool) Status() pool.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// world is an executor with a fake agent around it.
type world struct {
	*fakeagent.Agent
	t       *testing.T
	options Options
	log     *boundlog.Writer
	logText *strings.Builder
	engine  *fakeEngine
	pools   chan *fakePool
	cancel  context.CancelCauseFunc
	result  chan error

	sealer    *message.Sealer // the scheduler's
	publicKey []byte          // of the last Hello that asked for secrets
}

// What the tests' launches share with their scheduler.
const firstSession = 5

var launchKey = bytes.Repeat([]byte{7}, message.KeySize)

const ownDigest = "aa11"

func newWorld(t *testing.T) *world {
	w := &world{Agent: fakeagent.New(t), t: t, pools: make(chan *fakePool, 10), result: make(chan error, 1), logText: new(strings.Builder)}
	w.engine = &fakeEngine{hits: make(chan miner.Hit)}
	w.log = boundlog.NewWriter(w.logText, 1<<20)
	w.options = Options{
		Config: driver.Config{
			FrameworkID: "framework", ExecutorID: "executor", AgentEndpoint: "10.0.0.7:5051", Sandbox: t.TempDir(),
			Checkpoint: true, RecoveryTimeout: 15 * time.Minute, BackoffMax: 2 * time.Second, ShutdownGrace: 5 * time.Second,
			Transport: w.Agent,
		},
		Logger: newTestLogger(w.log),
		Redact: w.log.Redact, Hide: w.log.Hide,
		Digest:  func() (string, error) { return ownDigest, nil },
		Connect: func(pool string) mining.Connection { return fakeConnection{pool} },
		NewEngine: func(o miner.Options) (miner.Searcher, error) {
			w.engine.options = o
			return w.engine, nil
		},
		NewProxy: func(c pool.Config) (pool.Runner, error) {
			p := &fakePool{config: c, status: pool.Status{Listen: c.Listen, HTTP: c.HTTPListen}}
			w.pools <- p
			return p, nil
		},
	}
	return w
}

func (w *world) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	w.cancel = cancel
	w.t.Cleanup(func() { cancel(nil) })
	go func() { w.result <- Run(ctx, w.options) }()
}

// mining starts the executor with a miner of one cpu and waits until it reports.
func (w *world) mining(task string, changes ...func(*mesos.TaskInfo)) {
	w.t.Helper()
	w.start()
	w.NextOf(w.t.Context(), mesosexec.Call_SUBSCRIBE)
	info := taskInfo(w.t, task, minerSpec(), scalar("cpus", 1))
	for _, change := range changes {
		change(&info)
	}
	w.Launch(info)
	w.nextReport(w.t.Context())
}

// deafen gives the executor an engine that does not stop before end is called.
func (w *world) deafen() (end func()) {
	w.engine.deaf = make(chan struct{})
	return func() { close(w.engine.deaf) }
}

func (w *world) end(want error) {
	w.t.Helper()
	if err := <-w.result; err != want {
		w.t.Errorf("Run: %v, expected %v\nlog:\n%s", err, want, w.logText)
	}
}

// taskInfo is a task as a scheduler launches it.
func taskInfo(t *testing.T, id string, spec *message.Task, resources ...mesos.Resource) mesos.TaskInfo {
	t.Helper()
	if spec.Version == 0 {
		spec.Version = message.Version
		spec.Link = &message.Link{Key: launchKey, Session: firstSession}
	}
	data, err := message.Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	return mesos.TaskInfo{
		Name: id, TaskID: mesos.TaskID{Value: id}, AgentID: mesos.AgentID{Value: "agent-S0"}, Data: data, Resources: resources,
		Executor: &mesos.ExecutorInfo{ExecutorID: mesos.ExecutorID{Value: "executor"}, Resources: []mesos.Resource{scalar("mem", 32)}},
	}
}

func scalar(name string, v float64) mesos.Resource {
	kind := mesos.SCALAR
	return mesos.Resource{Name: name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: v}}
}

func portRange(first, last uint64) mesos.Resource {
	kind := mesos.RANGES
	return mesos.Resource{Name: "ports", Type: &kind, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: first, End: last}}}}
}

func minerSpec() *message.Task {
	return &message.Task{ExecutorDigest: ownDigest, ReportIntervalMs: 5000, Kind: &message.Task_Miner{Miner: &message.MinerTask{
		User: "lode.miner-1", Password: "miner-password", Proxies: &message.Proxies{Epoch: 1, Addresses: []string{"10.0.0.1:3333"}},
	}}}
}

func proxySpec() *message.Task {
	return &message.Task{ExecutorDigest: ownDigest, ReportIntervalMs: 5000, Kind: &message.Task_Proxy{Proxy: &message.ProxyTask{
		Shard: 3, Upstreams: []string{"node:http://127.0.0.1:18556"}, PayoutAddress: "SXXX", AdvertiseHost: "proxy.example",
	}}}
}
