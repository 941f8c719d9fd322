package vardiff_test

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lode/pool/vardiff"
)

const diff1 = 0x1p48 / 0xffff // hashes per share of difficulty 1

// The simulation: miners and a server in virtual time. A miner finds shares as a
// Poisson process at the difficulty of the job that it works on, learns of changes
// after a latency, applies a difficulty with the job after it, and its shares travel
// for a latency too.

type event struct {
	at   time.Time
	kind int
	m    *simMiner
	job  uint64  // of a share or a job
	d    float64 // difficulty of a job; that a share reached
	seq  int     // generation of the miner's search
	conn int     // connection that it belongs to
}

const (
	evFound = iota // the miner finds a share
	evShare        // the share reaches the server
	evJob          // a job (with its difficulty) reaches the miner
	evTick
	evBroadcast
	evRestart
)

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

type simMiner struct {
	rate    float64 // H/s
	latency time.Duration
	// the miner's side
	job  uint64
	work float64 // difficulty it works at
	seq  int
	// the server's side
	v        vardiff.Miner
	book     vardiff.Book
	shares   int // in the measured time
	rejected int
	changes  int
	up       bool
	conn     int // number of the connection
}

type simulation struct {
	r       *rand.Rand
	now     time.Time
	start   time.Time
	queue   events
	config  vardiff.Config
	lastJob uint64
	measure time.Time // shares are counted from here on
}

func (s *simulation) add(after time.Duration, e event) {
	e.at, e.conn = s.now.Add(after), e.m.conn
	heap.Push(&s.queue, e)
}

func (s *simulation) jitter(m *simMiner) time.Duration {
	return m.latency/2 + time.Duration(s.r.Float64()*float64(m.latency))
}

// search has the miner find its next share.
func (s *simulation) search(m *simMiner) {
	m.seq++
	if !m.up || m.work == 0 {
		return
	}
	// No program submits more than some thousand shares a second.
	wait := max(s.r.ExpFloat64()*m.work*diff1/m.rate, 0.0002)
	if wait > 1e6 {
		return
	}
	s.add(time.Duration(wait*float64(time.Second)), event{kind: evFound, m: m, seq: m.seq})
}

// send brings a job to a miner; messages keep their order.
func (s *simulation) send(m *simMiner, job uint64) {
	s.add(m.latency, event{kind: evJob, m: m, job: job, d: m.v.Difficulty()})
}

func (s *simulation) change(m *simMiner) {
	m.changes++
	s.lastJob++
	m.book.Set(s.lastJob, m.v.Difficulty())
	s.send(m, s.lastJob)
}

func (s *simulation) connect(m *simMiner, start float64) {
	m.up = true
	m.conn++
	m.v = vardiff.New(s.config, s.now, start, 0)
	m.book = vardiff.Book{}
	m.book.Set(s.lastJob, m.v.Difficulty())
	s.send(m, s.lastJob)
}

func (s *simulation) step(e event) {
	m := e.m
	s.now = e.at
	switch e.kind {
	case evJob:
		if e.conn != m.conn {
			return // lost with its socket
		}
		m.job, m.work = e.job, e.d
		s.search(m)
	case evFound:
		if e.seq != m.seq || !m.up {
			return
		}
		// The hash reached a difficulty distributed as 1/U above the target.
		reached := m.work / (1 - s.r.Float64())
		s.add(s.jitter(m), event{kind: evShare, m: m, job: m.job, d: reached})
		s.search(m)
	case evShare:
		if e.conn != m.conn {
			return
		}
		judged := m.book.Difficulty(e.job)
		if judged == 0 {
			judged = m.v.Difficulty()
		}
		if e.d < judged*(1-1e-9) {
			m.rejected++
			return
		}
		if !s.measure.IsZero() && s.now.After(s.measure) {
			m.shares++
		}
		if _, changed := m.v.Share(s.config, s.now, judged); changed {
			s.change(m)
		}
	case evTick:
		if _, changed := m.v.Tick(s.config, s.now); changed && m.up {
			s.change(m)
		}
		s.add(5*time.Second, event{kind: evTick, m: m})
	case evRestart:
		last := m.v.Difficulty()
		m.up = false
		m.seq++
		// It comes back at once: shares of before the restart are lost with the socket.
		s.connect(m, last)
		if s.r.IntN(2) == 0 {
			m.rate *= math.Exp(2*s.r.Float64() - 1)
		}
		s.add(time.Duration(float64(time.Hour)*(1+s.r.Float64())), event{kind: evRestart, m: m})
	}
}

