package pool

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/space"
	"lode/stratum"
)

// poolWork is the part of work that a pool gave. It implements jobs.Origin.
type poolWork struct {
	from       *poolSource
	assignment stratum.Assignment
	difficulty float64
	target     stratum.Target // strict: what the pool surely takes
}

const (
	// poolTimeRoom is how far strict pools let a share be ahead of its job, in seconds.
	poolTimeRoom = 600
	// maxHaste is how much more shares than vardiff aims at a pool's low difficulty may
	// make a miner send.
	maxHaste = 16
)

// CapDifficulty lowers a difficulty to what the pool asks for, so that no share that it
// would take is withheld; but not to where miners would drown in their shares.
func (w *poolWork) CapDifficulty(d float64) float64 {
	return min(d, max(w.difficulty, d/maxHaste))
}

// Template implements jobs.Origin: it is the pool's, whatever the key.
func (w *poolWork) Template(size int, _ jobs.Key) (jobs.Template, error) {
	a := &w.assignment
	if want := len(a.Extranonce1) + a.Extranonce2Size; size != want {
		return nil, fmt.Errorf("the miner has %d bytes of extranonce, the pool's job %d", size, want)
	}
	return poolTemplate{a.Job}, nil
}

// OwnCoinbase implements jobs.Origin.
func (w *poolWork) OwnCoinbase() bool { return false }

// poolTemplate is a pool's job: it alone has the transactions.
type poolTemplate struct{ job *stratum.Job }

func (t poolTemplate) Parts() (coinbase1, coinbase2 []byte, branch []chainhash.Hash) {
	return t.job.Coinbase1, t.job.Coinbase2, t.job.MerkleBranch
}

func (t poolTemplate) Block([80]byte, []byte) []byte { return nil }

// forward hands a share on if the pool wants it.
func (w *poolWork) forward(in *stratum.Share, version uint32, extranonce1 []byte, hash *chainhash.Hash) {
	if w.target.MetBy(hash) {
		w.from.submit(w.flight(in, version, extranonce1))
	}
}

// flight is a share on its way to the pool.
type flight struct {
	assignment   stratum.Assignment
	extranonce2  []byte
	ntime, nonce uint32
	version      uint32
	block        string // hash, if it is a block; "": it is not
	since        time.Time
	again        bool // it was sent once already, perhaps in vain
}

// flight makes one. extranonce1 is the miner's: the pool's own with the miner's prefix
// behind it.
func (w *poolWork) flight(in *stratum.Share, version uint32, extranonce1 []byte) *flight {
	prefix := extranonce1[len(w.assignment.Extranonce1):]
	return &flight{
		assignment: w.assignment, extranonce2: append(append(make([]byte, 0, w.assignment.Extranonce2Size), prefix...), in.Extranonce2...),
		ntime: in.Time, nonce: in.Nonce, version: version, since: w.from.p.now(),
	}
}

// poolCounts are the answers of an upstream pool.
type poolCounts struct {
	Accepted, Rejected, Stale, Lost atomic.Uint64
}

// Limits of what is suffered from a pool.
const (
	// takeInterval is the least time between two looks at its jobs.
	takeInterval = 20 * time.Millisecond
	// retryTime is for how long a share without an answer is kept, to be sent again if
	// the pool resumes the session; retryBlockTime is that of a block. At most
	// retryLimit are kept.
	retryTime      = 2 * time.Minute
	retryBlockTime = time.Hour
	retryLimit     = 512
)

// poolSource gives the work of a Stratum pool.
type poolSource struct {
	index  int
	p      *Proxy
	shown  string
	opts   stratum.ClientOptions
	expect string // payout address that coinbases must pay to; "": any
	client *stratum.Client
	counts poolCounts

	report reporter // set by run

	mu      sync.Mutex // guards the rest
	space   *space.Space
	e1      string // extranonce1 that space is for
	e2size  int
	retries []*flight // without an answer, oldest first
	blocks  int       // shares that are blocks, without an answer
}

