package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesosexec "github.com/mesos/mesos-go/api/v1/lib/executor"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	lodeexecutor "lode/executor"
	"lode/executor/driver"
	"lode/executor/fakeagent"
	"lode/message"
	"lode/pool"
	"lode/pool/blocks"
	"lode/pool/journal"
	"lode/pool/node"
	"lode/scheduler/core"
	"lode/stratum"
)

const (
	sideBlocks = 211
	levels     = 7   // heights that they are at
	firstLevel = 100 // the lowest of these
	upstream   = "node:http://node.example"
)

// A proxy finds 211 blocks, of which the chain has room for seven, and the chain changes
// its mind once. Between proxy and scheduler a third of all messages is lost, others
// overtake each other, and the scheduler dies now and then. In the end it says of every
// block what the node says.
//
// Executor, keeper of blocks, link and the scheduler's mind are the real ones. Node,
// network, disk and time are not, so that it takes no time.
func TestEveryBlockStateArrives(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { everyBlockStateArrives(newBlockWorld(t, seed), seed) })
		})
	}
}

func everyBlockStateArrives(w *blockWorld, seed uint64) {
	w.until("the proxy has its secrets", func() bool { return w.pool != nil })
	w.lossy = true
	found := make([]journal.Entry, sideBlocks)
	for i := range found {
		found[i] = sideBlock(uint64(i), firstLevel+int64(i%levels))
		w.pool.keeper.Found(found[i])
	}
	w.until("all blocks are known", w.agree)

	w.chain.put(found[:levels])
	w.chain.grow(120)
	w.until("the chain is built on seven of them", func() bool {
		return w.pool.has(blocks.Confirmed, found[:levels]) && w.count(blocks.Orphaned) == sideBlocks-levels
	})
	if seed%2 == 0 { // else the chain changes its mind while the scheduler is being told
		w.until("the scheduler knows that", w.agree)
		w.restart()
		w.until("the next scheduler knows that", w.agree)
	}
	w.chain.cut(firstLevel)
	w.chain.put(found[levels : 2*levels])
	w.chain.grow(140)
	for range seed % 4 {
		w.pass(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
		w.restart()
	}
	w.until("the chain is built on seven others", func() bool {
		return w.pool.has(blocks.Confirmed, found[levels:2*levels]) && w.count(blocks.Orphaned) == sideBlocks-levels
	})
	w.until("the scheduler knows that, too", w.agree)

	// What it knows it is not told again.
	w.lossy = false
	w.pass(2 * time.Minute)
	w.answers = 0
	w.pass(2 * time.Minute)
	if w.answers > 0 || !w.agree() {
		w.t.Errorf("%d answers to what was known", w.answers)
	}
	w.stop()
}

// blockWorld is a proxy's executor and a scheduler, and what is between them.
type blockWorld struct {
	t     *testing.T
	rng   *rand.Rand
	chain *sideChain
	agent *fakeagent.Agent
	task  mesos.TaskInfo
	pool  *keeperPool
	stop  func()

	core    *core.Core
	session uint64
	disk    map[string][]byte
	inbox   []core.Event
	lossy   bool
	late    []letter // on their way
	answers int      // of the scheduler

	mu   sync.Mutex
	sent []*mesosexec.Call
	made *keeperPool
}

// letter is a message that arrives at a time.
type letter struct {
	at      time.Time
	deliver func()
}

func newBlockWorld(t *testing.T, seed uint64) *blockWorld {
	t.Helper()
	w := &blockWorld{
		t: t, rng: rand.New(rand.NewPCG(seed, sideBlocks)), chain: newSideChain(), agent: fakeagent.New(t),
		disk: make(map[string][]byte),
	}
	w.agent.Answer = func(call *mesosexec.Call, _ *http.Request) (int, string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent = append(w.sent, call)
		return 0, "" // as a good agent
	}
	w.begin(core.NewState(bytes.Repeat([]byte{1}, message.KeySize)))
	w.step(core.Offers{Offers: []mesos.Offer{{
		ID: mesos.OfferID{Value: "O"}, AgentID: mesos.AgentID{Value: "S"}, Hostname: "proxy.example",
		Resources:      []mesos.Resource{scalar("cpus", 4), scalar("mem", 4096), portRange(31000, 31009)},
		AllocationInfo: &mesos.Resource_AllocationInfo{Role: &[]string{"mining"}[0]},
	}}})
	if w.task.TaskID.Value == "" {
		t.Fatal("no proxy is launched")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- lodeexecutor.Run(ctx, lodeexecutor.Options{
			Config: driver.Config{
				FrameworkID: "F", ExecutorID: w.task.TaskID.Value, AgentEndpoint: "10.0.0.7:5051", Sandbox: "/nowhere",
				Checkpoint: true, RecoveryTimeout: 15 * time.Minute, BackoffMax: 2 * time.Second, ShutdownGrace: 5 * time.Second,
				Transport: w.agent,
			},
			Digest:   func() (string, error) { return "d", nil },
			NewProxy: w.newPool,
		})
	}()
	w.stop = func() {
		cancel()
		<-ended
	}
	synctest.Wait() // it has subscribed
	w.agent.Launch(w.task)
	return w
}

func scalar(name string, v float64) mesos.Resource {
	kind := mesos.SCALAR
	return mesos.Resource{Name: name, Type: &kind, Scalar: &mesos.Value_Scalar{Value: v}}
}

func portRange(first, last uint64) mesos.Resource {
	kind := mesos.RANGES
	return mesos.Resource{Name: "ports", Type: &kind, Ranges: &mesos.Value_Ranges{Range: []mesos.Value_Range{{Begin: first, End: last}}}}
}

// begin starts a scheduler.
func (w *blockWorld) begin(state *core.State) {
	w.t.Helper()
	var err error
	w.core, err = core.New(core.Settings{
		Name: "lode", User: "nobody", Roles: []string{"mining"}, FailoverTimeout: time.Hour,
		ArtifactURL: "http://scheduler.example/lode-executor", ArtifactDigest: "d", Upstreams: []string{upstream}, PayoutAddress: "a",
		ReportInterval: time.Second, CanSubmit: true, Secrets: map[string]*message.Credentials{upstream: {User: "u", Password: "p"}},
		Rand: rand.New(rand.NewPCG(w.rng.Uint64(), 1)),
	}, state)
	if err != nil {
		w.t.Fatal(err)
	}
	w.session++
	w.step(core.Subscribed{FrameworkID: "F", Master: "master.example:5050", Session: w.session})
}

// restart has another scheduler go on with what is on disk.
func (w *blockWorld) restart() {
	w.t.Helper()
	state, err := core.RestoreState(w.disk)
	if err != nil {
		w.t.Fatal(err)
	}
	w.inbox = nil
	w.begin(state)
}

// step has the scheduler take in an event, and does what it asks for.
func (w *blockWorld) step(e core.Event) {
	w.t.Helper()
	w.inbox = append(w.inbox, e)
	for len(w.inbox) > 0 {
		e, w.inbox = w.inbox[0], w.inbox[1:]
		for _, a := range w.core.Step(time.Now(), e) {
			w.do(a)
		}
	}
}

func (w *blockWorld) do(a core.Action) {
	w.t.Helper()
	switch a := a.(type) {
	case core.Persist:
		changes, err := w.core.Changes()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range changes {
			if w.disk[c.Key] = c.Value; c.Value == nil {
				delete(w.disk, c.Key)
			}
		}
	case core.StoreBlock:
		w.inbox = append(w.inbox, core.Stored{Hash: a.Hash})
	case core.SubmitBlock:
		state, confirmations := w.chain.fate(a.Hash)
		w.inbox = append(w.inbox, core.Submitted{Hash: a.Hash, State: state, Confirmations: confirmations})
	case core.AskBlock:
		state, confirmations := w.chain.fate(a.Hash)
		w.inbox = append(w.inbox, core.Submitted{Hash: a.Hash, State: state, Confirmations: confirmations})
	case core.Stop:
		w.t.Fatalf("the scheduler ends: %v", a.Err)
	case core.Call:
		w.called(a.Call)
	}
}

func (w *blockWorld) called(c *mesossched.Call) {
	switch c.Type {
	case mesossched.Call_ACCEPT:
		w.task = c.Accept.Operations[0].Launch.TaskInfos[0]
	case mesossched.Call_RECONCILE:
		if w.task.TaskID.Value == "" {
			return
		}
		running := mesos.TASK_RUNNING
		w.inbox = append(w.inbox, core.Update{Status: mesos.TaskStatus{TaskID: w.task.TaskID, AgentID: &w.task.AgentID, State: &running}})
	case mesossched.Call_MESSAGE:
		w.answers++
		w.post(func() { w.agent.Message(c.Message.Data) })
	case mesossched.Call_KILL:
		w.t.Errorf("task %s is killed", c.Kill.TaskID.Value)
	}
}

// post sends a message, which may be lost or late.
func (w *blockWorld) post(deliver func()) {
	at := time.Now()
	if w.lossy {
		if w.rng.IntN(3) == 0 {
			return
		}
		at = at.Add(time.Duration(w.rng.IntN(4000)) * time.Millisecond)
	}
	w.late = append(w.late, letter{at, deliver})
}

// carry takes in what the executor has sent, and delivers what has arrived.
func (w *blockWorld) carry() {
	synctest.Wait()
	w.agent.Forget()
	w.mu.Lock()
	sent := w.sent
	w.sent, w.pool = nil, w.made
	w.mu.Unlock()
	for _, call := range sent {
		switch call.Type {
		case mesosexec.Call_UPDATE: // those are reliable
			status := call.Update.Status
			status.AgentID = &w.task.AgentID
			w.step(core.Update{Status: status})
		case mesosexec.Call_MESSAGE:
			w.post(func() {
				w.step(core.Message{AgentID: w.task.AgentID.Value, ExecutorID: w.task.TaskID.Value, Data: call.Message.Data})
			})
		}
	}
	late := w.late
	w.late = nil
	w.rng.Shuffle(len(late), func(i, k int) { late[i], late[k] = late[k], late[i] })
	for _, l := range late {
		if l.at.After(time.Now()) {
			w.late = append(w.late, l)
		} else {
			l.deliver()
		}
	}
}

// pass lets time go by.
func (w *blockWorld) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		w.carry()
		w.step(core.Tick{})
	}
}

