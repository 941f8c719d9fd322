package stratum

import (
	"io"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// crowdOf logs n miners in over pipes and drops what they are sent.
func crowdOf(t *testing.T, s *Server, l *pipeListener, n int) {
	for range n {
		stay(t, l, "192.0.2.1")
	}
	synctest.Wait()
	if ready := s.Stats().Ready.Load(); ready != int64(n) {
		t.Fatalf("%d of %d are ready", ready, n)
	}
}

// Jobs that are published overtake those that they make useless, and no others.
func TestPublish(t *testing.T) {
	type job struct {
		id    string
		clean bool
		after time.Duration // since the one before
	}
	const slow = 10 * time.Second // what a broadcast takes
	for name, c := range map[string]struct {
		jobs []job
		last []string // ids that the last miner gets
	}{
		"one":                             {[]job{{"a", true, 0}}, []string{"a"}},
		"refresh after clean":             {[]job{{"a", true, 0}, {"b", false, time.Second}}, []string{"a", "b"}},
		"clean after refresh":             {[]job{{"a", false, 0}, {"b", true, time.Second}}, []string{"b"}},
		"clean after clean":               {[]job{{"a", true, 0}, {"b", true, time.Second}}, []string{"b"}},
		"refresh after refresh":           {[]job{{"a", false, 0}, {"b", false, time.Second}}, []string{"b"}},
		"refreshes after clean":           {[]job{{"a", true, 0}, {"b", false, time.Second}, {"c", false, time.Second}}, []string{"a", "c"}},
		"clean after refreshes and clean": {[]job{{"a", true, 0}, {"b", false, time.Second}, {"c", true, time.Second}}, []string{"c"}},
		"nothing is on its way":           {[]job{{"a", false, 0}, {"b", false, 2 * slow}, {"c", true, 2 * slow}}, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				const miners = 1000
				crowdOf(t, s, l, miners)
				last := s.ready.fastestFirst()[miners-1]
				var mu sync.Mutex
				var got []string
				for _, j := range c.jobs {
					time.Sleep(j.after)
					begin := time.Now()
					s.Publish(EncodeJob(&Job{ID: j.id, Clean: j.clean}), func(c *Conn) {
						time.Sleep(slow / miners)
						if c == last {
							mu.Lock()
							got = append(got, j.id)
							mu.Unlock()
						}
					})
					if took := time.Since(begin); took > 0 {
						t.Errorf("Publish took %v", took)
					}
				}
				time.Sleep(5 * slow)
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(got, c.last) {
					t.Errorf("the last miner got %v, want %v", got, c.last)
				}
			})
		})
	}
}

// Jobs that come faster than they can be brought to all reach the last miner all the same, and
// are not left to those that are first.
func TestPublishWithoutEnd(t *testing.T) {
	for name, clean := range map[string]func(i int) bool{
		"refreshes":  func(int) bool { return false },
		"new blocks": func(int) bool { return true },
		"both":       func(i int) bool { return i%2 == 0 },
		"many clean": func(i int) bool { return i%3 != 0 },
		"some clean": func(i int) bool { return i%3 == 0 },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
				p.disconnected = nil
				const miners = 640
				crowdOf(t, s, l, miners)
				const each = 10 * time.Millisecond
				got := map[*Conn]time.Time{}
				var mu sync.Mutex
				longest, begin := time.Duration(0), time.Now()
				for i := range 100 {
					s.Publish(EncodeJob(&Job{ID: strconv.Itoa(i), Clean: clean(i)}), func(c *Conn) {
						time.Sleep(each)
						mu.Lock()
						defer mu.Unlock()
						last := got[c]
						if last.IsZero() {
							last = begin
						}
						longest, got[c] = max(longest, time.Since(last)), time.Now()
					})
					time.Sleep(500 * time.Millisecond)
				}
				time.Sleep(2 * miners * each)
				mu.Lock()
				defer mu.Unlock()
				if len(got) != miners || longest > 3*miners*each {
					t.Errorf("%d of %d miners got a job, one not for %v", len(got), miners, longest)
				}
			})
		})
	}
}

func TestPublishEndsWithTheServer(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		crowdOf(t, s, l, 3)
		s.Publish(EncodeJob(&Job{ID: "a"}), func(*Conn) { time.Sleep(time.Second) })
		s.Publish(EncodeJob(&Job{ID: "b", Clean: true}), func(*Conn) { time.Sleep(time.Second) })
		s.Close()
		s.Publish(EncodeJob(&Job{ID: "c"}), func(*Conn) { t.Error("published after the end") })
	})
}

