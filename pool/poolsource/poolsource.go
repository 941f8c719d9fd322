// Package poolsource makes work of other people's Stratum pools, and hands them the shares
// that they want.
//
//	poolsource.go  the source: jobs come, and go on as work
//	work.go        what miners search of a job
//	flights.go     shares on their way to the pool, until it has answered
//	payout.go      whom a job pays
package poolsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"lode/internal/sleep"
	"lode/pool/jobs"
	"lode/pool/share"
	"lode/pool/source"
	"lode/pool/space"
	"lode/pool/upstream"
	"lode/stratum"
)

const (
	// takeInterval is the least time between two looks at a pool's jobs.
	takeInterval = 20 * time.Millisecond
	checkTimeout = 10 * time.Second // for the login, and for the first job
)

// Options of a Source. Those from Network on must be set for Run.
type Options struct {
	URL            string // stratum+tcp://host:port or stratum+tls://host:port
	User, Password string // "": as in the URL
	CA             []byte // PEM certificates to trust; nil: the system's
	// ExpectAddress is an address that the coinbase of each job must pay to; "": any.
	ExpectAddress string
	// SuggestDifficulty is asked for; 0: nothing is.
	SuggestDifficulty float64
	// WholeExtranonce gives all of the pool's extranonce2 to one miner.
	WholeExtranonce bool
	Mask            uint32 // version bits that miners may roll

	// Network is that of our nodes; "": not known.
	Network func() string
	// Note is told the news of a block that was handed to the pool.
	Note   func(hash, what string)
	Now    func() time.Time
	Logger *slog.Logger
}

// Source gives the work of a Stratum pool. It implements source.Pool.
type Source struct {
	o       Options
	url     string // without credentials
	log     *slog.Logger
	options stratum.ClientOptions
	client  *stratum.Client
	counts  counts

	report source.Reporter // set by Run
	given  *jobs.Work      // reported last; for Run

	// connection is the generation of the present one, spoke of the last one on which a share
	// was answered, mute of the last one that ended because none was any more.
	connection, spoke, mute atomic.Uint64
	mutes                   mutes // for Run

	mu      sync.Mutex // guards the rest
	space   *space.Space
	e1      string // extranonce1 that space is for
	e2size  int
	moves   []time.Time // of the space, within a connection
	since   uint64      // generation of the connection
	retries []*flight   // without an answer, oldest first
	blocks  int         // shares that are blocks, without an answer
	untold  int         // refused shares that people have not heard of
	told    time.Time   // when they did last
}

var _ source.Pool = (*Source)(nil)

// New makes a source of a pool. It does not connect: Run and Check do.
func New(o Options) (*Source, error) {
	address, err := url.Parse(o.URL)
	if err != nil || address.Host == "" {
		return nil, errors.New("pool address: not a URL, want stratum+tcp://host:port")
	}
	if address.User != nil && o.User == "" {
		o.User = address.User.Username()
		o.Password, _ = address.User.Password()
	}
	address.User = nil
	if o.User == "" {
		return nil, fmt.Errorf("pool %s: no user: give --pool-user", address)
	}
	s := &Source{o: o, url: address.String(), log: o.Logger}
	s.options = stratum.ClientOptions{
		URL: s.url, User: o.User, Password: o.Password, UserAgent: "lode-proxy", CA: o.CA,
		VersionMask: o.Mask, NoVersionRolling: o.Mask == 0, SubscribeExtranonce: true,
		SuggestDifficulty: stratum.Difficulty(o.SuggestDifficulty), Logger: o.Logger,
	}
	if s.client, err = stratum.NewClient(s.options); err != nil {
		return nil, fmt.Errorf("pool %s: %w", s.url, err)
	}
	return s, nil
}

// URL implements source.Source.
func (s *Source) URL() string { return s.url }

// Kind implements source.Source.
func (s *Source) Kind() upstream.Kind { return upstream.Pool }

// Close implements source.Source.
func (s *Source) Close() {}

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, report source.Reporter) {
	s.report = report
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { _ = s.client.Run(ctx) }) // its error is that of ctx
	look := time.NewTicker(time.Second)
	defer look.Stop()
	known := false // whether anything was reported
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.client.Assignments():
			known = true
			s.connection.Store(a.Generation)
			if a.Job == nil {
				why := a.Why
				if why == nil {
					why = errNothing
				}
				report.Lost(fmt.Errorf("%s: %w", s.url, why))
				continue
			}
			s.take(&a)
			s.sendAgain()
			_ = sleep.For(ctx, takeInterval)
		case <-look.C:
			s.expire()
			if s.mutes.tooMany(s.mute.Load(), s.spoke.Load()) {
				report.Condemned(fmt.Errorf("%s: %w", s.url, errMute))
			}
			if err := s.client.State().Err; !known && err != nil {
				known = true
				report.Lost(fmt.Errorf("%s: %w", s.url, err))
			}
		}
	}
}

// mutes counts connections in a row on which no share was answered, though the pool was there.
type mutes struct {
	last uint64 // generation
	n    int
}

