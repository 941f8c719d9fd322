package core

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// TestSimulation runs whole histories of a cluster, each from a seed: messages are
// lost, doubled and overtaken, agents are cut off and return or not, executors die,
// masters fail over with and without their memory, connections break, and the
// scheduler crashes between any two actions and goes on from its disk. After every
// action the invariants are checked; when the faults end, the cluster must come to
// mine with one proxy and all agents.
//
// LODE_SIM_SEEDS is the number of histories, LODE_SIM_SEED replays one and prints
// what happens in it.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("LODE_SIM_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LODE_SIM_SEED: %v", err)
		}
		if err := simulate(seed, func(format string, args ...any) { t.Logf(format, args...) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		return
	}
	seeds := uint64(200)
	if testing.Short() {
		seeds = 50
	}
	if s := os.Getenv("LODE_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LODE_SIM_SEEDS: %v", err)
		}
		seeds = n
	}
	var next, failed atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1)
				if seed > seeds || failed.Load() > 3 {
					return
				}
				if err := simulate(seed, nil); err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v\nreplay: LODE_SIM_SEED=%d go test -v -run TestSimulation ./scheduler/core", seed, err, seed)
				}
				if seed%10000 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d histories, %v\n", seed, seeds, time.Since(start).Round(time.Second))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d histories in %v", seeds, time.Since(start).Round(time.Millisecond))
}

// The secrets of a history, which must show up nowhere but in a Secrets message.
const (
	simPassword = "correct-horse-battery-staple"
	simKey      = "0123456789abcdef-worker-key-0123"
)

// harness is the scheduler in a history: a core, its disk, and what watches it.
type harness struct {
	*cluster

	core    *Core
	disk    map[string][]byte // by key; nil: nothing was ever stored
	decoded *State            // what is on disk
	blocks  map[string][]byte
	session int

	maxMiners int
	grace     time.Duration
	payout    string // the operator may change it, and the executor, between two runs
	digest    string
	epochs    map[uint64]string // proxy list by epoch
	proxies   map[uint64]string // proxy by epoch
	framework string
	log       func(string, ...any)
	err       error
}

func (h *harness) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("at %v: %s", h.now.Sub(simEpoch), fmt.Sprintf(format, args...))
	}
}

var simEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func simulate(seed uint64, log func(string, ...any)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 8<<10)
			err = fmt.Errorf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	rnd := rand.New(rand.NewPCG(seed, 1))
	h := &harness{
		cluster: newCluster(rnd, 1+rnd.IntN(5)),
		blocks:  make(map[string][]byte), epochs: make(map[uint64]string), proxies: make(map[uint64]string),
		grace:  []time.Duration{0, 5 * time.Second, 30 * time.Second}[rnd.IntN(3)],
		payout: "a1", digest: "d1", log: log,
	}
	if rnd.IntN(4) == 0 {
		h.maxMiners = 1 + rnd.IntN(3)
	}
	h.toScheduler = h.deliver
	level := rnd.Float64()
	h.faults = faults{
		loseMessage: 0.5 * level, duplicate: 0.3 * level, launchFails: 0.3 * level * rnd.Float64(),
		loseLaunch: 0.2 * level, executorDies: 0.05 * level, loseCall: 0.02 * level,
	}
	h.start()
	h.tick()
	h.faulty = true
	h.schedule()
	h.run(simEpoch.Add(h.between(30*time.Second, 4*time.Minute)), h.stopped)
	h.heal()
	healed := h.now
	looked := h.now
	h.run(healed.Add(50*time.Minute), func() bool {
		if h.now.Sub(looked) < time.Second {
			return h.err != nil
		}
		looked = h.now
		return h.err != nil || h.healthy() == ""
	})
	if h.err != nil {
		return h.err
	}
	if why := h.healthy(); why != "" {
		return fmt.Errorf("50 minutes after the last fault: %s\n%s", why, h.explain())
	}
	// It must stay so.
	launched := len(h.executed)
	h.run(h.now.Add(2*time.Minute), h.stopped)
	// A periodic reconciliation may be under way at that very moment.
	h.run(h.now.Add(10*time.Second), func() bool { return h.err != nil || h.healthy() == "" })
	if h.err != nil {
		return h.err
	}
	if why := h.healthy(); why != "" {
		return fmt.Errorf("it was healthy, and then: %s\n%s", why, h.explain())
	}
	if n := len(h.executed) - launched; n > 2*len(h.agents) {
		return fmt.Errorf("%d launches in two minutes in which nothing happened", n)
	}
	return nil
}

