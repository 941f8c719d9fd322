// Package mining puts a miner.Searcher to work for Stratum servers: it connects
// to the first of a list that answers, turns its jobs into work, submits what is
// found and accounts for the answers. It knows nothing of Mesos.
//
//	m := mining.New(mining.Config{Engine: engine, User: "worker"})
//	m.SetPools([]string{"pool.example:3333"})
//	err = m.Run(ctx)
//
// While no server has a job for it, the engine idles.
package mining

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lode/miner"
	"lode/stratum"
)

// Connection is one connection to a Stratum server.
type Connection interface {
	// Run connects, subscribes and authorizes, and then serves until the
	// connection or ctx ends. It calls on for each assignment, one after another.
	Run(ctx context.Context, on func(stratum.Assignment)) error
	// Submit hands in a share of an assignment and waits for the verdict: nil:
	// accepted; *stratum.Error: refused; else there was none. version is the
	// complete header version.
	Submit(ctx context.Context, a stratum.Assignment, extranonce2 []byte, ntime, nonce, version uint32) error
}

// watched is a Connection that can be asked whether its server lives.
type watched interface {
	// Quiet is for how long the server has sent nothing.
	Quiet() time.Duration
	// Ping asks it for a sign of life.
	Ping()
}

// Config is what a Miner needs.
type Config struct {
	Engine miner.Searcher
	// Connect makes a connection to an element of SetPools' list, for example with
	// NewSession; nil: a Stratum v1 session with User, Password and UserAgent to
	// what is host:port or a URL as in stratum.ClientOptions.
	Connect                   func(pool string) Connection
	User, Password, UserAgent string
	Log                       *slog.Logger
	// Rand gives jitter from [0,1); nil: a random one.
	Rand func() float64
	// OnShare is told what became of each share, OnJob of each job; nil: nobody. They are
	// called from several goroutines and must not block.
	OnShare func(Share)
	OnJob   func(Job)
}

const (
	// Pauses between attempts when no server of the list works.
	firstPause, maxPause = 500 * time.Millisecond, 15 * time.Second
	// stableAfter is how long a connection with jobs has to last to count as a
	// good one, whose end is followed by an attempt at once.
	stableAfter = 10 * time.Second
	// probeEvery is how often better servers of the list are tried while another one is
	// used. One that has work for stableAfter is gone back to.
	probeEvery = time.Minute
	// withdrawnFor is for how long a server may be without work that it had, before others
	// of the list are tried.
	withdrawnFor = 15 * time.Second
	// A server that has refused refusalCount shares in a row, for refusalTime, is left for
	// others of the list, and not gone back to for distrustTime.
	refusalCount = 10
	refusalTime  = time.Minute
	distrustTime = 5 * time.Minute
	// maxInFlight bounds the submits that wait for an answer.
	maxInFlight = 64
)

// Status is a snapshot of a Miner.
type Status struct {
	Pool      string // connected to, with a job; "": none
	Accepted  uint64
	Rejected  uint64
	Stale     uint64  // refused as such, found for dropped work, or lost with a connection
	Accounted float64 // sum of the difficulties of accepted shares, pdiff
	Best      float64 // greatest difficulty that an accepted share has reached
	Job       Job     // that is searched, or was last
	// JobSince is when the work being searched came; zero: there is none.
	JobSince time.Time
	LastErr  string // of the connections; "": the present one is fine
	Engine   miner.Stats
}

// Miner keeps an engine at work. Its methods may be called from any goroutine.
type Miner struct {
	cfg     Config
	changed chan struct{} // capacity 1: the list has changed
	flights chan struct{} // one element for each submit in flight

	mu       sync.Mutex
	patience time.Duration
	pools    []string
	active   string // being tried or used
	drop     context.CancelCauseFunc
	conn     Connection
	status   Status
	sequence uint64 // of the newest work
	oldest   uint64 // work before it is worthless
	refused  int    // shares in a row, by conn
	since    time.Time
	distrust map[string]time.Time // servers that refused all shares, and until when they are left
}

