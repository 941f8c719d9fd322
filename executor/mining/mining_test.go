package mining

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"lode/miner"
	"lode/stratum"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is a miner.Searcher that finds what the test says.
type engine struct {
	hits chan miner.Hit
	err  error

	mu   sync.Mutex
	work *miner.Work
	sets int
}

func newEngine() *engine { return &engine{hits: make(chan miner.Hit, 16)} }

func (e *engine) Run(ctx context.Context) error {
	if e.err != nil {
		return e.err
	}
	<-ctx.Done()
	return nil
}

func (e *engine) SetPaused(bool) {}

func (e *engine) SetWork(w *miner.Work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.work = w
	e.sets++
}

func (e *engine) current() *miner.Work {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.work
}
func (e *engine) Hits() <-chan miner.Hit { return e.hits }
func (e *engine) Stats() miner.Stats     { return miner.Stats{Threads: 1} }

// server is one address that can be up or down.
type server struct {
	up   bool
	jobs chan stratum.Assignment
	lose chan error
}

// network is all servers, and what came to them.
type network struct {
	mu       sync.Mutex
	hang     map[string]time.Time // servers that say nothing any more, since when
	pings    int
	servers  map[string]*server
	attempts []string
	verdict  error
	shares   []string
}

func newNetwork(names ...string) *network {
	n := &network{servers: map[string]*server{}, hang: map[string]time.Time{}}
	for _, name := range names {
		n.servers[name] = &server{up: true, jobs: make(chan stratum.Assignment, 8), lose: make(chan error)}
	}
	return n
}

func (n *network) set(name string, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[name].up = up
}

func (n *network) tried() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	tried := n.attempts
	n.attempts = nil
	return tried
}

func (n *network) submitted() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.shares)
}

func (n *network) connect(pool string) Connection { return connection{n, pool} }

type connection struct {
	n    *network
	pool string
}

var errDown = errors.New("connection refused")

func (c connection) Run(ctx context.Context, on func(stratum.Assignment)) error {
	c.n.mu.Lock()
	c.n.attempts = append(c.n.attempts, c.pool)
	s := c.n.servers[c.pool]
	up := s != nil && s.up
	_, hangs := c.n.hang[c.pool]
	c.n.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if !up {
		return errDown
	}
	on(assignment(c.pool, true))
	for {
		select {
		case a := <-s.jobs:
			on(a)
		case err := <-s.lose:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c connection) Submit(_ context.Context, a stratum.Assignment, extranonce2 []byte, _, nonce, _ uint32) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.shares = append(c.n.shares, fmt.Sprint(c.pool, " ", a.Job.ID, " ", len(extranonce2), " ", nonce))
	return c.n.verdict
}

func (n *network) stop(name string, stopped bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hang, name)
	if stopped {
		n.hang[name] = time.Now()
	}
}

func (n *network) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pings
}

func (c connection) Quiet() time.Duration {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if since, ok := c.n.hang[c.pool]; ok {
		return time.Since(since)
	}
	return 0
}

func (c connection) Ping() {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.pings++
}

func assignment(job string, clean bool) stratum.Assignment {
	return stratum.Assignment{
		Job:         &stratum.Job{ID: job, Clean: clean, Coinbase1: []byte("c1"), Coinbase2: []byte("c2"), Time: 1e9, Version: 0x20000000},
		Extranonce1: []byte{1, 2, 3, 4}, Extranonce2Size: 8, Difficulty: 2,
	}
}

// run starts a Miner in a synctest bubble and ends it with the test.
func run(t *testing.T, n *network, e *engine, pools ...string) (m *Miner, stop func()) {
	m = New(Config{Engine: e, Connect: n.connect, User: "u"})
	m.SetPools(pools)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return m, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a", "b"), newEngine()
		n.set("a", false)
		m, stop := run(t, n, e, "a", "b")
		defer stop()
		synctest.Wait()
		if s := m.Status(); s.Pool != "b" || s.JobSince.IsZero() || e.current() == nil {
			t.Fatalf("%+v, tried %v", s, n.tried())
		}
		n.set("a", true)
		time.Sleep(2 * stableAfter)
		n.servers["b"].lose <- errDown
		synctest.Wait()
		if s := m.Status(); s.Pool != "a" {
			t.Errorf("after b was lost: %+v", s)
		}
	})
}