// The fastest miners come first, by the difficulty of shares that were accepted: what
// they only wish for counts for nothing.
func TestFastestFirst(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		worth := Difficulty(0) // that of the connection
		p.submit = func(_ *Conn, s *Share) error {
			if s.Nonce == 0 {
				return errJobNotFound
			}
			s.Worth = worth
			return nil
		}
		var mu sync.Mutex
		difficulties := []Difficulty{16, 1e-6, 4096, 1 << 50, 512, 0.25, 1e-12, 3e20}
		next := 0
		p.authorized = func(c *Conn) {
			mu.Lock()
			defer mu.Unlock()
			c.SetData(difficulties[next])
			c.SetDifficulty(difficulties[next])
			next++
		}
		var miners []net.Conn
		for range difficulties {
			miners = append(miners, stay(t, l, "192.0.2.1"))
		}
		order := func() (list []Difficulty) {
			s.Conns(func(c *Conn) { list = append(list, c.Data().(Difficulty)) })
			return list
		}
		bad := []byte(submitLine[:len(submitLine)-14] + `00000000"]}` + "\n")
		for _, m := range miners {
			_, _ = m.Write(bad)
		}
		synctest.Wait()
		if got := order(); !slices.Equal(got, difficulties) {
			t.Errorf("order %v without an accepted share", got)
		}
		for _, m := range miners {
			io.WriteString(m, submitLine)
		}
		synctest.Wait()
		want := slices.Clone(difficulties)
		slices.Sort(want)
		slices.Reverse(want)
		if got := order(); !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
		// One of them becomes slow, others leave.
		s.Conns(func(c *Conn) {
			if c.Data() == Difficulty(1<<50) {
				c.SetDifficulty(1e-3)
			}
		})
		io.WriteString(miners[3], submitLine)
		miners[2].Close()
		miners[7].Close()
		synctest.Wait()
		if got := order(); !slices.Equal(got, []Difficulty{512, 16, 0.25, 1 << 50, 1e-6, 1e-12}) {
			t.Errorf("order %v after changes", got)
		}
		// Who was told much has a share of before that.
		worth = 1e-8
		io.WriteString(miners[4], submitLine)
		synctest.Wait()
		if got := order(); !slices.Equal(got, []Difficulty{16, 0.25, 1 << 50, 1e-6, 512, 1e-12}) {
			t.Errorf("order %v after a share that is worth little", got)
		}
	})
}

func TestClasses(t *testing.T) {
	before := unproven
	for d := Difficulty(math.SmallestNonzeroFloat64); d.Valid(); d *= 1.5 {
		class := classOf(d)
		if class < before || class > maxClass {
			t.Fatalf("class %d of %v after %d", class, d, before)
		}
		before = class
	}
	if classOf(0) <= unproven || classOf(Difficulty(math.Inf(1))) > maxClass {
		t.Error("a class is out of bounds")
	}
}

// A mask that is what it was is no reason to walk over all miners.
func TestUnchangedMask(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		crowdOf(t, s, l, 100)
		job := EncodeJob(&Job{ID: "a"})
		work := func(mask uint32) float64 {
			return testing.AllocsPerRun(10, func() { s.SetVersionMask(mask) })
		}
		if n := work(DefaultVersionMask); n != 0 {
			t.Errorf("%v allocations for the mask that there is", n)
		}
		s.Broadcast(job, func(c *Conn) { c.SetVersionMask(DefaultVersionMask) })
		if n := s.Stats().Notifications.Load(); n != 0 {
			t.Errorf("%d notifications", n)
		}
	})
}

// sink is a socket that takes what it is sent in the time that a system call needs.
type sink struct {
	net.Conn
	cost time.Duration
	at   atomic.Int64
}

func (s *sink) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *sink) Close() error                     { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Read([]byte) (int, error)         { select {} }
func (s *sink) Write(b []byte) (int, error)      { return len(b), nil }
func (s *sink) spend() {
	for end := time.Now().Add(s.cost); time.Now().Before(end); {
	}
	s.at.Store(time.Now().UnixNano())
}

// BenchmarkBroadcastOrder is the time from a job to the writes for its miners, the mean of
// all weighted with their hashrates, first and last. Hashrates are spread as in a farm of
// mixed devices (log-normal over three powers of ten). A write takes 15 µs, what it does
// on a loopback socket: see BenchmarkCrowd for real ones. "joined" is the order in which
// miners came.
func BenchmarkBroadcastOrder(b *testing.B) {
	for _, n := range []int{10_000, 50_000} {
		for _, order := range []string{"joined", "fastest first"} {
			b.Run(strconv.Itoa(n)+"/"+order, func(b *testing.B) { benchmarkOrder(b, n, order == "fastest first") })
		}
	}
}

func benchmarkOrder(b *testing.B, n int, proven bool) {
	s := NewServer(ServerOptions{}, &testPool{})
	random := rand.New(rand.NewPCG(1, 2))
	type miner struct {
		*sink
		hashrate float64
	}
	miners := map[*Conn]*miner{}
	for range n {
		m := &miner{&sink{cost: 15 * time.Microsecond}, math.Exp(1.7 * random.NormFloat64())}
		c := newConn(s, m.sink)
		c.difficulty = Difficulty(m.hashrate)
		miners[c] = m
		s.addReady(c)
		if proven {
			c.proven(c.difficulty)
		}
	}
	job := simnetJob()
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	var weighted, first, last float64
	for b.Loop() {
		encoded := EncodeJob(job)
		s.Broadcast(encoded, func(c *Conn) { miners[c].spend() })
		var sum, total, least, most float64
		least = math.Inf(1)
		for _, m := range miners {
			ms := float64(m.at.Load()-encoded.Since.UnixNano()) / 1e6
			sum += ms * m.hashrate
			total += m.hashrate
			least, most = min(least, ms), max(most, ms)
		}
		weighted, first, last = weighted+sum/total, first+least, last+most
	}
	b.ReportMetric(weighted/float64(b.N), "ms-weighted")
	b.ReportMetric(first/float64(b.N), "ms-first")
	b.ReportMetric(last/float64(b.N), "ms-last")
}

// TestRefreshLeavesProcessors: a job that can wait is not sent by all processors at once:
// shares are judged meanwhile. A clean one is.
func TestRefreshLeavesProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for clean, want := range map[bool]int64{false: 2, true: 4} {
		inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, p *testPool) {
			p.disconnected = nil
			crowdOf(t, s, l, 300)
			job := simnetJob()
			job.Clean = clean
			var running, most atomic.Int64
			s.Broadcast(EncodeJob(job), func(*Conn) {
				now := running.Add(1)
				for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
				}
				time.Sleep(time.Millisecond)
				running.Add(-1)
			})
			if got := most.Load(); got != want {
				t.Errorf("clean %v: %d processors of 4 send it, want %d", clean, got, want)
			}
		})
	}
}