// mostMutes is how many of them there may be: on a line that is cut none can be answered once.
const mostMutes = 2

// tooMany counts the connection that ended last for want of answers.
func (m *mutes) tooMany(mute, spoke uint64) bool {
	if mute == m.last {
		return false
	}
	if spoke > m.last {
		m.n = 0
	}
	if m.last = mute; spoke < mute {
		m.n++
	}
	return m.n >= mostMutes
}

var errMute = errors.New("it answers no share")

var errNothing = errors.New("it sends nothing that can be mined on")

// take passes an assignment on.
func (s *Source) take(a *stratum.Assignment) {
	if err := s.checkPayout(a); err != nil {
		s.report.Condemned(fmt.Errorf("%s: %w", s.url, err))
		return
	}
	if s.given != nil {
		// Miners are at it: they would begin anew and find the same shares. The pool may know
		// the job by its last id alone.
		if from := s.given.Origin.(*work); from.repeats(a) {
			from.assignment.Store(a)
			s.report.Work(s.given)
			return
		}
	}
	w, err := s.make(a)
	if errors.Is(err, errRestless) {
		s.report.Condemned(fmt.Errorf("%s: %w", s.url, err))
		return
	}
	if err != nil {
		s.report.Lost(fmt.Errorf("%s: %w", s.url, err))
		return
	}
	s.given = w
	s.report.Work(w)
}

func (s *Source) make(a *stratum.Assignment) (*jobs.Work, error) {
	where, err := s.spaceFor(a)
	if err != nil {
		return nil, err
	}
	network, err := stratum.TargetFromBits(a.Job.Bits)
	if err != nil {
		return nil, err
	}
	from := &work{from: s, difficulty: float64(a.Difficulty), target: a.Difficulty.Target()}
	from.assignment.Store(a)
	w := &jobs.Work{
		Prev: a.Job.PrevBlock, Bits: a.Job.Bits, Network: network,
		NetworkDifficulty: float64(network.Difficulty()),
		Version:           a.Job.Version, Mask: a.VersionMask & s.o.Mask,
		Time: a.Job.Time, MinTime: a.Job.Time, MaxTime: a.Job.Time + timeRoom, Since: s.o.Now(), Clean: a.Job.Clean,
		Space: where, Origin: from, Taker: from,
	}
	if height, ok := a.Job.Height(); ok {
		w.Height = height
	}
	return w, nil
}

// spaceFor is the extranonce space that the pool left us. It stays the same for as
// long as the pool's extranonce1 does, over reconnections too.
func (s *Source) spaceFor(a *stratum.Assignment) (*space.Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.space != nil && s.e1 == string(a.Extranonce1) && s.e2size == a.Extranonce2Size {
		return s.space, nil
	}
	if err := s.move(a); err != nil {
		return nil, err
	}
	prefix := space.Split(a.Extranonce2Size)
	if s.o.WholeExtranonce {
		prefix = 0
	} else if prefix == 0 {
		return nil, fmt.Errorf("its extranonce2 of %d bytes is too small to be shared among miners", a.Extranonce2Size)
	}
	sp, err := space.New(a.Extranonce1, prefix, a.Extranonce2Size-prefix, share.Memory)
	if err != nil {
		return nil, err
	}
	s.space, s.e1, s.e2size = sp, string(a.Extranonce1), a.Extranonce2Size
	return sp, nil
}

// A pool that gives another extranonce1 more than mostMoves times in movesTime, without a
// new connection, is left: each time miners have to begin anew, and most to connect anew.
const (
	mostMoves = 10
	movesTime = time.Minute
)

var errRestless = fmt.Errorf("%w: it gave %d other extranonces within %v", upstream.ErrViolation, mostMoves, movesTime)

// move counts another search space. s is locked.
func (s *Source) move(a *stratum.Assignment) error {
	if s.since != a.Generation {
		s.since, s.moves = a.Generation, nil
		return nil
	}
	now := s.o.Now()
	s.moves = append(s.moves, now)
	if len(s.moves) <= mostMoves {
		return nil
	}
	if s.moves = s.moves[1:]; now.Sub(s.moves[0]) < movesTime {
		s.moves = nil
		return errRestless
	}
	return nil
}

// Check implements source.Source.
func (s *Source) Check(ctx context.Context) (string, error) {
	opts := s.options
	opts.Timeout, opts.FirstJobTimeout = checkTimeout, checkTimeout
	session, err := stratum.Dial(ctx, opts)
	if wait, ok := opts.Follow(err); ok && sleep.For(ctx, min(wait, checkTimeout)) == nil {
		session, err = stratum.Dial(ctx, opts)
	}
	if err != nil {
		return "", err
	}
	defer session.Close()
	a := session.Current()
	if a.Job == nil {
		return "", errors.New("it sends no job")
	}
	if _, err := s.make(&a); err != nil {
		return "", err
	}
	if err := s.checkPayout(&a); err != nil {
		return "", err
	}
	return fmt.Sprintf("logged in; difficulty %g, version mask %08x, extranonce2 of %d bytes",
		float64(a.Difficulty), a.VersionMask, a.Extranonce2Size), nil
}