func (s *simulation) run(until time.Time) {
	for len(s.queue) > 0 && s.queue[0].at.Before(until) {
		s.step(heap.Pop(&s.queue).(event))
	}
	s.now = until
}

// TestSimulation runs thousands of miners from 10 kH/s to 200 TH/s, with latencies
// up to 3 s and restarts.
func TestSimulation(t *testing.T) {
	count := 1000
	if testing.Short() {
		count = 300
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := &simulation{r: rand.New(rand.NewPCG(seed, 1)), config: vardiff.Config{}, lastJob: 1}
	s.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.start = s.now
	miners := make([]*simMiner, count)
	for i := range miners {
		// 10^4 to 2·10^14 H/s, evenly on the logarithmic scale.
		rate := math.Pow(10, 4+s.r.Float64()*(math.Log10(2e14)-4))
		m := &simMiner{rate: rate, latency: time.Duration(s.r.ExpFloat64() * float64(100*time.Millisecond))}
		m.latency = min(max(m.latency, time.Millisecond), 3*time.Second)
		miners[i] = m
		start := 0.001
		if rate > 1e11 {
			start = 512 // told by their user agent
		}
		s.connect(m, start)
		s.add(time.Duration(s.r.Float64()*float64(5*time.Second)), event{kind: evTick, m: m})
		s.add(time.Duration(s.r.Float64()*float64(time.Hour)), event{kind: evRestart, m: m})
	}
	// They settle within ten minutes, then half an hour counts.
	s.measure = s.start.Add(10 * time.Minute)
	end := s.measure.Add(30 * time.Minute)
	s.run(end)

	rejected, changes, outside := 0, 0, 0
	total := 0
	for _, m := range miners {
		rejected += m.rejected
		changes += m.changes
		total += m.shares
		perMinute := float64(m.shares) / 30
		// 15 a minute wanted; the slowest need less than the least difficulty.
		if perMinute < 15/2.0 || perMinute > 15*2.0 {
			if floor := m.rate / (1e-6 * diff1) * 60; floor > 15/2.0 {
				outside++
				t.Logf("%.3g H/s, latency %v: %.2f shares a minute, difficulty %g", m.rate, m.latency, perMinute, m.v.Difficulty())
			}
		}
	}
	t.Logf("%d miners, %.2f shares a minute each, %.1f changes an hour each", count, float64(total)/30/float64(count), float64(changes)/float64(count)/0.67)
	if rejected != 0 {
		t.Errorf("%d shares were rejected because of a change", rejected)
	}
	if outside > 0 {
		t.Errorf("%d miners are outside of the band", outside)
	}
	if perHour := float64(changes) / float64(count) / 2.17; perHour > 15 {
		t.Errorf("%.1f changes an hour: it thrashes", perHour)
	}
}

// TestRamp measures how long extreme miners take to get near the wanted rate.
func TestRamp(t *testing.T) {
	for _, c := range []struct {
		name        string
		rate, start float64
		limit       time.Duration
		maxShares   int
	}{
		{"200 TH/s from 0.001", 200e12, 0.001, 5 * time.Second, 600},
		{"200 TH/s from 1e-6", 200e12, 1e-6, 5 * time.Second, 800},
		{"1 GH/s from 1e-6", 1e9, 1e-6, 30 * time.Second, 600},
		{"50 kH/s from 512", 5e4, 512, 6 * time.Minute, 100},
		{"10 MH/s from 524288", 1e7, 524288, 6 * time.Minute, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &simulation{r: rand.New(rand.NewPCG(1, 2)), lastJob: 1}
			s.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			m := &simMiner{rate: c.rate, latency: 20 * time.Millisecond}
			s.measure = s.now
			s.connect(m, c.start)
			s.add(time.Second, event{kind: evTick, m: m})
			s.run(s.now.Add(c.limit))
			perMinute := c.rate / diff1 / m.v.Difficulty() * 60
			t.Logf("after %v: difficulty %g (%.1f shares a minute), %d shares, %d changes", c.limit, m.v.Difficulty(), perMinute, m.shares, m.changes)
			if perMinute < 15/4.0 || perMinute > 15*4 {
				t.Errorf("%.2f shares a minute", perMinute)
			}
			if m.shares > c.maxShares {
				t.Errorf("%d shares on the way, at most %d wanted", m.shares, c.maxShares)
			}
			if m.rejected > 0 {
				t.Errorf("%d rejected", m.rejected)
			}
		})
	}
}

