package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lode/internal/sleep"
	"lode/stratum"
)

// run is what a Run is made of.
type run struct {
	opts   Options
	dialer *dialer
	login  login
	jobs   jobCache
	slots  []*slot
	// opening holds one for each connection that may be on its way to its first job.
	opening    chan struct{}
	broadcasts *broadcasts
	shares     shareCounts
	slow       hostile
	garbage    hostile
	cancel     context.CancelCauseFunc
	kind       int           // what its connections are
	control    *run          // nil: none
	begun      chan struct{} // closed when it begins to measure

	measuring, stamped                        atomic.Bool
	mining, failed, lost, notifications       atomic.Int64
	stormRounds, stormCut                     atomic.Int64
	connected, loggedIn, firstJob             histogram
	spread, submit, lag, stormBack, stormLast histogram
	second                                    atomic.Pointer[histogram] // submit latencies of this second
	window                                    atomic.Pointer[histogram] // the same of a trial; nil: there is none now
	attacks                                   []Attack
	ramped, measured                          time.Duration
	atEnd                                     stock

	mu     sync.Mutex // guards what follows
	errors map[string]int
	series []Second
	notes  []string
	tried  []Trial

	memory      *Memory // nil: none is watched
	watchFailed bool
}

// Phase is what a run is doing.
type Phase string

// The phases of a run, in their order.
const (
	Ramping   Phase = "ramp"
	Measuring Phase = "measure"
	Draining  Phase = "drain"
)

// Progress is where a run stands.
type Progress struct {
	Phase          Phase
	Done, Of       time.Duration // of the phase; for Ramping Connected counts
	Mining, Wanted int
	Submitted      int64
	Accepted       int64
	FalseRejects   int64
	Broadcasts     int
}

// maxSettle is how long the ramp may take beyond its time until every connection has
// been tried, whatever came of it.
const maxSettle = 2 * time.Minute