// A server whose process or machine hangs is left as soon as another one has work, and
// not before.
func TestSilentServerIsLeft(t *testing.T) {
	const patience = 2 * time.Second
	tests := []struct {
		name    string
		pools   []string
		hang    []string
		back    time.Duration // when the first one speaks again; 0: never
		want    string
		within  time.Duration
		patient bool
	}{
		{"the next has work", []string{"a", "b", "c"}, []string{"a"}, 0, "b", patience + patience/2, false},
		{"only the last has", []string{"a", "b", "c"}, []string{"a", "b"}, 0, "c", 2*patience + patience/2, false},
		{"none has", []string{"a", "b"}, []string{"a", "b"}, 0, "a", time.Minute, false},
		{"it was just slow", []string{"a", "b"}, []string{"a"}, patience / 2, "a", time.Minute, false},
		{"it is alone", []string{"a"}, []string{"a"}, 0, "a", time.Minute, false},
		{"servers that need not answer", []string{"a", "b"}, []string{"a"}, 0, "a", time.Minute, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, e := newNetwork("a", "b", "c"), newEngine()
				m, stop := run(t, n, e, test.pools...)
				defer stop()
				if !test.patient {
					m.SetPatience(patience)
				}
				time.Sleep(time.Minute)
				if n.asked() > 0 || m.Status().Pool != "a" {
					t.Fatalf("%d pings of a server that speaks, at %q", n.asked(), m.Status().Pool)
				}
				for _, name := range test.hang {
					n.stop(name, true)
				}
				if test.back > 0 {
					time.AfterFunc(test.back, func() { n.stop("a", false) })
				}
				time.Sleep(test.within)
				synctest.Wait()
				if got := m.Status().Pool; got != test.want || e.current() == nil {
					t.Errorf("at %q, want %q", got, test.want)
				}
				if asked := n.asked() > 0; asked != (!test.patient && len(test.pools) > 1) && test.back == 0 {
					t.Errorf("%d pings", n.asked())
				}
			})
		})
	}
}

// A miner that begins while the first server of its list hangs has work from another
// one as soon.
func TestSilentServerAtTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a", "b"), newEngine()
		n.stop("a", true)
		m, stop := run(t, n, e, "a", "b")
		defer stop()
		m.SetPatience(2 * time.Second)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := m.Status().Pool; got != "b" {
			t.Errorf("at %q", got)
		}
		n.stop("a", false)
		time.Sleep(2 * (probeEvery + stableAfter))
		if got := m.Status().Pool; got != "a" {
			t.Errorf("at %q after the better server came back", got)
		}
	})
}

func TestReturnToABetterServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a", "b"), newEngine()
		n.set("a", false)
		m, stop := run(t, n, e, "a", "b")
		defer stop()
		time.Sleep(10 * time.Minute)
		if s := m.Status(); s.Pool != "b" {
			t.Fatalf("%+v", s)
		}
		if tried := len(n.tried()); tried < 5 || tried > 25 {
			t.Errorf("%d attempts in 10 minutes", tried)
		}

		// It is back, but not for long: nothing changes.
		n.set("a", true)
		for range 3 {
			select {
			case n.servers["a"].lose <- errDown:
			case <-time.After(2 * probeEvery):
				t.Fatal("nobody looks whether the better server is back")
			}
			if s := m.Status(); s.Pool != "b" || e.current() == nil {
				t.Fatalf("%+v", s)
			}
		}

		time.Sleep(2*probeEvery + stableAfter)
		if s := m.Status(); s.Pool != "a" || e.current() == nil {
			t.Errorf("after the better server came back: %+v", s)
		}
	})
}