// until lets time go by until something holds.
func (w *blockWorld) until(what string, ok func() bool) {
	w.t.Helper()
	for began := time.Now(); !ok(); w.pass(time.Second) {
		if time.Since(began) < 20*time.Minute {
			continue
		}
		said := make(map[string]int)
		for _, b := range w.core.Snapshot(time.Now()).Blocks {
			said[b.State]++
		}
		w.stop()
		w.t.Fatalf("it is not so after 20 minutes that %s; the scheduler says %v", what, said)
	}
}

// agree says whether the scheduler says of every block what its proxy says.
func (w *blockWorld) agree() bool {
	known := make(map[string]string)
	for _, b := range w.core.Snapshot(time.Now()).Blocks {
		known[b.Hash] = b.State
	}
	said := make(map[string]string)
	for _, b := range w.pool.keeper.Blocks() {
		said[b.Hash] = string(b.State)
	}
	return len(known) == sideBlocks && maps.Equal(known, said)
}

// count is of how many blocks the proxy says that.
func (w *blockWorld) count(state blocks.State) (n int) {
	for _, b := range w.pool.keeper.Blocks() {
		if b.State == state {
			n++
		}
	}
	return n
}

// keeperPool is a pool.Runner that has nothing but blocks.
type keeperPool struct {
	config pool.Config
	keeper *blocks.Keeper
}

