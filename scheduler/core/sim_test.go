package core

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/message"
	"lode/scheduler/constraint"
)

// TestSimulation runs whole histories of a cluster, each from a seed: messages are
// lost, doubled and overtaken, agents are cut off for seconds or weeks, executors die,
// hang or never start, masters and schedulers fail, disks are slow, clocks jump, and
// the scheduler crashes between any two actions and goes on from its disk
// (sim_faults_test.go). After every step the invariants are checked, above all that
// nothing is killed without need (sim_check_test.go, sim_need_test.go); when the
// faults end, the cluster must come to mine with all that it has.
//
// LODE_SIM_SEEDS is the number of histories, LODE_SIM_SEED replays one and prints
// what happens in it. LODE_SIM_FIRST ends it at the first failure, without a look for
// what that needs. A history takes about 5 ms of a core. Where so much else runs that the
// time limit of go test comes near, there are fewer, and the log says how many.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("LODE_SIM_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LODE_SIM_SEED: %v", err)
		}
		if h, err := simulate(seed, nil, func(format string, args ...any) { t.Logf(format, args...) }); err != nil {
			t.Fatalf("seed %d, %d faults: %v", seed, len(h.plan), err)
		}
		return
	}
	seeds := uint64(20000)
	if testing.Short() {
		seeds = 200
	}
	var enough time.Time
	if deadline, ok := t.Deadline(); ok {
		enough = deadline.Add(-time.Until(deadline) / 3) // the rest is for other tests of the package
	}
	if s := os.Getenv("LODE_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LODE_SIM_SEEDS: %v", err)
		}
		seeds = n
	}
	brief, all := os.Getenv("LODE_SIM_FIRST") != "", os.Getenv("LODE_SIM_FIRST") == "all"
	var next, done, failed atomic.Uint64
	var mu sync.Mutex
	var simulated time.Duration
	counts := make(map[string]int)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // histories are small, and make much garbage
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1)
				if seed > seeds || failed.Load() > 3 || !enough.IsZero() && time.Now().After(enough) {
					return
				}
				done.Add(1)
				h, err := simulate(seed, nil, nil)
				mu.Lock()
				simulated += h.now.Sub(simEpoch)
				for k, n := range h.counts {
					counts[k] += n
				}
				mu.Unlock()
				if err != nil && brief {
					t.Errorf("seed %d: %v", seed, err)
					if !all {
						failed.Add(4)
					}
				} else if err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v\n%s\nreplay: LODE_SIM_SEED=%d go test -v -run TestSimulation ./scheduler/core",
						seed, err, shortest(seed), seed)
				}
				if seed%10000 == 0 {
					fmt.Fprintf(os.Stderr, "%d of %d histories, %v\n", seed, seeds, time.Since(start).Round(time.Second))
				}
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	t.Logf("%d seeds, %.0f seeds/s, %.0f simulated hours in %v", done.Load(), float64(done.Load())/elapsed.Seconds(),
		simulated.Hours(), elapsed.Round(time.Millisecond))
	if done.Load() < seeds {
		t.Logf("%d seeds were wanted", seeds)
	}
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%9d %s", counts[k], k)
	}
}

// shortest finds out which faults a failure needs, and tells what happens with these
// alone.
func shortest(seed uint64) string {
	h, err := simulate(seed, nil, nil)
	if err == nil {
		return "it does not fail again"
	}
	needed := slices.Collect(maps.Keys(h.plan))
	slices.Sort(needed)
	all := len(needed)
	start := time.Now()
	for size := (all + 1) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(needed) && time.Since(start) < 10*time.Second; {
			fewer := slices.Concat(needed[:i], needed[i+size:])
			if _, err := simulate(seed, fewer, nil); err != nil {
				needed = fewer
			} else {
				i += size
			}
		}
	}
	var lines []string
	_, err = simulate(seed, append(needed, -1), func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	const most = 150
	if len(lines) > most {
		lines = append([]string{fmt.Sprintf("… %d lines", len(lines)-most)}, lines[len(lines)-most:]...)
	}
	return fmt.Sprintf("with %d of %d faults: %v\n%s", len(needed), all, err, strings.Join(lines, "\n"))
}