// The list that is there at the start is no change of it: there is a pause behind the first attempt, too.
func TestPauseBehindTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		n.set("a", false)
		_, stop := run(t, n, e, "a")
		defer stop()
		time.Sleep(firstPause / 4)
		if tried := n.tried(); len(tried) != 1 {
			t.Errorf("%v", tried)
		}
	})
}

func TestAllServersDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a", "b"), newEngine()
		n.set("a", false)
		n.set("b", false)
		m, stop := run(t, n, e, "a", "b")
		defer stop()
		time.Sleep(10 * time.Minute)
		if s := m.Status(); s.Pool != "" || s.LastErr == "" || e.current() != nil {
			t.Errorf("%+v", s)
		}
		if tried := len(n.tried()); tried < 60 || tried > 200 {
			t.Errorf("%d attempts in 10 minutes", tried)
		}
		n.set("b", true)
		time.Sleep(maxPause)
		if s := m.Status(); s.Pool != "b" {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoServersMeansIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		m, stop := run(t, n, e)
		defer stop()
		time.Sleep(time.Hour)
		if tried := n.tried(); len(tried) != 0 || e.current() != nil {
			t.Errorf("tried %v", tried)
		}
		m.SetPools([]string{"a"})
		synctest.Wait()
		if m.Status().Pool != "a" || e.current() == nil {
			t.Errorf("%+v", m.Status())
		}
		m.SetPools(nil)
		synctest.Wait()
		if m.Status().Pool != "" || e.current() != nil {
			t.Errorf("%+v", m.Status())
		}
	})
}

func TestNewListMovesTheConnection(t *testing.T) {
	tests := []struct {
		name  string
		list  []string
		want  string
		moves bool
	}{
		{"another first", []string{"b", "a"}, "b", true},
		{"same first", []string{"a", "b"}, "a", false},
		{"gone", []string{"b"}, "b", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, e := newNetwork("a", "b"), newEngine()
				m, stop := run(t, n, e, "a")
				defer stop()
				synctest.Wait()
				n.tried()
				m.SetPools(test.list)
				synctest.Wait()
				if got := m.Status().Pool; got != test.want {
					t.Errorf("at %q, expected %q", got, test.want)
				}
				if moved := len(n.tried()) > 0; moved != test.moves {
					t.Errorf("moved: %v", moved)
				}
			})
		})
	}
}

func TestLostConnectionLeavesNoWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		m, stop := run(t, n, e, "a")
		defer stop()
		synctest.Wait()
		old := e.current()
		n.set("a", false)
		n.servers["a"].lose <- errDown
		synctest.Wait()
		if e.current() != nil {
			t.Error("the engine still works")
		}
		e.hits <- miner.Hit{Work: old}
		synctest.Wait()
		if s := m.Status(); s.Stale != 1 || len(n.submitted()) != 0 {
			t.Errorf("%+v, submitted %v", s, n.submitted())
		}
	})
}