// TestBook states what a Book promises: a share is never judged by more than the
// difficulty that its job was sent with, and a lower difficulty holds at once.
func TestBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b vardiff.Book
		job := uint64(rapid.IntRange(0, 5).Draw(t, "first"))
		current := rapid.Float64Range(1e-6, 1e6).Draw(t, "start")
		b.Set(job, current)
		sent := map[uint64]float64{job: current}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			job += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
			for range rapid.IntRange(0, 2).Draw(t, "changes") { // the last one before the job holds
				current = rapid.Float64Range(1e-6, 1e6).Draw(t, "difficulty")
				b.Set(job, current)
			}
			sent[job] = current
			for j, d := range sent {
				judged := b.Difficulty(j)
				if judged <= 0 { // then the present difficulty would be what it is judged by
					t.Fatalf("job %d is forgotten", j)
				}
				if judged > d {
					t.Fatalf("job %d was sent with %g, judged by %g", j, d, judged)
				}
				if judged > current {
					t.Fatalf("present difficulty %g, job %d judged by %g", current, j, judged)
				}
			}
			if got := b.Difficulty(job); got != current {
				t.Fatalf("present job judged by %g, want %g", got, current)
			}
		}
	})
}

func TestSuggest(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := vardiff.Config{Min: 0.01, Max: 1000}
	for _, x := range []struct{ wish, want float64 }{{5, 5}, {1e-9, 0.01}, {1e9, 1000}, {0.123456, 0.123}} {
		m := vardiff.New(c, now, 1, 0)
		if d, changed := m.Suggest(c, now, vardiff.Wish{Difficulty: x.wish}); d != x.want || !changed {
			t.Errorf("wish %g: %g %v, want %g", x.wish, d, changed, x.want)
		}
	}
	m := vardiff.New(c, now, 1, 0)
	for _, none := range []float64{0, -1, math.NaN()} {
		if d, changed := m.Suggest(c, now, vardiff.Wish{Difficulty: none}); d != 1 || changed {
			t.Errorf("wish %g: %g %v", none, d, changed)
		}
	}
}

// hash has the miner find shares at an even pace of its rate (difficulty per second) for a
// time, and returns how often its difficulty changed.
func hash(m *vardiff.Miner, c vardiff.Config, now *time.Time, rate float64, d time.Duration) (changes int) {
	left := m.Difficulty() / rate
	for end := now.Add(d); now.Before(end); *now = now.Add(time.Second) {
		for left -= 1; left <= 0; left += m.Difficulty() / rate {
			if _, changed := m.Share(c, *now, m.Difficulty()); changed {
				changes++
			}
		}
		if _, changed := m.Tick(c, *now); changed {
			changes++
		}
	}
	return changes
}

