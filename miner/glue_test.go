package miner

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lode/miner/internal/scan"
)

// A machine in the time of a synctest bubble: cpus that hashing threads share with neighbours
// of control groups of the same weight, so that the kernel gives each a turn.
type machine struct {
	mu   sync.Mutex
	used []time.Duration // cpu time of each thread
	// gaps are the greatest times between two yields of each thread, or since the begin; yielded
	// is when the last one was.
	gaps, yielded []time.Duration
	// busy says whether somebody computes on the cpu of a thread, beside whether somebody does on
	// the other cpu of its core.
	busy, beside func(thread int, now time.Duration) bool
	throttle     func(now time.Duration) (periods, throttled uint64)
	pressure     func(now time.Duration) (machine, own time.Duration)
	cpus         func(now time.Duration) int
	cycle        func(now time.Duration) float64
	began        time.Time
	batch        time.Duration // of one on a free core
	log          strings.Builder
}

const (
	batchHashes = 1000
	turn        = 3 * time.Millisecond // of a thread on a cpu that several want
)

func never(int, time.Duration) bool { return false }

func newMachine(threads int, batch time.Duration) *machine {
	return &machine{
		used: make([]time.Duration, threads), gaps: make([]time.Duration, threads), yielded: make([]time.Duration, threads), busy: never, beside: never, began: time.Now(), batch: batch,
		cycle: func(time.Duration) float64 { return 1e-9 },
	}
}

func (m *machine) now() time.Duration { return time.Since(m.began) }

// compute lets a thread have cpu time for a batch.
func (m *machine) compute(thread int) {
	need := m.batch
	if m.beside(thread, m.now()) {
		need = need * 8 / 5
	}
	// Whoever has had its turn waits while another has one.
	m.mu.Lock()
	before := m.used[thread]
	m.used[thread] += need
	m.mu.Unlock()
	if before/turn != (before+need)/turn && m.busy(thread, m.now()) {
		time.Sleep(turn)
	}
	time.Sleep(need)
}

// sleep lets a thread sleep, and then wait for its turn.
func (m *machine) sleep(thread int, d time.Duration) {
	time.Sleep(d)
	if m.busy(thread, m.now()) {
		time.Sleep(turn)
	}
}

// yield notes for how long somebody who is not preempted for may have waited.
func (m *machine) yield(thread int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaps[thread] = max(m.gaps[thread], m.now()-m.yielded[thread])
	m.yielded[thread] = m.now()
}

// scanner is that of a thread of the machine.
type machineScanner struct {
	m      *machine
	thread int
}

func (machineScanner) Reset(*scan.Job) {}

func (s machineScanner) Scan(uint32, int) []scan.Candidate {
	s.m.compute(s.thread)
	return nil
}

// engineOn runs an engine that senses on a machine until stop is called; call it in a bubble.
func engineOn(m *machine, pair bool) (e *Engine, stop func()) {
	return engineWith(Options{Sense: true}, m, pair)
}

func engineWith(o Options, m *machine, pair bool) (e *Engine, stop func()) {
	k := &scan.Kernel{Name: "machine", Nonces: 1, States: 1, Batch: batchHashes}
	o.Threads, o.Log = len(m.used), slog.New(slog.NewTextHandler(&m.log, nil))
	e = newEngine(o, kernelPair{plain: k}, allNonces)
	for i, w := range e.workers {
		w.scanners[0] = readyScanner{k, machineScanner{m, i}}
	}
	e.system = system{
		cores:   func() cores { return nil },
		allowed: func() []int { return make([]int, m.cpusNow()) },
		throttling: func() (periods, throttled uint64, ok bool) {
			if m.throttle == nil {
				return 0, 0, false
			}
			periods, throttled = m.throttle(m.now())
			return periods, throttled, true
		},
		pressure: func() (machine, own time.Duration, ok bool) {
			if m.pressure == nil {
				return 0, 0, false
			}
			machine, own = m.pressure(m.now())
			return machine, own, true
		},
		cpuTime: func(i int) time.Duration {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.used[i] + 1
		},
		sleep: m.sleep,
		yield: m.yield,
		cycle: func() float64 { return m.cycle(m.now()) },
	}
	e.SetWork(easyWork(32))
	return e, startOn(e, places(pair, len(m.used))...)
}

// startOn runs an engine on places, or anywhere, until stop is called.
func startOn(e *Engine, places ...place) (stop func()) {
	if places == nil {
		places = make([]place, len(e.workers))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.run(ctx, places) }()
	return func() {
		cancel()
		<-done
	}
}

// places are those of threads that have a core each, or of two on one core.
func places(pair bool, n int) []place {
	list := make([]place, n)
	shared := new(sharedCore)
	for i := range list {
		list[i].alone = !pair
		if pair {
			list[i].shared = shared
		}
	}
	return list
}

func (m *machine) cpusNow() int {
	if m.cpus == nil {
		return len(m.used)
	}
	return m.cpus(m.now())
}