// TestWithdrawnWork: a server that stays connected, but has no work any more, is left for
// another one of the list, where there is one, and gone back to when it has work for a
// while.
func TestWithdrawnWork(t *testing.T) {
	nothing := stratum.Assignment{}
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a", "b"), newEngine()
		m, stop := run(t, n, e, "a", "b")
		defer stop()
		time.Sleep(time.Minute)
		n.servers["a"].jobs <- nothing
		time.Sleep(withdrawnFor - time.Second)
		if s := m.Status(); e.current() != nil || s.Pool != "" || s.LastErr == "" || len(n.tried()) != 1 {
			t.Errorf("without work: %+v", s)
		}
		n.servers["a"].jobs <- stratum.Assignment{Why: errors.New("difficulty 0")}
		time.Sleep(time.Second / 2)
		if s := m.Status(); s.LastErr != "a: difficulty 0" {
			t.Errorf("the reason is %q", s.LastErr)
		}
		n.servers["a"].jobs <- assignment("a", true)
		time.Sleep(time.Hour)
		if s := m.Status(); s.Pool != "a" || len(n.tried()) != 0 {
			t.Errorf("it had no work for a moment: %+v", s)
		}
		n.servers["a"].jobs <- nothing
		time.Sleep(withdrawnFor + time.Second)
		if s := m.Status(); s.Pool != "b" || e.current() == nil {
			t.Errorf("it has no work any more: %+v", s)
		}
		time.Sleep(2*probeEvery + stableAfter)
		if s := m.Status(); s.Pool != "a" {
			t.Errorf("it has work again: %+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		m, stop := run(t, n, e, "a")
		defer stop()
		synctest.Wait()
		n.servers["a"].jobs <- nothing
		time.Sleep(time.Hour)
		if s := m.Status(); len(n.tried()) != 1 || e.current() != nil || s.Pool != "" {
			t.Errorf("the only one, without work: %+v", s)
		}
		n.servers["a"].jobs <- assignment("a", true)
		synctest.Wait()
		if s := m.Status(); s.Pool != "a" || e.current() == nil {
			t.Errorf("the only one, with work again: %+v", s)
		}
	})
}

// TestServerThatRefusesAll: hashing for a server that takes nothing is wasted where there is
// another one.
func TestServerThatRefusesAll(t *testing.T) {
	for name, c := range map[string]struct {
		pools   []string
		verdict error
		want    string
	}{
		"refused":        {[]string{"a", "b"}, &stratum.Error{Code: 23, Text: "no"}, "b"},
		"stale":          {[]string{"a", "b"}, &stratum.Error{Code: 21, Text: "no"}, "b"},
		"taken":          {[]string{"a", "b"}, nil, "a"},
		"the only one":   {[]string{"a"}, &stratum.Error{Code: 23, Text: "no"}, "a"},
		"without answer": {[]string{"a", "b"}, errors.New("lost"), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, e := newNetwork("a", "b"), newEngine()
				n.verdict = c.verdict
				m, stop := run(t, n, e, c.pools...)
				defer stop()
				for range 30 {
					synctest.Wait()
					e.hits <- miner.Hit{Work: e.current()}
					time.Sleep(3 * time.Second)
				}
				if s := m.Status(); s.Pool != c.want {
					t.Errorf("mining for %q, want %q: %+v", s.Pool, c.want, s)
				}
				if c.want == "b" {
					time.Sleep(distrustTime - time.Minute)
					if s := m.Status(); s.Pool != "b" {
						t.Errorf("back at once: %+v", s)
					}
					time.Sleep(2*probeEvery + time.Minute)
					if s := m.Status(); s.Pool != "a" {
						t.Errorf("never back: %+v", s)
					}
				}
			})
		})
	}
}

func TestSharesAreAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		m, stop := run(t, n, e, "a")
		defer stop()
		synctest.Wait()
		for i, verdict := range []error{
			nil, nil, &stratum.Error{Code: stratum.CodeLowDifficulty}, &stratum.Error{Code: stratum.CodeStale}, stratum.ErrDisconnected,
		} {
			n.mu.Lock()
			n.verdict = verdict
			n.mu.Unlock()
			e.hits <- miner.Hit{Work: e.current(), Nonce: uint32(i)}
			synctest.Wait()
		}
		if s := m.Status(); s.Accepted != 2 || s.Rejected != 1 || s.Stale != 2 || s.Accounted != 4 {
			t.Errorf("%+v", s)
		}
		if got := n.submitted(); len(got) != 5 || got[0] != "a a 8 0" {
			t.Errorf("%q", got)
		}
	})
}