// TestWishes: a wish is a new beginning, not an order.
func TestWishes(t *testing.T) {
	var c vardiff.Config
	const rate = 256.0 // 1024 is right for 15 shares a minute
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	settled := func() (vardiff.Miner, *time.Time) {
		now := start
		m := vardiff.New(c, now, 1024, 1)
		if n := hash(&m, c, &now, rate, 10*time.Minute); n != 0 {
			t.Fatalf("%d changes of what is right", n)
		}
		return m, &now
	}
	t.Run("the same again", func(t *testing.T) {
		m, now := settled()
		m.Suggest(c, *now, vardiff.Wish{Difficulty: 300})
		hash(&m, c, now, rate, 10*time.Minute)
		before := m.Difficulty()
		for range 20 {
			if _, changed := m.Suggest(c, *now, vardiff.Wish{Difficulty: 300}); changed {
				t.Fatal("a repeated wish changes the difficulty")
			}
			hash(&m, c, now, rate, 30*time.Second)
		}
		if before < 700 || m.Difficulty() != before {
			t.Errorf("difficulty %g, then %g: want about 1024", before, m.Difficulty())
		}
	})
	t.Run("two in turn", func(t *testing.T) {
		m, now := settled()
		granted := 0
		for i := range 6000 { // ten minutes
			*now = now.Add(100 * time.Millisecond)
			if _, changed := m.Suggest(c, *now, vardiff.Wish{Difficulty: []float64{500, 2000}[i%2]}); changed {
				granted++
			}
		}
		if granted > 31 {
			t.Errorf("%d wishes were granted in ten minutes", granted)
		}
	})
	t.Run("the last one counts", func(t *testing.T) {
		m, now := settled()
		m.Suggest(c, *now, vardiff.Wish{Difficulty: 500})
		m.Suggest(c, *now, vardiff.Wish{Difficulty: 600})
		m.Suggest(c, *now, vardiff.Wish{Difficulty: 700})
		*now = now.Add(19 * time.Second)
		if d, changed := m.Tick(c, *now); changed {
			t.Errorf("%g after 19 s", d)
		}
		*now = now.Add(time.Second)
		if d, changed := m.Tick(c, *now); d != 700 || !changed {
			t.Errorf("%g %v after 20 s, want 700", d, changed)
		}
	})
	t.Run("too high", func(t *testing.T) {
		m, now := settled()
		m.Suggest(c, *now, vardiff.Wish{Difficulty: 1e9})
		hash(&m, c, now, rate, time.Hour)
		if d := m.Difficulty(); d > 3000 {
			t.Errorf("an hour later difficulty %g: want about 1024", d)
		}
	})
	t.Run("too low", func(t *testing.T) {
		m, now := settled()
		if d, _ := m.Suggest(c, *now, vardiff.Wish{Difficulty: 1e-6}); d < 1024/20 {
			t.Errorf("difficulty %g for a miner that has shown that 1024 is right", d)
		}
		if hash(&m, c, now, rate, time.Minute); m.Difficulty() < 700 {
			t.Errorf("a minute later difficulty %g", m.Difficulty())
		}
	})
	t.Run("cannot do with less", func(t *testing.T) {
		m, now := settled()
		if d, _ := m.Suggest(c, *now, vardiff.Wish{Difficulty: 5000, Least: true}); d != 5000 {
			t.Errorf("difficulty %g", d)
		}
		if hash(&m, c, now, rate, time.Hour); m.Difficulty() != 5000 {
			t.Errorf("an hour later difficulty %g", m.Difficulty())
		}
		*now = now.Add(time.Hour)
		if d, changed := m.Suggest(c, *now, vardiff.Wish{Difficulty: 100, Least: true}); d != 5000 || changed {
			t.Errorf("a lower bound lowers the difficulty to %g", d)
		}
	})
	for name, list := range map[string][]vardiff.Wish{
		"a bound, then less":      {{Difficulty: 5000, Least: true}, {Difficulty: 100}},
		"less, then a bound":      {{Difficulty: 100}, {Difficulty: 5000, Least: true}},
		"a bound, then more":      {{Difficulty: 5000, Least: true}, {Difficulty: 7000}},
		"a bound between wishes":  {{Difficulty: 7000}, {Difficulty: 5000, Least: true}, {Difficulty: 6000}},
		"another bound, in time":  {{Difficulty: 9000, Least: true}, {Difficulty: 5000, Least: true}},
		"a bound, then less than": {{Difficulty: 5000, Least: true}, {Difficulty: 4999}},
	} {
		for how, pause := range map[string]time.Duration{"at once": 0, "apart": time.Minute} {
			t.Run(name+", "+how, func(t *testing.T) {
				now := start
				m := vardiff.New(c, now, 1024, 64)
				for _, w := range list {
					m.Suggest(c, now, w)
					now = now.Add(pause)
				}
				for range 24 * 60 * 12 {
					now = now.Add(5 * time.Second)
					m.Tick(c, now)
				}
				if d := m.Difficulty(); d != 5000 {
					t.Errorf("after a day of silence %g: it cannot do with less than 5000", d)
				}
			})
		}
	}
}