// rate is the share of what free cores would give that an engine hashes in a time.
func (m *machine) rate(e *Engine, d time.Duration) float64 {
	before := e.Stats().Hashes
	time.Sleep(d)
	free := float64(d) / float64(m.batch) * batchHashes * float64(len(m.used))
	return float64(e.Stats().Hashes-before) / free
}

// visit says whether it is the time in which there is somebody.
func visit(now time.Duration) bool { return now > 2*time.Second && now < 6*time.Second }

// within says whether a figure is in bounds.
func within(t *testing.T, what string, got, least, greatest float64) {
	t.Helper()
	if got < least || got > greatest {
		t.Errorf("%s: %.3f, want %v to %v", what, got, least, greatest)
	}
}

func TestEngineBesideSomebodyWhoComputes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(1, 100*time.Microsecond)
		m.busy = func(_ int, now time.Duration) bool { return visit(now) }
		e, stop := engineOn(m, false)
		defer stop()
		within(t, "alone", m.rate(e, 1900*time.Millisecond), 0.999, 1.001)
		if y := e.Stats().Yielded; y.Count != 0 || y.Parked != 0 {
			t.Errorf("alone: %+v", y)
		}
		time.Sleep(600 * time.Millisecond) // in which the thread learns
		within(t, "beside somebody", m.rate(e, 3*time.Second), 0.00001, 0.05)
		y := e.Stats().Yielded
		if y.Count == 0 || y.Parked < 2*time.Second || y.P99 > 4*time.Millisecond {
			t.Errorf("beside somebody: %+v", y)
		}
		time.Sleep(700 * time.Millisecond)
		within(t, "alone again", m.rate(e, 2*time.Second), 0.999, 1.001)
	})
}

// Somebody who wakes up on a thread's cpu and is not preempted for gets it at the next yield.
func TestThreadsYield(t *testing.T) {
	for name, o := range map[string]Options{"none": {}, "nice": {Nice: 19}, "idle": {Idle: true}, "sense": {Sense: true}} {
		for _, batch := range []time.Duration{20 * time.Microsecond, 100 * time.Microsecond, 300 * time.Microsecond} {
			t.Run(name+" with batches of "+batch.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMachine(2, batch)
					_, stop := engineWith(o, m, false)
					time.Sleep(time.Second)
					stop()
					for i, gap := range m.gaps {
						switch {
						case name == "none" && m.yielded[i] != 0:
							t.Error("a thread yielded")
						case name != "none" && (gap >= giveEvery+batch || m.yielded[i] < time.Second-giveEvery-batch):
							t.Errorf("thread %d: %v between two yields, the last after %v", i, gap, m.yielded[i])
						case name != "none" && batch < giveEvery && gap < giveEvery:
							t.Errorf("thread %d yields each %v, which costs more than need be", i, gap)
						}
					}
				})
			})
		}
	}
}

// A parked thread turns to new work, and ends, when its park is over.
func TestParkedEngineHearsOfWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(1, 100*time.Microsecond)
		m.busy = func(_ int, now time.Duration) bool { return now > time.Second }
		e, stop := engineOn(m, false)
		time.Sleep(3 * time.Second)
		began := make(chan struct{}, 1)
		w := easyWork(32)
		root := w.MerkleRoot
		w.MerkleRoot = func(extranonce2 uint64) [32]byte {
			select {
			case began <- struct{}{}:
			default:
			}
			return root(extranonce2)
		}
		set := time.Now()
		e.SetWork(w)
		<-began
		if took := time.Since(set); took > 150*time.Millisecond {
			t.Errorf("new work after %v", took)
		}
		end := time.Now()
		stop()
		if took := time.Since(end); took > 150*time.Millisecond {
			t.Errorf("ended after %v", took)
		}
	})
}

// Somebody on the other cpu of a core slows batches down: the thread leaves the core.
func TestEngineBesideSomebodyOnTheCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(1, 100*time.Microsecond)
		m.beside = func(_ int, now time.Duration) bool { return visit(now) }
		e, stop := engineOn(m, false)
		defer stop()
		time.Sleep(2600 * time.Millisecond)
		within(t, "beside somebody", m.rate(e, 3*time.Second), 0.00001, 0.02)
		time.Sleep(700 * time.Millisecond)
		within(t, "alone again", m.rate(e, 2*time.Second), 0.999, 1.001)
	})
}

// Of two threads on a core one meets somebody: both park.
func TestThreadsOfACoreParkTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(2, 100*time.Microsecond)
		m.busy = func(thread int, now time.Duration) bool { return thread == 0 && visit(now) }
		e, stop := engineOn(m, true)
		defer stop()
		within(t, "alone", m.rate(e, 1900*time.Millisecond), 0.999, 1.001)
		time.Sleep(600 * time.Millisecond)
		before := e.workers[1].hashes.Load()
		time.Sleep(3 * time.Second)
		other := float64(e.workers[1].hashes.Load()-before) / (float64(3*time.Second/m.batch) * batchHashes)
		within(t, "the thread whose cpu is free", other, 0.001, 0.2)
		time.Sleep(700 * time.Millisecond)
		within(t, "alone again", m.rate(e, 2*time.Second), 0.999, 1.001)
	})
}