func (w *blockWorld) newPool(c pool.Config) (pool.Runner, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.made != nil {
		return nil, errors.New("a second pool")
	}
	w.made = &keeperPool{config: c, keeper: blocks.New(blocks.Options{
		Journal: forgetful{}, Nodes: []blocks.Node{w.chain}, KeepFor: 100 * time.Hour,
		OnChange: func(b blocks.Block) { c.OnBlock(poolBlock(b)) },
	})}
	return w.made, nil
}

func poolBlock(b blocks.Block) pool.Block {
	return pool.Block{
		Height: b.Height, Hash: b.Hash, State: pool.BlockState(b.State), Finder: b.Finder,
		Confirmations: int(b.Confirmations), FoundAt: b.FoundAt, Raw: b.Raw,
	}
}

func (p *keeperPool) Run(ctx context.Context) error {
	p.keeper.Run(ctx)
	return nil
}

func (p *keeperPool) Status() pool.Status {
	s := pool.Status{Ready: true, Listen: p.config.Listen, HTTP: p.config.HTTPListen}
	for _, b := range p.keeper.Blocks() {
		s.Blocks = append(s.Blocks, poolBlock(b))
	}
	return s
}

// has says whether all of some blocks are in a state.
func (p *keeperPool) has(state blocks.State, some []journal.Entry) bool {
	states := make(map[string]blocks.State)
	for _, b := range p.keeper.Blocks() {
		states[b.Hash] = b.State
	}
	return !slices.ContainsFunc(some, func(e journal.Entry) bool { return states[e.Hash] != state })
}