// assigned is the ID of a miner.Work.
type assigned struct {
	conn       Connection
	assignment stratum.Assignment
	sequence   uint64
	// start is added to the engine's extranonce2: a server may send a job that was
	// searched before (after a change of difficulty, say), and what was found then
	// would be found again.
	start uint64
}

// New prepares a Miner; nothing happens before Run.
func New(cfg Config) *Miner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Connect == nil {
		cfg.Connect = stratumConnect(cfg)
	}
	return &Miner{cfg: cfg, changed: make(chan struct{}, 1), flights: make(chan struct{}, maxInFlight), distrust: make(map[string]time.Time)}
}

var (
	errMoved  = errors.New("the list of servers has changed")
	errBetter = errors.New("a better server is back")
	errNoWork = errors.New("it has no work any more")
	errRefuse = errors.New("it refuses all shares")
)

// SetPools replaces the list of servers, best first; empty: idle. The present
// connection is kept only if it is the best of the new list.
func (m *Miner) SetPools(pools []string) {
	m.mu.Lock()
	m.pools = slices.Clone(pools)
	if m.drop != nil && (len(pools) == 0 || pools[0] != m.active) {
		m.drop(errMoved)
		m.drop = nil
	}
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// SetPatience says how long a server may be silent while another one of the list has
// work; 0: as long as it likes. Those of the list have to answer mining.ping.
func (m *Miner) SetPatience(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.patience = d
}

// SetPaused stops the hashing and keeps the connection, or goes on where it stopped.
func (m *Miner) SetPaused(paused bool) { m.cfg.Engine.SetPaused(paused) }

// Status returns a snapshot.
func (m *Miner) Status() Status {
	m.mu.Lock()
	s := m.status
	m.mu.Unlock()
	s.Engine = m.cfg.Engine.Stats()
	return s
}

// Run hashes until ctx ends (nil) or the engine fails.
func (m *Miner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { m.connectLoop(ctx) })
	group.Go(func() { m.hitLoop(ctx, &group) })
	err := m.cfg.Engine.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("hashing engine: %w", err)
}

// connectLoop keeps one connection up.
func (m *Miner) connectLoop(ctx context.Context) {
	defer m.idle("")
	pause := firstPause
	for next := 0; ctx.Err() == nil; {
		select {
		case <-m.changed: // the list that is read now is the changed one: no wait ends for it
		default:
		}
		m.mu.Lock()
		pools := m.pools
		m.mu.Unlock()
		if len(pools) == 0 {
			m.idle("")
			next, pause = 0, firstPause
			if !m.wait(ctx, 0) {
				return
			}
			continue
		}
		if next >= len(pools) {
			// Everything was tried: breathe.
			next = 0
			jittered := time.Duration((0.5 + m.cfg.Rand()/2) * float64(pause))
			pause = min(2*pause, maxPause)
			if !m.wait(ctx, jittered) {
				return
			}
			continue
		}
		started := time.Now()
		worked, moved, to := m.connect(ctx, pools[next])
		switch {
		case moved:
			m.mu.Lock()
			next, pause = max(0, slices.Index(m.pools, to)), firstPause
			m.mu.Unlock()
		case worked && time.Since(started) >= stableAfter:
			// The best one may be back.
			next, pause = 0, firstPause
		default:
			next++
		}
	}
}

// wait returns after d (0: never), or when the list has changed; false: ctx ended.
func (m *Miner) wait(ctx context.Context, d time.Duration) bool {
	var timeout <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-m.changed:
	case <-timeout:
	}
	return true
}

// probe tries the servers of a list now and then, and returns when one of them has had
// work for a while, or ctx ends.
func (m *Miner) probe(ctx context.Context, servers []string) (found bool) {
	for {
		timer := time.NewTimer(time.Duration((0.5 + m.cfg.Rand()) * float64(probeEvery)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		for _, server := range servers {
			if !m.distrusts(server) && m.works(ctx, server) {
				return true
			}
		}
	}
}

func (m *Miner) distrusts(server string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.distrust[server])
}

// answered notes a server's answer to a share, and leaves it for others if it refuses all.
func (m *Miner) answered(conn Connection, verdict Verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case conn != m.conn:
	case verdict == Accepted:
		m.refused = 0
	case verdict == Lost:
	case m.refused == 0:
		m.refused, m.since = 1, time.Now()
	default:
		if m.refused++; m.refused >= refusalCount && time.Since(m.since) >= refusalTime && len(m.pools) > 1 && m.drop != nil {
			m.distrust[m.active] = time.Now().Add(distrustTime)
			m.drop(errRefuse)
			m.drop = nil
		}
	}
}