func newPoolSource(p *Proxy, index int, u Upstream) (*poolSource, error) {
	address, err := url.Parse(u.URL)
	if err != nil || address.Host == "" {
		return nil, errors.New("pool address: not a URL, want stratum+tcp://host:port")
	}
	if address.User != nil && u.User == "" {
		u.User = address.User.Username()
		u.Password, _ = address.User.Password()
	}
	address.User = nil
	if u.User == "" {
		return nil, fmt.Errorf("pool %s: no user: give --pool-user", address)
	}
	s := &poolSource{index: index, p: p, shown: address.String(), expect: u.ExpectAddress}
	s.opts = stratum.ClientOptions{
		URL: s.shown, User: u.User, Password: u.Password, UserAgent: "lode-proxy", CA: u.CA,
		VersionMask: p.mask(), NoVersionRolling: p.config.NoVersionRolling, SubscribeExtranonce: true,
		SuggestDifficulty: stratum.Difficulty(u.SuggestDifficulty), Logger: p.log,
	}
	if s.client, err = stratum.NewClient(s.opts); err != nil {
		return nil, fmt.Errorf("pool %s: %w", s.shown, err)
	}
	return s, nil
}

func (s *poolSource) url() string { return s.shown }
func (s *poolSource) notify()     {} // a pool tells by itself