// forgetful is a blocks.Journal that keeps nothing.
type forgetful struct{}

func (forgetful) Add(journal.Entry) (bool, error) { return true, nil }
func (forgetful) Settle(string) error             { return nil }
func (forgetful) Retry() error                    { return nil }
func (forgetful) Pending() []journal.Entry        { return nil }

// sideChain is a node that takes every block, and builds on those that the test says.
type sideChain struct {
	mu    sync.Mutex
	main  []chainhash.Hash // by height
	sides map[chainhash.Hash]bool
}

func newSideChain() *sideChain {
	c := &sideChain{sides: make(map[chainhash.Hash]bool)}
	c.grow(firstLevel - 1)
	return c
}

// grow adds blocks of others up to a height.
func (c *sideChain) grow(height int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for int64(len(c.main)) <= height {
		c.main = append(c.main, chainhash.DoubleHashH(fmt.Append(nil, len(c.main), height)))
	}
}

// cut takes away what is at a height and above.
func (c *sideChain) cut(height int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.main = c.main[:height]
}

// put builds on blocks, each at the next height.
func (c *sideChain) put(some []journal.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range some {
		hash, err := chainhash.NewHashFromStr(e.Hash)
		if err != nil || e.Height != int64(len(c.main)) {
			panic(fmt.Sprintf("block %s of height %d on %d: %v", e.Hash, e.Height, len(c.main), err))
		}
		c.main = append(c.main, *hash)
	}
}

// fate is what a node says of a block that the scheduler hands in.
func (c *sideChain) fate(hash string) (state string, confirmations uint32) {
	h, err := chainhash.NewHashFromStr(hash)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.main, *h); i >= 0 {
		return "confirmed", uint32(len(c.main) - i)
	}
	if depth := len(c.main) - firstLevel - levels; depth >= 6 {
		return "orphaned", uint32(depth)
	}
	return "submitted", 0
}

func (c *sideChain) URL() string { return upstream }

func (c *sideChain) Submit(_ context.Context, raw []byte, _ string) (node.Verdict, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sides[chainhash.DoubleHashH(raw[:wire.MaxBlockHeaderPayload])] = true
	return node.Taken, "", nil
}

func (c *sideChain) Header(_ context.Context, hash chainhash.Hash) (node.Header, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.main, hash); i >= 0 {
		return node.Header{Confirmations: int64(len(c.main) - i), Height: int64(i)}, nil
	}
	if c.sides[hash] {
		return node.Header{Confirmations: -1}, nil
	}
	return node.Header{}, node.ErrUnknownBlock
}

func (c *sideChain) BlockAt(_ context.Context, height int64) (chainhash.Hash, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if height < 0 || height >= int64(len(c.main)) {
		return chainhash.Hash{}, errors.New("block height out of range")
	}
	return c.main[height], nil
}

func (c *sideChain) Height(context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.main)) - 1, nil
}

// sideBlock is a block that does the little work that its header claims.
func sideBlock(n uint64, height int64) journal.Entry {
	const bits = 0x207fffff
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 0xffffffff}, binary.LittleEndian.AppendUint64([]byte{8}, n), nil))
	tx.AddTxOut(wire.NewTxOut(50e8, []byte{0x51}))
	block := wire.NewMsgBlock(wire.NewBlockHeader(2, &chainhash.Hash{}, &chainhash.Hash{}, bits, 0))
	block.Header.MerkleRoot = tx.TxHash()
	target, err := stratum.TargetFromBits(bits)
	if err := errors.Join(err, block.AddTransaction(tx)); err != nil {
		panic(err)
	}
	for hash := block.BlockHash(); !target.MetBy(&hash); hash = block.BlockHash() {
		block.Header.Nonce++
	}
	var raw bytes.Buffer
	if err := block.Serialize(&raw); err != nil {
		panic(err)
	}
	return journal.Entry{Hash: block.BlockHash().String(), Height: height, Finder: "rig", FoundAt: time.Now(), Raw: raw.Bytes()}
}