// The secrets of a history, which must show up nowhere but in a Secrets message.
const (
	simPassword = "correct-horse-battery-staple"
	simKey      = "0123456789abcdef-worker-key-0123"
)

// harness is the scheduler in a history: a core, its disk, and what watches it.
type harness struct {
	*cluster
	plan   map[int]fault // by number
	counts map[string]int

	core    *Core
	disk    map[string][]byte // by key; nil: nothing was ever stored
	decoded *State            // what is on disk
	encodes bool              // what is on disk is in disk, as it is in files
	blocks  map[string][]byte
	buffer  []byte // for what is looked at and thrown away
	session int
	inbox   []Event
	batched bool          // several events were taken in at once
	busy    bool          // the inbox will be looked at
	slow    time.Duration // how long a write takes
	late    time.Duration // calls are under way that long
	arrives time.Time     // when the last of them does
	stalled bool          // the master takes no calls
	waiting []Call        // for that to end
	skew    time.Duration // of the wall clock
	skewed  bool          // ever
	pace    time.Duration // of ticks

	maxMiners int
	proxyN    int

	constraints, proxyConstraints constraint.List

	grace     time.Duration
	payout    string // the operator may change it, and the executor, between two runs
	digest    string
	good      string // the newest digest that can run
	upgrade   bool
	epochs    map[string]string // proxy list by epoch and miner
	proxies   map[uint64]string // proxy by epoch
	framework string
	log       func(string, ...any)
	err       error

	watch watch
}

func (h *harness) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf("at %v: %s", h.now.Sub(simEpoch), fmt.Sprintf(format, args...))
		h.say("FAILED %v", h.err)
	}
}

var simEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// simulate runs the history of a seed, with only some of its faults (nil: all).
func simulate(seed uint64, only []int, log func(string, ...any)) (h *harness, err error) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	h = &harness{
		counts: make(map[string]int), blocks: make(map[string][]byte), epochs: make(map[string]string), proxies: make(map[uint64]string),
		grace:   []time.Duration{0, 5 * time.Second, 30 * time.Second}[rnd.IntN(3)],
		encodes: seed%8 == 0, payout: "a1", digest: "d1", good: "d1", log: log, pace: time.Second, proxyN: 1, upgrade: rnd.IntN(4) > 0,
		watch: newWatch(),
	}
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 8<<10)
			err = fmt.Errorf("panic: %v\n%s", p, buf[:runtime.Stack(buf, false)])
		}
	}()
	agents := 1 + rnd.IntN(5)
	switch {
	case seed%10000 == 5077:
		agents = 1000
	case seed%100 == 7:
		agents = 10 + rnd.IntN(40)
	}
	h.cluster = newCluster(rnd, agents)
	h.cluster.chaos = func(kind string) { h.counts[kind]++ }
	h.cluster.say = h.tell
	h.told = func(a *simAgent) { h.watch.ask(h, a) }
	if rnd.IntN(4) == 0 {
		h.maxMiners = 1 + rnd.IntN(3)
	}
	if agents >= 3 && rnd.IntN(5) == 0 {
		h.proxyN = 2 + int(seed%2)
		for _, a := range h.agents { // else there may be no room for all
			if a.portless {
				a.portless, a.left = false, nil
				a.total = append(a.total, ports(31000, 31010))
			}
		}
	}
	h.constrain(rand.New(rand.NewPCG(seed, 4)))
	h.toScheduler = h.deliver
	level := rnd.Float64() * rnd.Float64()
	h.faults = chances{
		loseMessage: 0.5 * level, duplicate: 0.3 * level, launchFails: 0.3 * level * rnd.Float64(),
		loseLaunch: 0.2 * level, executorDies: 0.02 * level, loseCall: 0.02 * level, dropCall: 0.05 * level, oddEnd: 0.1 * level,
		refuse: 0.1 * level, neverRuns: 0.1 * level * rnd.Float64(),
	}
	h.start()
	h.tick()
	h.faulty = true
	end := simEpoch.Add(h.between(time.Minute, 4*time.Minute))
	h.makePlan(seed, end, only)
	if only != nil && len(h.plan) == 0 && slices.Contains(only, -1) && len(only) == 1 {
		h.faults = chances{}
	}
	h.run(end, h.stopped)
	h.heal()
	healed := h.now
	looked := h.now
	h.run(healed.Add(50*time.Minute), func() bool {
		if h.now.Sub(looked) < 2*time.Second {
			return h.err != nil
		}
		looked = h.now
		return h.err != nil || h.healthy() == ""
	})
	if h.err != nil {
		return h, h.err
	}
	if why := h.healthy(); why != "" {
		return h, fmt.Errorf("50 minutes after the last fault: %s\n%s", why, h.explain())
	}
	// It must stay so.
	launched, declined := len(h.executed), maps.Clone(h.watch.ledger.declined)
	h.run(h.now.Add(time.Minute), h.stopped)
	for _, a := range h.agents { // a filter is of little use where resources come in parts
		if n := h.watch.ledger.declined[a.id] - declined[a.id]; n > 10 && !a.splits {
			return h, fmt.Errorf("%d offers of %s are declined in a minute in which nothing happens", n, a.id)
		}
	}
	if h.err == nil && h.maxMiners > 0 && h.liveMiners() >= h.maxMiners && h.healthy() == "" && !h.master.suppressed {
		return h, fmt.Errorf("there are all %d miners that are wanted, and offers are not suppressed\n%s", h.maxMiners, h.explain())
	}
	// A periodic reconciliation may be under way at that very moment, or a new miner find
	// out that it cannot reach its proxy.
	patience := 10 * time.Second
	for _, e := range h.proxyAt {
		if e.remote && !e.dead {
			patience = 4 * time.Minute
		}
	}
	h.run(h.now.Add(patience), func() bool { return h.err != nil || h.healthy() == "" })
	if h.err != nil {
		return h, h.err
	}
	if why := h.healthy(); why != "" {
		return h, fmt.Errorf("it was healthy, and then: %s\n%s", why, h.explain())
	}
	if n := len(h.executed) - launched; n > 2*len(h.agents) && h.digest != h.bad {
		return h, fmt.Errorf("%d launches in a minute in which nothing happened", n)
	}
	h.checkForgotten()
	// What nobody knows is given up in time, and what is only out of sight is not.
	h.run(h.now.Add(judgeUnknown+5*time.Minute), func() bool { return h.err != nil || !h.any(stateUnknown) })
	if seed%16 == 5 && h.any(stateUnreachable) {
		h.run(h.now.Add(judgeAwayKilled+10*time.Minute), h.stopped)
	}
	h.checkPublic("status", fmt.Sprintf("%+v", everything(h.core, h.now)))
	return h, h.err
}

func (h *harness) stopped() bool { return h.err != nil }

func (h *harness) tell(format string, args ...any) {
	if h.log != nil {
		h.log("%9.3fs "+format, append([]any{h.now.Sub(simEpoch).Seconds()}, args...)...)
	}
}

func (h *harness) tick() {
	h.after(h.pace, func() {
		h.watch.tick(h)
		h.enqueue(Tick{Stalled: h.stalled})
		h.tick()
	})
}