// TestSilence: a silent miner's difficulty stops where its device or its past says.
func TestSilence(t *testing.T) {
	var c vardiff.Config
	for name, x := range map[string]struct{ start, least, rate, low, high float64 }{
		"a device that has shown its rate": {16384, 64, 4096, 16384.0 / 80, 16384.0 / 50},
		"a device that has not":            {16384, 64, 0, 64, 64},
		"of an unknown kind":               {0.001, 0, 0, 1e-6, 1e-6},
		"of an unknown kind, shown":        {0.001, 0, 0.00025, 0.001 / 80, 0.001 / 50},
		"a floor above the start":          {16, 64, 0, 64, 64},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			m := vardiff.New(c, now, x.start, x.least)
			if x.rate > 0 {
				hash(&m, c, &now, x.rate, 5*time.Minute)
			}
			for range 24 * 60 * 12 {
				now = now.Add(5 * time.Second)
				m.Tick(c, now)
			}
			if d := m.Difficulty(); d < x.low || d > x.high {
				t.Errorf("after a day of silence %g, want %g to %g", d, x.low, x.high)
			}
		})
	}
}

// TestBurstAfterSilence: a line was cut, and what the miner found meanwhile comes at once.
// That does not make it a thousand times as fast.
func TestBurstAfterSilence(t *testing.T) {
	for _, n := range []int{1, 10, 30, 100, 1000} {
		for _, gap := range []time.Duration{0, 50 * time.Microsecond, time.Millisecond} {
			m := vardiff.New(vardiff.Config{}, time.Unix(0, 0), 16384, 64)
			now := time.Unix(0, 0)
			pass := func(times int, each time.Duration) {
				for range times {
					now = now.Add(each)
					m.Share(vardiff.Config{}, now, m.Difficulty())
				}
			}
			pass(150, 4*time.Second)
			usual := m.Difficulty()
			for range 20 {
				now = now.Add(5 * time.Second)
				m.Tick(vardiff.Config{}, now)
			}
			pass(n, gap)
			if d := m.Difficulty(); d > 2*usual || d < usual/8 {
				t.Errorf("%d shares, one each %v: difficulty %g, before %g", n, gap, d, usual)
			}
			// It goes on as before; and who is really faster now is noticed.
			pass(30, 4*time.Second)
			if d := m.Difficulty(); d > 4*usual || d < usual/8 {
				t.Errorf("%d shares, one each %v, and then some: difficulty %g, before %g", n, gap, d, usual)
			}
			usual = m.Difficulty()
			pass(1000, 4*time.Millisecond)
			if d := m.Difficulty(); d < 100*usual {
				t.Errorf("a thousand times as fast, and the difficulty goes from %g to %g", usual, d)
			}
		}
	}
}

// TestPulses: who is silent and then sends more than the silence can have brought is fast, and
// no cut line: it would have as many easy shares as it likes.
func TestPulses(t *testing.T) {
	c := vardiff.Config{Min: 1e-6}
	now := time.Unix(1_700_000_000, 0)
	m := vardiff.New(c, now, 1e-6, 0)
	for range 10 { // as it should be
		now = now.Add(4 * time.Second)
		m.Share(c, now, m.Difficulty())
	}
	accepted := 0
	for range 20 {
		for range 35 {
			now = now.Add(time.Second)
			m.Tick(c, now)
		}
		for range 1000 {
			now = now.Add(time.Millisecond)
			before := m.Difficulty()
			if before < 1e-4 { // the miner is no faster than that
				m.Share(c, now, before)
				accepted++
			}
		}
	}
	if accepted > 3000 {
		t.Errorf("%d shares were taken in 12 minutes, of a miner that is to send 180", accepted)
	}
}