// Cpus that are unplugged, or taken out of the process' set, take threads with them, and bring
// them back.
func TestUnpluggedCPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(4, 10*time.Millisecond)
		m.cpus = func(now time.Duration) int {
			switch {
			case now < 10*time.Second:
				return 4
			case now < 20*time.Second:
				return 1
			case now < 30*time.Second:
				return 3
			case now < 40*time.Second:
				return 0 // nothing is known
			}
			return 4
		}
		e, stop := engineOn(m, false)
		defer stop()
		for _, want := range []float64{4, 1, 3, 4, 4} {
			time.Sleep(2 * time.Second) // it looks once a second
			within(t, "threads", 4*m.rate(e, 7*time.Second), want-0.05, want+0.05)
			time.Sleep(time.Second)
		}
	})
}

// A control group that stops its threads gets fewer of them, and all when it stops none.
func TestThrottledEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(4, 10*time.Millisecond)
		var periods, throttled uint64
		var last, used time.Duration
		m.throttle = func(now time.Duration) (uint64, uint64) {
			// Ten periods a second; who uses more than two of the four cpus is stopped in each.
			periods += 10
			m.mu.Lock()
			defer m.mu.Unlock()
			sum := time.Duration(0)
			for _, d := range m.used {
				sum += d
			}
			if float64(sum-used)/float64(now-last) > 2 && now < 100*time.Second {
				throttled += 10
			}
			last, used = now, sum
			return periods, throttled
		}
		e, stop := engineOn(m, false)
		defer stop()
		time.Sleep(30 * time.Second)
		within(t, "cpus with a quota of 2", 4*m.rate(e, 50*time.Second), 1.4, 2.1)
		if n := e.active.Load(); n > 3 {
			t.Errorf("%d threads", n)
		}
		time.Sleep(200 * time.Second)
		within(t, "cpus without stops", 4*m.rate(e, 10*time.Second), 3.95, 4.01)
	})
}

// Others who wait for a cpu while the threads have all of them get some, if that is what helps,
// and for as long as they are there. The engine's own waiting counts for nothing.
func TestEngineUnderPressure(t *testing.T) {
	for _, c := range []struct {
		name        string
		others, own func(threads float64) float64 // share of the time that somebody waits
		least, most float64                       // threads of four, while there is pressure
		told        bool                          // the operator is
	}{
		{"fewer threads help", func(n float64) float64 { return max(0, n-2) / 2 }, func(float64) float64 { return 0.2 }, 1.5, 2.9, true},
		{"others wait all the same", func(float64) float64 { return 0.8 }, func(float64) float64 { return 0.1 }, 3.3, 3.99, true},
		{"only its own threads wait", func(float64) float64 { return 0 }, func(float64) float64 { return 1 }, 3.85, 4.01, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(4, 40*time.Millisecond)
				// Somebody wants a turn on the first cpu now and then.
				m.busy = func(thread int, now time.Duration) bool {
					return thread == 0 && now%(4*time.Second) < 100*time.Millisecond
				}
				var machine, own, last, used time.Duration
				m.pressure = func(now time.Duration) (time.Duration, time.Duration) {
					m.mu.Lock()
					defer m.mu.Unlock()
					sum := time.Duration(0)
					for _, d := range m.used {
						sum += d
					}
					if passed := now - last; passed > 0 && now < 5*time.Minute {
						threads := float64(sum-used) / float64(passed)
						ours := time.Duration(c.own(threads) * float64(passed))
						own += ours
						machine += ours + time.Duration(c.others(threads)*float64(passed))
					}
					last, used = now, sum
					return machine, own
				}
				e, stop := engineOn(m, false)
				time.Sleep(time.Minute)
				within(t, "threads", 4*m.rate(e, 4*time.Minute), c.least, c.most)
				time.Sleep(2 * time.Minute)
				within(t, "threads when nobody waits", 4*m.rate(e, 30*time.Second), 3.85, 4.01)
				stop()
				log := m.log.String()
				if strings.Contains(log, "others wait for cpus") != c.told || strings.Contains(log, "all threads hash again") != c.told || strings.Count(log, "\n") > 40 {
					t.Errorf("the log says\n%s", log)
				}
			})
		})
	}
}

// A clock that falls slows batches down as somebody on the core does, but is no reason to
// leave it; nor is one that was faster for a while.
func TestFallingClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(1, 100*time.Microsecond)
		// As slow as beside somebody, but it is the clock.
		m.beside = func(_ int, now time.Duration) bool { return now < time.Second || now > 2*time.Second }
		m.cycle = func(now time.Duration) float64 {
			if m.beside(0, now) {
				return 1.6e-9
			}
			return 1e-9
		}
		e, stop := engineOn(m, false)
		defer stop()
		time.Sleep(4 * time.Second)
		if y := e.Stats().Yielded; y.Parked > 10*time.Millisecond {
			t.Errorf("parked for nobody: %+v", y)
		}
	})
}