// start is the scheduler's process coming up.
func (h *harness) start() {
	state := NewState([]byte(simKey))
	if h.disk != nil {
		var err error
		if state, err = h.stored(); err != nil {
			h.fail("stored state: %v", err)
			return
		}
	}
	set := Settings{
		Name: "lode", User: "nobody", Roles: []string{"mining"}, FailoverTimeout: 168 * time.Hour, Revocable: true,
		ArtifactURL: "http://scheduler/artifacts/" + h.digest + "/lode-executor", ArtifactDigest: h.digest, Upgrade: h.upgrade,
		ArtifactArchive: "http://scheduler/artifacts/" + h.digest + "/lode-executor.tar.gz",
		Upstreams:       []string{"node:http://node:8332"}, PayoutAddress: h.payout, ReportInterval: 5 * time.Second,
		ProxyGrace: h.grace, MaxMiners: h.maxMiners, Proxies: h.proxyN, Constraints: h.constraints, ProxyConstraints: h.proxyConstraints,
		Secrets: map[string]*message.Credentials{"node:http://node:8332": {User: "rpc", Password: simPassword}},
		Rand:    rand.New(rand.NewPCG(h.rnd.Uint64(), 2)),
	}
	if h.good != h.digest {
		set.Fallback = Artifact{URL: "http://scheduler/artifacts/" + h.good + "/lode-executor", Digest: h.good}
	}
	core, err := New(set, state)
	if err != nil {
		h.fail("new core: %v", err)
		return
	}
	h.core = core
	h.session, h.inbox = 0, nil
	h.watch.started(h)
	h.subscribeSoon(h.between(0, 3*time.Second))
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
		h.tell("subscribe as %q", info.GetID().GetValue())
	})
}