func (h *harness) stopped() bool { return h.err != nil }

// schedule lets things go wrong from time to time.
func (h *harness) schedule() {
	h.after(h.between(time.Second, 20*time.Second), func() {
		if !h.faulty {
			return
		}
		a := h.agents[h.rnd.IntN(len(h.agents))]
		switch h.rnd.IntN(8) {
		case 0:
			h.say("master fails over, durable registry: %v", h.master.durable)
			h.master.failover()
		case 1:
			h.say("connection breaks")
			h.master.disconnect()
		case 2, 3:
			h.say("agent %s is cut off", a.id)
			a.cutOff()
			h.after(h.between(time.Second, 3*time.Minute), func() {
				h.say("agent %s comes back", a.id)
				a.comeBack()
			})
		case 4:
			if a != h.agents[0] && h.rnd.IntN(3) == 0 {
				h.say("agent %s is lost for good", a.id)
				a.cutOff()
				a.lost = true
			}
		case 5:
			h.say("scheduler is killed")
			h.crash()
		case 6:
			for _, id := range sortedKeys(a.tasks) {
				if t := a.tasks[id]; h.rnd.IntN(2) == 0 && t.executor.started {
					h.say("executor of %s dies", id)
					t.executor.die()
				}
			}
		case 7:
			for _, id := range sortedKeys(a.tasks) {
				if strings.HasPrefix(id, KindProxy) {
					h.say("executor of %s dies", id)
					a.tasks[id].executor.die()
				}
			}
		}
		h.schedule()
	})
}

// heal ends all faults.
func (h *harness) heal() {
	h.faulty = false
	h.say("--- faults end")
	for _, a := range h.agents {
		a.comeBack()
		for _, t := range a.tasks {
			if t.executor != nil {
				t.executor.stuck = false
			}
		}
	}
}

func (h *harness) say(format string, args ...any) {
	if h.log != nil {
		h.log("%9.3fs "+format, append([]any{h.now.Sub(simEpoch).Seconds()}, args...)...)
	}
}

func (h *harness) tick() {
	pace := time.Second
	h.after(pace, func() {
		h.step(Tick{})
		h.tick()
	})
}

// start is the scheduler's process coming up.
func (h *harness) start() {
	state := NewState([]byte(simKey))
	if h.disk != nil {
		var err error
		if state, err = RestoreState(h.disk); err != nil {
			h.fail("stored state: %v", err)
			return
		}
	}
	if h.disk != nil && h.rnd.IntN(5) == 0 {
		h.payout += "x"
	}
	if h.disk != nil && h.rnd.IntN(5) == 0 {
		h.digest += "x"
	}
	set := Settings{
		Name: "lode", User: "nobody", Role: "mining", FailoverTimeout: 168 * time.Hour, Revocable: true,
		ArtifactURL: "http://scheduler/artifacts/d/lode-executor", ArtifactDigest: h.digest, Upgrade: true,
		Upstreams: []string{"node:http://node:8332"}, PayoutAddress: h.payout, ReportInterval: 5 * time.Second,
		ProxyGrace: h.grace, MaxMiners: h.maxMiners,
		Secrets: map[string]*message.Credentials{"node:http://node:8332": {User: "rpc", Password: simPassword}},
		Rand:    rand.New(rand.NewPCG(h.rnd.Uint64(), 2)),
	}
	core, err := New(set, state)
	if err != nil {
		h.fail("new core: %v", err)
		return
	}
	h.core = core
	h.session = 0
	h.subscribeSoon(0)
}

