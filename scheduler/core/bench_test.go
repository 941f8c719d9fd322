package core

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"golang.org/x/sys/unix"

	"lode/message"
)

// BenchmarkStep measures what one event costs in a farm of so many miners, each on an
// agent of its own: BenchmarkStep/<event>/<tasks>. "mass-end" is the end of all of
// them, event by event; "memory" is what a core keeps, in B/task, of tasks whose names and
// reports are as long as those of a real cluster.
func BenchmarkStep(b *testing.B) {
	sizes := []int{1000, 10000, 50000}
	farms := make(map[int]*farm) // shared: each benchmark leaves its farm as it was
	at := func(b *testing.B, n int) *farm {
		if farms[n] == nil {
			b.StopTimer()
			farms[n] = newFarm(b, n)
			b.StartTimer()
		}
		return farms[n]
	}
	run := func(name string, most int, prepare func(f *farm, k int) []Event) {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				f := at(b, n)
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var cpu time.Duration
				for done := 0; done < b.N; {
					b.StopTimer()
					f.settle()
					events := prepare(f, min(most, b.N-done))
					begun := threadCPU()
					b.StartTimer()
					for _, e := range events {
						f.step(e)
					}
					cpu += threadCPU() - begun
					done += len(events)
				}
				b.StopTimer()
				f.settle()
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
	const batch = 400 // no more launches may be on their way

	run("update", batch, (*farm).starting)
	run("update-offers-held", batch, func(f *farm, k int) []Event {
		events := f.starting(k)
		f.c.pace.window = -1 << 20
		for i := range f.n / 5 {
			f.offer(f.agents[i], scalar("cpus", 0.5, ""), scalar("mem", 1024, ""))
		}
		return events
	})
	run("report", 4*batch, func(f *farm, k int) (events []Event) {
		for range k {
			events = append(events, f.reportOf(f.aMiner()))
		}
		return events
	})
	run("offers", 4*batch, func(f *farm, k int) (events []Event) { // what a miner leaves of its agent
		for range k {
			events = append(events, f.offerOf(f.anAgent(), scalar("mem", 1024, ""), ports(31000, 31009)))
		}
		return events
	})
	run("launch", batch, func(f *farm, k int) (events []Event) {
		f.endSome(k)
		for _, agent := range f.free {
			events = append(events, f.offerOf(agent))
		}
		return events
	})
	run("failure", batch, func(f *farm, k int) (events []Event) {
		for range k {
			events = append(events, Failure{AgentID: f.anAgent()})
		}
		return events
	})
	run("terminal", batch, func(f *farm, k int) (events []Event) {
		for _, t := range f.someMiners(k) {
			events = append(events, f.updateOf(t, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED))
		}
		return events
	})
	run("rescind", 4*batch, func(f *farm, k int) (events []Event) {
		f.c.pace.window = 0
		for range k {
			e := f.offerOf(f.anAgent(), scalar("cpus", 0.5, ""), scalar("mem", 1024, ""))
			f.step(e)
			events = append(events, Rescind{e.(Offers).Offers[0].ID.Value})
		}
		return events
	})
	run("inverse", batch, func(f *farm, k int) (events []Event) { // maintenance that is far away
		begins := f.now.Add(24 * time.Hour).UnixNano()
		for i := range k {
			events = append(events, InverseOffers{[]mesos.InverseOffer{{
				OfferID: mesos.OfferID{Value: "I" + strconv.Itoa(i)}, AgentID: &mesos.AgentID{Value: f.anAgent()},
				Unavailability: mesos.Unavailability{Start: mesos.TimeInfo{Nanoseconds: begins}},
			}}})
		}
		return events
	})
	run("refused", batch, func(f *farm, k int) (events []Event) {
		f.endSome(k)
		for _, agent := range f.free {
			f.step(f.offerOf(agent))
			for _, info := range f.launched() {
				events = append(events, Refused{Session: f.c.session, Tasks: []string{info.TaskID.Value}})
			}
		}
		return events
	})
	run("kill", batch, func(f *farm, k int) (events []Event) {
		for _, t := range f.someMiners(k) {
			events = append(events, KillTask{ID: t.ID})
		}
		return events
	})
	run("message", 4*batch, func(f *farm, k int) (events []Event) {
		for range k {
			t := f.aMiner()
			events = append(events, Message{AgentID: t.AgentID, ExecutorID: t.ID, Data: f.seal(t.ID, &message.ToScheduler{
				Event: &message.ToScheduler_Hello{Hello: &message.Hello{ExecutorDigest: "d", ProxiesEpoch: t.run.knownEpoch}},
			})})
		}
		return events
	})
	run("tick", 1, func(f *farm, _ int) []Event {
		for range f.n/300 + 1 { // else miners count as hung before long
			f.reported = (f.reported + 1) % len(f.c.tasks)
			if t := f.c.tasks[f.reported]; t.Kind == KindMiner {
				f.step(f.reportOf(t))
			}
		}
		return []Event{Tick{}}
	})
	run("tick-maintenance", 1, func(f *farm, _ int) []Event { // of all agents, tomorrow
		begins := mesos.TimeInfo{Nanoseconds: f.now.Add(24 * time.Hour).UnixNano()}
		for _, a := range f.agents {
			if f.c.agents[a].down == nil {
				f.step(InverseOffers{[]mesos.InverseOffer{{AgentID: &mesos.AgentID{Value: a}, Unavailability: mesos.Unavailability{Start: begins}}}})
			}
		}
		return []Event{Tick{}}
	})
	run("subscribed", 1, func(f *farm, _ int) []Event {
		return []Event{Subscribed{FrameworkID: "F", Master: "m:5050", Session: f.c.session + 1}}
	})
	run("pause", 1, func(f *farm, _ int) []Event { return []Event{Pause{On: !f.c.paused(), Why: "to be measured"}} })

	for _, n := range sizes {
		b.Run(fmt.Sprintf("mass-end/%d", n), func(b *testing.B) {
			f := at(b, n)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var cpu time.Duration
			for range b.N {
				b.StopTimer()
				f.settle()
				var events []Event
				for _, t := range f.someMiners(n) {
					events = append(events, f.updateOf(t, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED))
				}
				begun := threadCPU()
				b.StartTimer()
				for i, e := range events {
					f.step(e)
					if i%10000 == 0 {
						f.now = f.now.Add(time.Second)
						f.step(Tick{})
					}
				}
				cpu += threadCPU() - begun
			}
			b.StopTimer()
			f.settle()
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("memory/%d", n), func(b *testing.B) {
			clear(farms)
			f := realFarm(b, n)
			for range 90 { // longer than anything is remembered of a launch that went well
				f.second()
			}
			for _, t := range f.c.tasks {
				if t.Kind == KindMiner {
					f.step(f.reportOf(t))
				}
			}
			f.settle()
			f.actions, f.real = nil, nil
			core := f.c
			f.c = nil
			with := heapInUse()
			runtime.KeepAlive(core)
			core = nil
			b.ReportMetric(float64(with-heapInUse())/float64(n), "B/task")
			b.ReportMetric(0, "ns/op")
			runtime.KeepAlive(f)
		})
	}
}

// threadCPU is the time that the thread had a core: where other programs run as well, it
// says more than that of a clock on the wall. 0: it is not known.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// farm is a core with many miners that run and report, each on an agent of its own.
type farm struct {
	*script
	n        int
	agents   []string
	free     []string // agents without a miner
	proxy    string
	reported int
	rnd      *rand.Rand
	real     *realReport // nil: reports say little
}

// realReport is what executors say of themselves beside what changes.
type realReport struct {
	proxy string
	host  message.Host
}

// realFarm has names and reports as a real cluster has them.
func realFarm(b *testing.B, n int) *farm {
	agents := make([]string, n)
	for i := range agents {
		agents[i] = fmt.Sprintf("7e606d99-1560-4253-8e1c-9f1b4a1b6c10-S%d", i)
	}
	digest := strings.Repeat("0123456789abcdef", 4)
	return farmOn(b, agents, digest, &realReport{
		proxy: "worker-00017.rack04.example.org:31000",
		host:  message.Host{Cpus: 16, Cores: 8, Weight: 100, OthersMilli: 1500, Milliwatts: 65_000, Policy: "SCHED_IDLE"},
	})
}

func newFarm(b *testing.B, n int) *farm {
	var agents []string
	for i := range n {
		agents = append(agents, "A"+strconv.Itoa(i))
	}
	return farmOn(b, agents, "d", nil)
}

func farmOn(b *testing.B, agents []string, digest string, real *realReport) *farm {
	n := len(agents)
	s := &script{t: new(testing.T), c: testCore(b), now: simEpoch, silent: make(map[string]bool), idle: make(map[string]bool)}
	f := &farm{script: s, n: n, agents: agents, rnd: rand.New(rand.NewPCG(1, 9)), real: real}
	f.c.set.ReportInterval, f.c.set.ArtifactDigest = 30*time.Second, digest
	f.step(Subscribed{FrameworkID: "F", Master: "m:5050"})
	f.proxy, _ = f.mining()
	f.settle()
	for _, t := range f.c.tasks {
		if t.Kind == KindMiner {
			f.step(f.reportOf(t))
		}
	}
	f.settle()
	if len(f.c.tasks) != n+1 {
		b.Fatalf("%d tasks", len(f.c.tasks))
	}
	return f
}

// step takes one event in, 20 µs after the one before.
func (f *farm) step(e Event) {
	f.now = f.now.Add(20 * time.Microsecond)
	f.script.step(e)
}

// second lets one go by. Mesos answers what it is asked.
func (f *farm) second() {
	f.now = f.now.Add(time.Second)
	f.step(Tick{})
	asked := f.calls(scheduler.Call_RECONCILE)
	f.step(Message{AgentID: "S0", ExecutorID: f.proxy, Data: f.seal(f.proxy, &message.ToScheduler{
		Event: &message.ToScheduler_Report{Report: &message.Report{Detail: &message.Report_Proxy{Proxy: &message.ProxyReport{Ready: true}}}},
	})})
	asked = append(asked, f.calls(scheduler.Call_RECONCILE)...)
	for _, c := range asked {
		for _, q := range c.Reconcile.Tasks {
			if t := f.c.state.Tasks[q.TaskID.Value]; t != nil {
				f.step(f.updateOf(t, mesos.TASK_RUNNING))
			}
		}
	}
	if _, err := f.c.Changes(); err != nil {
		panic(err)
	}
}

// settle brings the farm to mine with all that it has.
func (f *farm) settle() {
	for id := range f.c.offers.byID {
		f.step(Rescind{id})
	}
	f.c.pace.window = paceMost
	if f.c.paused() { // by the benchmark of pauses
		f.step(Pause{Why: "to be measured"})
	}
	for i := 0; ; i++ {
		f.second()
		f.free = f.free[:0]
		var tasks []*Task
		for _, name := range f.agents {
			a := f.c.agents[name]
			if a == nil || len(a.tasks) == 0 {
				f.free = append(f.free, name)
				continue
			}
			tasks = append(tasks, a.tasks...)
			a.until, a.failures = 0, decaying{}
		}
		for _, t := range tasks {
			switch {
			case t.Kill != "":
				f.step(f.updateOf(t, mesos.TASK_KILLED))
			case t.State != stateRunning:
				f.step(f.updateOf(t, mesos.TASK_RUNNING))
			case f.c.clock-t.run.since > silentLife/2 && (t.run.reportAt == never || f.c.clock-t.run.reportAt > silentLife/2):
				f.step(f.reportOf(t)) // else it counts as hung before long
			}
		}
		clear(f.c.causes)
		if len(f.free) == 0 && f.c.recon.pending == 0 && i >= 4 {
			return
		}
		for _, agent := range f.free[:min(len(f.free), paceMost)] {
			f.step(f.offerOf(agent))
		}
	}
}

func (f *farm) anAgent() string { return f.agents[f.rnd.IntN(len(f.agents))] }

func (f *farm) aMiner() *Task { return f.c.agents[f.anAgent()].tasks[0] }

func (f *farm) someMiners(k int) (tasks []*Task) {
	for _, i := range f.rnd.Perm(f.n)[:k] {
		tasks = append(tasks, f.c.agents[f.agents[i]].tasks...)
	}
	return tasks
}

// endSome ends miners, and leaves their agents free.
func (f *farm) endSome(k int) {
	f.free = f.free[:0]
	for _, t := range f.someMiners(k) {
		f.free = append(f.free, t.AgentID)
		f.step(f.updateOf(t, mesos.TASK_LOST, mesos.REASON_AGENT_REMOVED))
	}
}

// starting launches half as many miners and returns what Mesos then says of them.
func (f *farm) starting(k int) (events []Event) {
	f.endSome((k + 1) / 2)
	for _, agent := range f.free {
		f.step(f.offerOf(agent))
		for _, info := range f.launched() {
			t := f.c.state.Tasks[info.TaskID.Value]
			events = append(events, f.updateOf(t, mesos.TASK_STARTING), f.updateOf(t, mesos.TASK_RUNNING))
		}
	}
	return events[:k]
}

func (f *farm) updateOf(t *Task, state mesos.TaskState, reason ...mesos.TaskStatus_Reason) Event {
	f.uuids++
	s := mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: t.ID}, State: &state, AgentID: &mesos.AgentID{Value: t.AgentID},
		UUID: []byte(fmt.Sprintf("%016d", f.uuids)),
	}
	if len(reason) > 0 {
		s.Reason = &reason[0]
	}
	return Update{s}
}