// crash ends the process; another one is started after a while.
func (h *harness) crash(down time.Duration) {
	if h.core == nil {
		return
	}
	h.core, h.inbox = nil, nil
	h.master.disconnect()
	h.session = 0
	h.after(down, func() {
		if h.core == nil {
			h.tell("scheduler starts again")
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
		h.subscribeSoon(h.between(100*time.Millisecond, 2*time.Second))
	}
	h.enqueue(e)
}

// enqueue queues an event for the scheduler's loop, which takes all at once that
// came while it wrote to its disk.
func (h *harness) enqueue(e Event) {
	if h.core == nil || h.err != nil {
		return
	}
	h.inbox = append(h.inbox, e)
	if h.slow == 0 {
		h.work()
	} else if !h.busy {
		h.busy = true
		h.after(h.slow, func() {
			h.busy = false
			h.work()
		})
	}
}

// work lets the core take in what is queued and carries out what it asks for: all
// blocks, one write of the state, the rest.
func (h *harness) work() {
	events := h.inbox
	h.inbox = nil
	h.batched = len(events) > 1
	var actions []Action
	for _, e := range events {
		if h.core == nil || h.err != nil {
			return
		}
		if u, ok := e.(Update); ok && h.log != nil {
			h.tell("update %s %s %s", u.Status.TaskID.Value, u.Status.GetState(), u.Status.GetReason())
		}
		h.watch.ledger.before(h, e)
		got := h.core.Step(h.now.Add(h.skew), e)
		h.checkOrder(got)
		h.checkPlaces(got)
		h.watch.ledger.took(h, e, got)
		actions = append(actions, got...)
		h.checkCore(e)
	}
	crash := func(where string) bool {
		if h.faulty && h.rnd.IntN(1500) == 0 {
			h.tell("scheduler crashes %s", where)
			h.counts["crash within a step"]++
			h.crash(h.between(100*time.Millisecond, 20*time.Second))
			return true
		}
		return h.err != nil || h.core == nil
	}
	persist := false
	for _, a := range actions {
		switch a := a.(type) {
		case StoreBlock:
			if crash("before a block is stored") {
				return
			}
			result := Stored{Hash: a.Hash}
			if h.faulty && h.rnd.IntN(4) == 0 {
				result.Err = "no space left on device"
			} else {
				h.blocks[a.Hash] = bytes.Clone(a.Data)
			}
			defer h.enqueue(result)
		case Persist:
			persist = true
		}
	}
	if persist {
		if crash("before the state is stored") {
			return
		}
		h.store()
	}
	for i, a := range actions {
		switch a := a.(type) {
		case StoreBlock, Persist:
		case Call:
			if crash("before a call") {
				return
			}
			if h.log != nil && a.Decline != nil {
				for _, d := range h.core.decisions.newest() {
					if d.OfferID == a.Decline.OfferIDs[0].Value {
						h.tell("%s of %s %s: %s, refuse %v", d.OfferID, d.AgentID, d.Outcome, d.Reason.Text, d.Refuse)
						break
					}
				}
			}
			h.perform(a)
		case DropBlock:
			delete(h.blocks, a.Hash)
		case Notice:
			if h.log != nil {
				h.tell("%s %v", a.Text, a.Attrs)
			}
			h.checkPublic("log", a.Text)
			if a.Level >= slog.LevelError && !strings.HasPrefix(a.Text, "cannot store a block") && !strings.HasPrefix(a.Text, "tasks fail again") {
				h.fail("error in the log: %s %v", a.Text, a.Attrs)
			}
		case Stop:
			h.fail("the core stops: %v", a.Err)
		case TaskChanged:
			if a.Why != "" {
				h.tell("kill %s: %s", a.Task.ID, a.Why)
			}
		case ProxiesChanged:
			h.tell("miners are told of %v", a.Addresses)
			h.crashInMove()
		}
		if h.err != nil || h.core == nil {
			return
		}
		_ = i
	}
	if h.core != nil && h.disk != nil && h.rnd.IntN(400+len(h.core.tasks)*len(h.core.tasks)/10) == 0 {
		h.checkDisk()
	}
}

// perform sends a call to the master.
func (h *harness) perform(a Call) {
	h.checkCall(a)
	if h.stalled && int(a.Session) == h.session {
		h.waiting = append(h.waiting, a)
		return
	}
	h.send(a)
}

// goOn sends what waited.
func (h *harness) goOn() {
	waiting := h.waiting
	h.stalled, h.waiting = false, nil
	for _, a := range waiting {
		h.send(a)
	}
}

func (h *harness) send(a Call) {
	call, session := a.Call, h.session
	if int(a.Session) != session {
		return // as the driver does
	}
	if h.chance(h.faults.loseCall) {
		h.tell("%s call is lost, and with it the session", call.Type)
		h.counts["session lost with a call"]++
		h.session = 0
		if h.master.session == session {
			h.master.disconnect()
		}
		h.inbox = append(h.inbox, Disconnected{"a call failed"})
		core := h.core
		h.after(0, func() {
			if h.core == core && h.core != nil {
				h.work()
			}
		})
		h.subscribeSoon(h.between(100*time.Millisecond, 2*time.Second))
		return
	}
	switch call.Type {
	case scheduler.Call_KILL, scheduler.Call_MESSAGE, scheduler.Call_RECONCILE, scheduler.Call_ACKNOWLEDGE, scheduler.Call_SHUTDOWN:
		if h.chance(h.faults.dropCall) {
			h.counts["call refused"]++
			return
		}
	}
	if session == 0 {
		return
	}
	if call.Accept != nil && h.chance(h.faults.refuse) {
		h.refuse(session, call)
		return
	}
	h.after(h.underWay(), func() { h.master.call(session, call) })
}

// underWay is how long a call takes to the master: none overtakes another.
func (h *harness) underWay() time.Duration {
	d := max(3*time.Millisecond+h.late, h.arrives.Sub(h.now))
	h.arrives = h.now.Add(d)
	return d
}

// refuse answers an ACCEPT with an error, or with none that says whether it had an
// effect. Its offers are declined then.
func (h *harness) refuse(session int, call *scheduler.Call) {
	h.counts["ACCEPT refused"]++
	e := Refused{Session: uint64(session), Unsure: h.rnd.IntN(2) == 0}
	for _, op := range call.Accept.Operations {
		for _, info := range op.Launch.TaskInfos {
			e.Tasks = append(e.Tasks, info.TaskID.Value)
		}
	}
	effect := e.Unsure && h.rnd.IntN(2) == 0
	h.tell("ACCEPT of %v is refused, unsure %v, effect %v", e.Tasks, e.Unsure, effect)
	core := h.core
	h.after(h.underWay(), func() {
		if effect {
			h.master.call(session, call)
		} else {
			h.master.call(session, calls.Decline(call.Accept.OfferIDs...).With(calls.RefuseSeconds(time.Second)))
		}
		if h.core == core && h.session == session {
			h.enqueue(e)
		}
	})
}