func (h *harness) subscribeSoon(d time.Duration) {
	core := h.core
	h.after(d, func() {
		if h.core == nil || h.core != core || h.session != 0 {
			return
		}
		if !h.master.up {
			h.subscribeSoon(time.Second)
			return
		}
		info := core.FrameworkInfo()
		h.session = h.master.subscribe(info.GetID().GetValue())
		h.say("subscribe as %q", info.GetID().GetValue())
	})
}

func (h *harness) crash() {
	if h.core == nil {
		return
	}
	h.core = nil
	h.master.disconnect()
	h.session = 0
	h.after(h.between(100*time.Millisecond, 20*time.Second), func() {
		if h.core == nil {
			h.say("scheduler starts again")
			h.start()
		}
	})
}

// deliver hands an event of a stream to the scheduler that reads it.
func (h *harness) deliver(session int, e Event) {
	if h.core == nil || session != h.session {
		return
	}
	if _, lost := e.(Disconnected); lost {
		h.session = 0
		h.step(e)
		h.subscribeSoon(h.between(100*time.Millisecond, 2*time.Second))
		return
	}
	h.step(e)
}

// step lets the core take in one event and carries out what it asks for.
func (h *harness) step(e Event) {
	if h.core == nil || h.err != nil {
		return
	}
	if u, ok := e.(Update); ok {
		h.say("update %s %s %s", u.Status.TaskID.Value, u.Status.GetState(), u.Status.GetReason())
	}
	actions := h.core.Step(h.now, e)
	h.checkCore()
	rest := 0
	var results []Event
	for i, a := range actions {
		if h.faulty && h.rnd.IntN(400) == 0 {
			h.say("scheduler crashes before action %d of %d", i, len(actions))
			h.crash()
			return
		}
		if h.err != nil || h.core == nil {
			return
		}
		switch a := a.(type) {
		case StoreBlock:
			if rest > 0 {
				h.fail("a block is stored after other actions")
			}
			result := Stored{Hash: a.Hash}
			if h.faulty && h.rnd.IntN(4) == 0 {
				result.Err = "no space left on device"
			} else {
				h.blocks[a.Hash] = bytes.Clone(a.Data)
			}
			results = append(results, result)
		case Persist:
			if rest > 0 {
				h.fail("the state is stored after other actions")
			}
			h.store()
		case Call:
			rest++
			h.perform(a.Call)
		case DropBlock:
			rest++
			delete(h.blocks, a.Hash)
		case Notice:
			rest++
			h.say("%s %v", a.Text, a.Attrs)
			h.checkPublic("log", fmt.Sprint(a.Text, a.Attrs))
			if a.Level >= slog.LevelError && !strings.HasPrefix(a.Text, "cannot store a block") {
				h.fail("error in the log: %s %v", a.Text, a.Attrs)
			}
		case Progress:
			rest++
		case Stop:
			h.fail("the core stops: %v", a.Err)
		}
	}
	for _, result := range results {
		h.step(result)
	}
	if _, tick := e.(Tick); tick && h.core != nil && h.disk != nil {
		h.checkDisk()
	}
}

// perform sends a call to the master.
func (h *harness) perform(call *scheduler.Call) {
	h.checkCall(call)
	session := h.session
	if h.chance(h.faults.loseCall) {
		h.say("%s call is lost, and with it the session", call.Type)
		h.session = 0
		if h.master.session == session {
			h.master.disconnect()
		}
		h.step(Disconnected{"a call failed"})
		h.subscribeSoon(h.between(100*time.Millisecond, 2*time.Second))
		return
	}
	if session != 0 {
		h.after(3*time.Millisecond, func() { h.master.call(session, call) })
	}
}