// works says whether a server gives work and goes on to be there.
func (m *Miner) works(ctx context.Context, server string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	var steady *time.Timer
	var stable atomic.Bool
	_ = m.cfg.Connect(server).Run(ctx, func(a stratum.Assignment) {
		switch {
		case a.Job == nil && steady != nil:
			steady.Stop()
			steady = nil
		case a.Job != nil && steady == nil:
			steady = time.AfterFunc(stableAfter, func() {
				stable.Store(true)
				cancel()
			})
		}
	})
	if steady != nil {
		steady.Stop()
	}
	return stable.Load()
}

// silent is why a server is left that says nothing, while another one has work.
type silent struct{ to string }

func (s *silent) Error() string { return "it is silent, and " + s.to + " is not" }

// watch returns a server of the list that has work when the one that is used has been
// silent for longer than patience; "": ctx ended.
func (m *Miner) watch(ctx context.Context, pool string, conn watched) string {
	const looks = 8 // within patience
	pinged := false
	for {
		m.mu.Lock()
		patience := m.patience
		others := slices.DeleteFunc(slices.Clone(m.pools), func(p string) bool { return p == pool })
		m.mu.Unlock()
		every := patience / looks
		if patience <= 0 || len(others) == 0 {
			patience, every = 0, time.Second
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ""
		case <-timer.C:
		}
		switch quiet := conn.Quiet(); {
		case patience == 0:
		case quiet < patience/2:
			pinged = false
		case !pinged:
			conn.Ping()
			pinged = true
		case quiet < patience:
		default:
			for _, other := range others {
				if m.answers(ctx, other, patience) && conn.Quiet() >= patience {
					return other
				}
			}
		}
	}
}

// answers says whether a server gives work within a time.
func (m *Miner) answers(ctx context.Context, server string, within time.Duration) (yes bool) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_ = m.cfg.Connect(server).Run(ctx, func(a stratum.Assignment) {
		if a.Job != nil {
			yes = true
			cancel()
		}
	})
	return yes
}

// connect uses one server until its connection ends, or it has been without work for a
// while, or refuses all shares, and there are others. worked: it had a job; moved: the
// list has changed, or another server of it is better now (to).
func (m *Miner) connect(ctx context.Context, pool string) (worked, moved bool, to string) {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn := m.cfg.Connect(pool)
	m.mu.Lock()
	if len(m.pools) == 0 || !slices.Contains(m.pools, pool) { // changed meanwhile
		m.mu.Unlock()
		return false, true, ""
	}
	m.active, m.drop, m.conn, m.refused = pool, cancel, conn, 0
	better := m.pools[:slices.Index(m.pools, pool)]
	others := len(m.pools) > 1
	m.mu.Unlock()
	if len(better) > 0 {
		group.Go(func() {
			if m.probe(ctx, better) {
				cancel(errBetter)
			}
		})
	}
	var withdrawn *time.Timer
	if w, ok := conn.(watched); ok {
		group.Go(func() {
			if to := m.watch(ctx, pool, w); to != "" {
				cancel(&silent{to})
			}
		})
	}
	err := conn.Run(ctx, func(a stratum.Assignment) {
		if worked = a.Job != nil; worked && withdrawn != nil {
			withdrawn.Stop()
			withdrawn = nil
		}
		if !worked && withdrawn == nil && others {
			withdrawn = time.AfterFunc(withdrawnFor, func() { cancel(errNoWork) })
		}
		m.assign(pool, conn, a)
	})
	if withdrawn != nil {
		withdrawn.Stop()
	}
	cause := context.Cause(ctx)
	moved = errors.Is(cause, errMoved) || errors.Is(cause, errBetter)
	if left := (*silent)(nil); errors.As(cause, &left) {
		moved, to = true, left.to
	}
	m.mu.Lock()
	m.active, m.drop, m.conn = "", nil, nil
	m.mu.Unlock()
	switch {
	case moved:
		m.idle("")
		m.cfg.Log.Info("leaving the pool", "pool", pool, "reason", cause)
	case ctx.Err() == nil, errors.Is(cause, errNoWork), errors.Is(cause, errRefuse):
		if ctx.Err() != nil {
			err, worked = cause, false // it is not to be tried again before the others
		}
		if err == nil {
			err = errors.New("the server closed the connection")
		}
		m.idle(pool + ": " + err.Error())
		m.cfg.Log.Warn("no connection to the pool", "pool", pool, "error", err)
	}
	return worked, moved, to
}