func (s *poolSource) run(ctx context.Context, report reporter) {
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
			if a.Job == nil {
				report.lost(s.reason())
				continue
			}
			s.take(&a)
			s.sendAgain()
			sleep(ctx, takeInterval)
		case <-look.C:
			s.expire()
			if err := s.client.State().Err; !known && err != nil {
				known = true
				report.lost(s.reason())
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *poolSource) reason() error {
	if err := s.client.State().Err; err != nil {
		return fmt.Errorf("%s: %w", s.shown, err)
	}
	return fmt.Errorf("%s: the connection was lost", s.shown)
}

// take passes an assignment on.
func (s *poolSource) take(a *stratum.Assignment) {
	if err := checkPayout(s.p, s.expect, a); err != nil {
		s.report.condemned(fmt.Errorf("%s: %w", s.shown, err))
		return
	}
	w, err := s.make(a)
	if err != nil {
		s.report.lost(fmt.Errorf("%s: %w", s.shown, err))
		return
	}
	s.report.work(w)
}

func (s *poolSource) make(a *stratum.Assignment) (*jobs.Work, error) {
	where, err := s.spaceFor(a)
	if err != nil {
		return nil, err
	}
	network, err := stratum.TargetFromBits(a.Job.Bits)
	if err != nil {
		return nil, err
	}
	w := &jobs.Work{
		Source: s.index, Prev: a.Job.PrevBlock, Bits: a.Job.Bits, Network: network,
		NetworkDifficulty: float64(network.Difficulty()),
		Version:           a.Job.Version, Mask: a.VersionMask & s.p.mask(),
		Time: a.Job.Time, MinTime: a.Job.Time, MaxTime: a.Job.Time + poolTimeRoom, Since: time.Now(), Clean: a.Job.Clean,
		Space: where, Origin: &poolWork{from: s, assignment: *a, difficulty: float64(a.Difficulty), target: a.Difficulty.Target()},
	}
	if height, ok := coinbaseHeight(a.Job.Coinbase1); ok {
		w.Height = height
	}
	return w, nil
}

// spaceFor is the extranonce space that the pool left us. It stays the same for as
// long as the pool's extranonce1 does, over reconnections too.
func (s *poolSource) spaceFor(a *stratum.Assignment) (*space.Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.space != nil && s.e1 == string(a.Extranonce1) && s.e2size == a.Extranonce2Size {
		return s.space, nil
	}
	prefix := space.Split(a.Extranonce2Size)
	if s.p.config.WholeExtranonce {
		prefix = 0
	} else if prefix == 0 {
		return nil, fmt.Errorf("its extranonce2 of %d bytes is too small to be shared among miners", a.Extranonce2Size)
	}
	sp, err := space.New(a.Extranonce1, prefix, a.Extranonce2Size-prefix, leaseTime)
	if err != nil {
		return nil, err
	}
	s.space, s.e1, s.e2size = sp, string(a.Extranonce1), a.Extranonce2Size
	return sp, nil
}

// submit sends a share to the pool and counts its answer.
func (s *poolSource) submit(f *flight) {
	if f.block != "" && !f.again {
		s.mu.Lock()
		s.blocks++
		s.mu.Unlock()
	}
	err := s.client.SubmitAsync(f.assignment, f.extranonce2, f.ntime, f.nonce, f.version, func(err error) { s.answered(f, err) })
	if err != nil {
		s.unanswered(f, err)
	}
}

// unanswered keeps a share that the pool may not have got: if it resumes the session,
// the share can still count.
func (s *poolSource) unanswered(f *flight, err error) {
	if errors.Is(err, stratum.ErrOtherSpace) {
		s.lose(f, err)
		return
	}
	f.again = true
	s.mu.Lock()
	s.retries = append(s.retries, f)
	var dropped *flight
	if len(s.retries) > retryLimit {
		at := max(slices.IndexFunc(s.retries, func(f *flight) bool { return f.block == "" }), 0)
		dropped = s.retries[at]
		s.retries = slices.Delete(s.retries, at, at+1)
	}
	s.mu.Unlock()
	if f.block != "" {
		s.tell(f, "no answer yet, will be sent again: "+err.Error())
	}
	if dropped != nil {
		s.lose(dropped, errors.New("too many shares wait for the pool"))
	}
}

// sendAgain sends what was not answered, now that the pool is back.
func (s *poolSource) sendAgain() {
	s.mu.Lock()
	list := s.retries
	s.retries = nil
	s.mu.Unlock()
	for _, f := range list {
		s.submit(f)
	}
}

// expire gives up what has waited too long.
func (s *poolSource) expire() {
	now := s.p.now()
	s.mu.Lock()
	var late []*flight
	s.retries = slices.DeleteFunc(s.retries, func(f *flight) bool {
		limit := retryTime
		if f.block != "" {
			limit = retryBlockTime
		}
		if now.Sub(f.since) < limit {
			return false
		}
		late = append(late, f)
		return true
	})
	s.mu.Unlock()
	for _, f := range late {
		s.lose(f, errors.New("the pool did not come back in time"))
	}
}

// lose gives up a share.
func (s *poolSource) lose(f *flight, err error) {
	s.counts.Lost.Add(1)
	s.p.log.Debug("share lost", "upstream", s.shown, "error", err)
	s.end(f, "lost: "+err.Error())
}

// tell notes the news of a block.
func (s *poolSource) tell(f *flight, what string) {
	if f.block != "" {
		s.p.keeper.Note(f.block, s.shown+": "+what)
	}
}

// end tells what became of a share, if it is a block.
func (s *poolSource) end(f *flight, what string) {
	s.tell(f, what)
	if f.block != "" {
		s.mu.Lock()
		s.blocks--
		s.mu.Unlock()
	}
}

// awaitBlocks waits until the pool has answered to all blocks, or ctx ends: false.
func (s *poolSource) awaitBlocks(ctx context.Context) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		waiting := s.blocks
		s.mu.Unlock()
		if waiting == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

func (s *poolSource) answered(f *flight, err error) {
	var refusal *stratum.Error
	if err != nil && !errors.As(err, &refusal) {
		s.unanswered(f, err)
		return
	}
	if refusal != nil && refusal.Code == stratum.CodeDuplicate && f.again {
		refusal = nil // the first one arrived, its answer did not
	}
	switch {
	case refusal == nil:
		s.counts.Accepted.Add(1)
		s.report.share(true)
		s.end(f, "accepted")
		return
	case refusal.Code == stratum.CodeStale:
		s.counts.Stale.Add(1)
	default:
		s.counts.Rejected.Add(1)
	}
	s.p.log.Info("pool refused a share", "upstream", s.shown, "code", refusal.Code, "reason", refusal.Text)
	s.end(f, "refused: "+refusal.Error())
	s.report.share(false)
}

// check tries the pool out: see Check.
func (s *poolSource) check(ctx context.Context) (string, error) {
	opts := s.opts
	opts.Timeout, opts.FirstJobTimeout = checkTimeout/3, checkTimeout/3
	session, err := stratum.Dial(ctx, opts)
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
	if err := checkPayout(s.p, s.expect, &a); err != nil {
		return "", err
	}
	return fmt.Sprintf("logged in; difficulty %g, version mask %08x, extranonce2 of %d bytes",
		float64(a.Difficulty), a.VersionMask, a.Extranonce2Size), nil
}