func (f *farm) offerOf(agent string, resources ...mesos.Resource) Event {
	f.offers++
	if len(resources) == 0 {
		resources = []mesos.Resource{scalar("cpus", 4, ""), scalar("mem", 4096, ""), ports(31000, 31009)}
	}
	return Offers{[]mesos.Offer{{
		ID: mesos.OfferID{Value: "O" + strconv.Itoa(f.offers)}, AgentID: mesos.AgentID{Value: strings.Clone(agent)}, Hostname: "host-" + agent,
		Resources: resources, AllocationInfo: &mesos.Resource_AllocationInfo{Role: strp("mining")},
	}}}
}

func (f *farm) reportOf(t *Task) Event {
	miner := &message.MinerReport{
		ProxiesEpoch: t.run.knownEpoch, Hashrate: 47e6, Threads: 4, Kernel: "hybrid-avx2-roll", State: "mining", JobAgeMs: 100,
	}
	if f.real != nil {
		miner.Proxy, miner.Host, miner.Yielded = f.real.proxy, &f.real.host, &message.Yielded{Count: 7, CpuUs: 1e9, AwayUs: 1e6}
	}
	return Message{AgentID: t.AgentID, ExecutorID: t.ID, Data: f.seal(t.ID, &message.ToScheduler{
		Event: &message.ToScheduler_Report{Report: &message.Report{
			Sequence: uint64(f.now.UnixNano()), UptimeMs: uint64(f.now.Sub(simEpoch).Milliseconds()), ExecutorDigest: t.Digest,
			Shares: &message.Shares{Accepted: 12, Difficulty: 1000}, Detail: &message.Report_Miner{Miner: miner},
		}},
	})}
}