// Old work is searched to its end only by accident; its shares count until a job
// says that they do not.
func TestCleanJobsDropOldHits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, e := newNetwork("a"), newEngine()
		m, stop := run(t, n, e, "a")
		defer stop()
		synctest.Wait()
		first := e.current()
		n.servers["a"].jobs <- assignment("second", false)
		synctest.Wait()
		second := e.current()
		e.hits <- miner.Hit{Work: first, Nonce: 1}
		synctest.Wait()
		n.servers["a"].jobs <- assignment("third", true)
		synctest.Wait()
		e.hits <- miner.Hit{Work: second, Nonce: 2}
		e.hits <- miner.Hit{Work: e.current(), Nonce: 3}
		synctest.Wait()
		got := n.submitted()
		slices.Sort(got)
		if want := []string{"a a 8 1", "a third 8 3"}; !slices.Equal(got, want) {
			t.Errorf("submitted %q, expected %q", got, want)
		}
		if s := m.Status(); s.Accepted != 2 || s.Stale != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A pool may send a job again, after a change of difficulty for instance. What was
// found for it is not to be found again.
func TestARepeatedJobIsSearchedElsewhere(t *testing.T) {
	for _, size := range []int{3, 4, 8} { // of extranonce2
		synctest.Test(t, func(t *testing.T) {
			n, e := newNetwork("a"), newEngine()
			_, stop := run(t, n, e, "a")
			defer stop()
			a := assignment("a", true)
			a.Extranonce2Size = size
			n.servers["a"].jobs <- a
			synctest.Wait()
			first := e.current()
			n.servers["a"].jobs <- a
			synctest.Wait()
			if second := e.current(); second == first || second.MerkleRoot(0) == first.MerkleRoot(0) {
				t.Errorf("%d bytes: the same headers are searched again", size)
			}
		})
	}
}

func TestEngineFailureEndsRun(t *testing.T) {
	e := newEngine()
	e.err = errors.New("no kernel")
	err := New(Config{Engine: e, Connect: newNetwork().connect}).Run(t.Context())
	if !errors.Is(err, e.err) {
		t.Error(err)
	}
}

func TestThreads(t *testing.T) {
	tests := []struct {
		milli, threads int
		duty           float64
	}{
		{0, 1, 0.001}, {100, 1, 0.1}, {999, 1, 0.999}, {1000, 1, 1}, {1001, 2, 0.5005}, {2500, 3, 2.5 / 3}, {64000, 64, 1},
	}
	for _, test := range tests {
		if threads, duty := Threads(test.milli); threads != test.threads || duty != test.duty {
			t.Errorf("%d: %d threads at %v, expected %d at %v", test.milli, threads, duty, test.threads, test.duty)
		}
	}
}

// What is submitted completes the coinbase to the merkle root that was hashed.
func TestExtranonce2(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := assignment("j", true)
		a.Extranonce2Size = rapid.IntRange(1, 16).Draw(t, "size")
		a.VersionMask = rapid.SampledFrom([]uint32{0, stratum.DefaultVersionMask}).Draw(t, "mask")
		a.Job.Version = rapid.Uint32().Draw(t, "version")
		id := &assigned{assignment: a, start: rapid.Uint64Range(0, 1<<53).Draw(t, "start")}
		w := newWork(id)
		if w.Extranonce2Size != min(8, a.Extranonce2Size) || w.Version&w.VersionMask != 0 || w.Version|a.VersionMask != a.Job.Version|a.VersionMask {
			t.Fatalf("%+v", w)
		}
		if a.Extranonce2Size >= bigExtranonce2 && w.MaxTime != w.Time {
			t.Fatal("time is rolled although extranonce2 is big")
		}
		limit := uint64(1)<<(8*min(7, a.Extranonce2Size)) - 1
		x := rapid.Uint64Range(0, limit).Draw(t, "counter")
		y := rapid.Uint64Range(0, limit).Draw(t, "other counter")
		bx, by := id.extranonce2(x), id.extranonce2(y)
		if len(bx) != a.Extranonce2Size || bytes.Equal(bx, by) != (x == y) {
			t.Fatalf("counters %d and %d give %x and %x", x, y, bx, by)
		}
		if w.MerkleRoot(x) != [32]byte(a.Job.MerkleRoot(a.Extranonce1, bx)) {
			t.Fatal("the root is not that of the submitted extranonce2")
		}
	})
}