// Run puts load on a pool and reports. When ctx ends early, what was measured until
// then is reported, with the error of ctx. Any other error with a nil report means
// that nothing could be measured.
func Run(ctx context.Context, opts Options) (*Report, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	opts.setDefaults()
	r, err := prepare(ctx, opts)
	if err != nil {
		return nil, err
	}
	report := &Report{Pool: opts.Pool, Started: time.Now(), CPUs: runtime.GOMAXPROCS(0)}
	if err := r.probe(ctx); err != nil {
		return nil, err
	}
	if opts.Control != "" {
		if r.control, err = prepare(ctx, opts.atControl()); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
		if err := r.control.probe(ctx); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	err = r.all(ctx)
	r.fill(report)
	return report, err
}

// probe logs in once, and says before the load begins if there will be no shares.
func (r *run) probe(ctx context.Context) error {
	difficulty, err := probe(ctx, r.dialer, &r.login)
	if err != nil {
		if errors.Is(err, io.EOF) && !r.opts.NoVersionRolling {
			err = fmt.Errorf("%w: it has closed the connection (some pools do at mining.configure: try --no-version-rolling)", err)
		}
		return fmt.Errorf("pool %s: %w", r.opts.Pool, err)
	}
	r.judgeDifficulty(difficulty)
	return nil
}

func prepare(ctx context.Context, opts Options) (*run, error) {
	hostPort, secure, err := stratum.ParseURL(opts.Pool)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	target, err := resolve(ctx, hostPort)
	if err != nil {
		return nil, err
	}
	if err := opts.checkRemote(target.Addr()); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(opts.files()); err != nil {
		return nil, err
	}
	d, err := newDialer(target, host, secure, opts.CA)
	if err != nil {
		return nil, err
	}
	if opts.Watch != 0 {
		if _, err := resident(opts.Watch); err != nil {
			return nil, &OptionError{"Watch", err.Error()}
		}
	}
	r := &run{opts: opts, dialer: d, login: newLogin(&opts), opening: make(chan struct{}, opts.Opening), begun: make(chan struct{})}
	if r.attacks, err = parseAttacks(opts.Hostile, secure, opts.API != ""); err != nil {
		return nil, &OptionError{"Hostile", err.Error()}
	}
	r.broadcasts = newBroadcasts(opts.Origin, &r.spread)
	r.second.Store(new(histogram))
	r.slow.wanted, r.garbage.wanted = opts.SlowReaders, opts.Garbage
	for i := range opts.Connections {
		r.slots = append(r.slots, &slot{run: r, index: i})
	}
	return r, nil
}

// judgeDifficulty says so where a difficulty is one for which no shares are solved.
func (r *run) judgeDifficulty(d stratum.Difficulty) {
	if hashes := hashesFor(d); r.opts.Shares > 0 && hashes > r.opts.MaxHashes {
		r.note("the pool gives difficulty %s: a share takes %.3g hashes, more than the %.3g that are spent on one; "+
			"without a lower difficulty no shares are sent (ask for one with --difficulty, or configure the pool)", difficultyText(d), hashes, r.opts.MaxHashes)
	}
}

// note adds a sentence to the report and tells it at once.
func (r *run) note(format string, args ...any) {
	r.remark(format, args...)
	r.opts.Notice(fmt.Sprintf(format, args...))
}

// remark adds a sentence to the report.
func (r *run) remark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// fail ends the run with an error of its own.
func (r *run) fail(err error) { r.cancel(err) }

// all opens the connections, measures, and waits for everything to end.
func (r *run) all(outer context.Context) error {
	// The miners stay until the last verdicts are there, also after an early end.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	r.cancel = cancel
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	busy, stop := context.WithCancel(outer)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // an error of our own

	beside, part := context.WithCancel(busy)
	defer part()
	if r.control != nil {
		wg.Go(func() { r.accompany(beside) })
	}
	r.ramp(ctx, busy, &wg)
	if busy.Err() == nil && r.mining.Load() == 0 {
		return r.nobody()
	}
	if r.control != nil {
		select {
		case <-r.control.begun:
		case <-busy.Done():
		}
	}
	r.measure(busy)
	part()
	r.drain(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return outer.Err()
}

// nobody is the error for a run in which no connection came as far as to a job.
func (r *run) nobody() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, times := "no answer", 0
	for text, n := range r.errors {
		if n > times {
			most, times = text, n
		}
	}
	return fmt.Errorf("pool %s: none of %d connections got work: %s", r.opts.Pool, len(r.slots), most)
}

// ramp opens the connections, evenly over the time given, and returns when each has
// been tried, or busy ends. The connections last until ctx ends.
func (r *run) ramp(ctx, busy context.Context, wg *sync.WaitGroup) {
	begin := time.Now()
	r.slow.start(ctx, wg, r, slowReaders, r.readSlowly)
	r.garbage.start(ctx, wg, r, garbage, r.sendGarbage)
	var tried sync.WaitGroup
	tried.Add(len(r.slots))
	for i, s := range r.slots {
		wg.Go(func() {
			// Each waits for its moment by itself.
			at := time.Duration(float64(r.opts.Ramp) * float64(i) / float64(len(r.slots)))
			if sleep.For(busy, time.Until(begin.Add(at))) == nil {
				s.live(ctx, sync.OnceFunc(tried.Done))
			} else {
				tried.Done()
			}
		})
	}
	all := make(chan struct{})
	wg.Go(func() {
		tried.Wait()
		close(all)
	})
	limit := time.After(r.opts.Ramp + maxSettle)
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	defer func() { r.ramped = time.Since(begin) }()
	for {
		select {
		case <-all:
			return
		case <-busy.Done():
			return
		case <-limit:
			r.note("not all connections were tried within %v; measuring with those that are there", r.opts.Ramp+maxSettle)
			return
		case <-ticker.C:
			r.progress(Ramping, time.Since(begin), r.opts.Ramp)
		}
	}
}

// measure is the time that the report is about.
func (r *run) measure(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	begin := time.Now()
	defer func() { r.measured = time.Since(begin) }()
	r.broadcasts.begin(begin.UnixNano())
	r.measuring.Store(true)
	close(r.begun)
	if r.opts.Shares > 0 {
		due := make(chan task, 1024)
		wg.Go(func() { r.pace(ctx, due) })
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() { r.solve(ctx, due) })
		}
	}
	if r.opts.StormSize > 0 {
		wg.Go(func() { r.storms(ctx) })
	}
	of := r.opts.measures(len(r.attacks))
	over := make(chan struct{})
	wg.Go(func() {
		defer close(over)
		if len(r.attacks) > 0 {
			r.trials(ctx)
		} else {
			_ = sleep.For(ctx, of)
		}
	})
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-over:
			return
		case <-ticker.C:
		}
		r.progress(Measuring, time.Since(begin), of)
		if n%4 == 0 {
			r.everySecond(time.Since(begin))
		}
	}
}