// idle takes the work away: what is hashed without a connection is wasted.
func (m *Miner) idle(reason string) {
	m.mu.Lock()
	m.sequence++
	m.oldest = m.sequence
	m.status.Pool, m.status.JobSince, m.status.LastErr = "", time.Time{}, reason
	m.mu.Unlock()
	m.cfg.Engine.SetWork(nil)
}

func (m *Miner) assign(pool string, conn Connection, a stratum.Assignment) {
	if a.Job == nil {
		m.idle(fmt.Sprintf("%s: %v", pool, cmp.Or(a.Why, errNoWork)))
		return
	}
	m.mu.Lock()
	m.sequence++
	id := &assigned{conn: conn, assignment: a, sequence: m.sequence, start: uint64(m.cfg.Rand() * (1 << 53))}
	if a.Job.Clean {
		m.oldest = m.sequence
	}
	if m.status.Pool != pool {
		m.cfg.Log.Info("mining for the pool", "pool", pool, "difficulty", float64(a.Difficulty))
	}
	m.status.Pool, m.status.JobSince, m.status.LastErr = pool, time.Now(), ""
	job := jobOf(pool, &a)
	m.status.Job = job
	m.mu.Unlock()
	m.cfg.Engine.SetWork(newWork(id))
	if m.cfg.OnJob != nil {
		m.cfg.OnJob(job)
	}
}

// hitLoop submits what the engine finds.
func (m *Miner) hitLoop(ctx context.Context, group *sync.WaitGroup) {
	for {
		select {
		case <-ctx.Done():
			return
		case hit := <-m.cfg.Engine.Hits():
			id, ok := hit.Work.ID.(*assigned)
			if !ok || m.worthless(id) {
				continue
			}
			select {
			case m.flights <- struct{}{}:
			case <-ctx.Done():
				return
			}
			group.Go(func() {
				defer func() { <-m.flights }()
				m.submit(ctx, id, &hit)
			})
		}
	}
}

// worthless counts hits for work that was dropped.
func (m *Miner) worthless(id *assigned) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id.sequence < m.oldest {
		m.status.Stale++
		return true
	}
	return false
}

func (m *Miner) submit(ctx context.Context, id *assigned, hit *miner.Hit) {
	a := id.assignment
	begun := time.Now()
	err := id.conn.Submit(ctx, a, id.extranonce2(hit.Extranonce2), hit.Time, hit.Nonce, hit.Version)
	share := judged(&a, hit, err)
	share.Took = time.Since(begun)
	m.count(&share)
	m.answered(id.conn, share.Verdict)
	switch {
	case share.Verdict == Lost && ctx.Err() != nil: // it ended, and so do we
	case m.cfg.OnShare != nil:
		m.cfg.OnShare(share)
	case share.Verdict == Rejected:
		m.cfg.Log.Warn("share rejected", "code", share.Code, "reason", share.Reason, "job", a.Job.ID)
	case share.Verdict != Accepted:
		m.cfg.Log.Debug("share stale or lost", "reason", share.Reason)
	}
}

func (m *Miner) count(share *Share) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch share.Verdict {
	case Accepted:
		m.status.Accepted++
		m.status.Accounted += share.Difficulty
		m.status.Best = max(m.status.Best, share.Reached)
	case Rejected:
		m.status.Rejected++
	default:
		m.status.Stale++
	}
}