// TestSlowerAndFaster: a change of the hash rate by half is noticed, also after a day.
func TestSlowerAndFaster(t *testing.T) {
	var c vardiff.Config
	for name, factor := range map[string]float64{"half": 0.5, "twice": 2} {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		m := vardiff.New(c, now, 1024, 0)
		hash(&m, c, &now, 256, 24*time.Hour)
		hash(&m, c, &now, 256*factor, 15*time.Minute)
		if d := m.Difficulty() / (1024 * factor); d < 0.7 || d > 1.4 {
			t.Errorf("%s the rate for 15 min after a day: difficulty %g", name, m.Difficulty())
		}
	}
}

// TestOneStep: few shares lower the difficulty to an eighth at most, however slow the
// miner seems, and raise it to a thousand times at most, however fast.
func TestOneStep(t *testing.T) {
	var c vardiff.Config
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := vardiff.New(c, now, 1<<20, 0)
	now = now.Add(20 * time.Second)
	m.Share(c, now, 1)
	m.Share(c, now, 1) // for a job that was sent with 1
	if d := m.Difficulty(); d != 1<<17 {
		t.Errorf("difficulty %g, want an eighth of %d", d, 1<<20)
	}
	m = vardiff.New(c, now, 1, 0)
	for range 10 {
		m.Share(c, now, 1)
	}
	if d := m.Difficulty(); d != 1000 {
		t.Errorf("ten shares at once: difficulty %g, want 1000", d)
	}
}

// TestBounds: the operator's settings hold for every kind of device, and whatever a miner does.
func TestBounds(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		config             vardiff.Config
		start, least, rate float64 // rate: difficulty per second
		want               float64
		wish               float64
	}{
		"silent":                   {vardiff.Config{}, 1, 0, 0, 1e-6, 0},
		"silent, a minimum":        {vardiff.Config{Min: 0.5}, 1, 0, 0, 0.5, 0},
		"silent, of a kind":        {vardiff.Config{}, 1000, 64, 0, 64, 0},
		"the same, a greater wish": {vardiff.Config{}, 1000, 64, 0, 64, 2000},
		"the same, a lower wish":   {vardiff.Config{}, 1000, 64, 0, 16, 16},
		"a maximum below that":     {vardiff.Config{Max: 10}, 5, 64, 0, 10, 0},
		"fast":                     {vardiff.Config{}, 1, 0, 1e15, 1e12, 0},
		"fast, a maximum":          {vardiff.Config{Max: 1000}, 1, 0, 1e6, 1000, 0},
		"15 a minute by default":   {vardiff.Config{}, 512, 0, 256, 1024, 0},
		"60 a minute":              {vardiff.Config{SharesPerMinute: 60}, 512, 0, 256, 256, 0},
	} {
		t.Run(name, func(t *testing.T) {
			now := begin
			m := vardiff.New(c.config, now, c.start, c.least)
			m.Suggest(c.config, now, vardiff.Wish{Difficulty: c.wish})
			for now.Before(begin.Add(2 * time.Hour)) {
				if c.rate == 0 {
					now = now.Add(5 * time.Second)
					m.Tick(c.config, now)
					continue
				}
				now = now.Add(max(time.Duration(m.Difficulty()/c.rate*float64(time.Second)), 10*time.Millisecond))
				m.Share(c.config, now, m.Difficulty())
			}
			if d := m.Difficulty() / c.want; d < 0.7 || d > 1.4 {
				t.Errorf("difficulty %g, want %g", m.Difficulty(), c.want)
			}
		})
	}
}

// TestSettled: after a change the next one waits for 20 s, but for a burst.
func TestSettled(t *testing.T) {
	var c vardiff.Config
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := vardiff.New(c, now, 1, 0)
	for range 100 { // five times as fast as wanted: less than a burst
		now = now.Add(800 * time.Millisecond)
		d, changed := m.Share(c, now, m.Difficulty())
		if !changed {
			continue
		}
		if since := now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); since < 20*time.Second {
			t.Errorf("difficulty %g after %v", d, since)
		}
		return
	}
	t.Error("no change at all")
}

func ExampleMiner() {
	var c vardiff.Config
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := vardiff.New(c, now, 1, 0)
	for range 100 { // 100 shares within a second
		now = now.Add(10 * time.Millisecond)
		if d, changed := m.Share(c, now, m.Difficulty()); changed {
			fmt.Println("difficulty", d)
			break
		}
	}
	// Output: difficulty 400
}