// everySecond closes the books of a second.
func (r *run) everySecond(since time.Duration) {
	r.broadcasts.settle(unixNow(), false)
	r.review()
	h := r.second.Swap(new(histogram))
	latency := h.latency()
	memory := r.watch(since)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.series) < maxSeries {
		r.series = append(r.series, Second{
			At: since, Mining: int(r.mining.Load()), Accepted: r.shares.accepted.Load(), FalseRejects: r.shares.falseRejects.Load(),
			SubmitP50: latency.P50, SubmitP99: latency.P99, SubmitMax: latency.Max, Resident: memory,
		})
	}
}

func (r *run) review() {
	now := unixNow()
	for _, s := range r.slots {
		if l := s.link.Load(); l != nil {
			l.review(now)
		}
	}
}

// maxSeries bounds the seconds of a report to a day.
const maxSeries = 24 * 60 * 60

// drain waits for the last verdicts and broadcasts.
func (r *run) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Drain)
	defer cancel()
	begin := time.Now()
	for sleep.For(ctx, 50*time.Millisecond) == nil && (r.pending() || r.broadcasts.arriving(unixNow())) {
		r.review()
		r.progress(Draining, time.Since(begin), r.opts.Drain)
	}
	r.measuring.Store(false)
	r.broadcasts.settle(unixNow(), true)
	r.atEnd = r.look()
}

// look takes stock of the miners while they are still connected.
func (r *run) look() (s stock) {
	for _, slot := range r.slots {
		l := slot.link.Load()
		if l == nil {
			continue
		}
		l.mu.Lock()
		if l.work != nil {
			s.mining++
			s.difficulties = append(s.difficulties, float64(l.space.difficulty))
			if hashesFor(l.space.difficulty) > r.opts.MaxHashes {
				s.tooHard++
			}
		}
		s.unanswered += len(l.waiting)
		s.undecided += len(l.doubts)
		l.waiting, l.doubts = nil, nil
		l.mu.Unlock()
	}
	slices.Sort(s.difficulties)
	r.shares.unanswered.Add(int64(s.unanswered))
	r.shares.undecided.Add(int64(s.undecided))
	return s
}

// stock is what there was at the end.
type stock struct {
	mining, tooHard       int
	unanswered, undecided int
	difficulties          []float64 // sorted
}

func (r *run) pending() bool {
	for _, s := range r.slots {
		if l := s.link.Load(); l != nil && l.pending() > 0 {
			return true
		}
	}
	return false
}

// answered counts a pool's verdict on a share.
func (r *run) answered(took time.Duration) {
	r.submit.record(took)
	r.second.Load().record(took)
	if h := r.window.Load(); h != nil {
		h.record(took)
	}
}

func (r *run) progress(phase Phase, done, of time.Duration) {
	b := r.broadcasts
	b.mu.Lock()
	broadcasts := b.count
	b.mu.Unlock()
	r.opts.Progress(Progress{
		Phase: phase, Done: min(done, of), Of: of, Mining: int(r.mining.Load()), Wanted: len(r.slots),
		Submitted: r.shares.submitted.Load(), Accepted: r.shares.accepted.Load(), FalseRejects: r.shares.falseRejects.Load(), Broadcasts: broadcasts,
	})
}
