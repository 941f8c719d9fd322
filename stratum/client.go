package stratum

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// ConnState is where a Client stands with its pool.
type ConnState struct {
	URL       string
	Connected bool // subscribed and authorized
	// Err is why it is not connected, nil at first; if it is, why what the pool sends
	// cannot be mined on, nil if it can.
	Err error
	// Retry is when the next attempt is made, if not Connected.
	Retry time.Time
}

// Client mines at a pool for as long as it runs: it connects, and connects again
// whenever the connection is lost, after 1 s at first and up to 60 s later on.
type Client struct {
	latest *latest
	moved  chan struct{} // capacity 1: the URL has changed

	mu         sync.Mutex // guards what follows
	opts       ClientOptions
	session    *Session
	generation uint64
	// resumable is the oldest generation with the search space of the session:
	// the pool gave the same extranonce1 again ever since.
	resumable uint64
	space     space
	state     ConnState
	// detour is the URL with the port that client.reconnect named, on the configured host;
	// "": none.
	detour string
}

// space is the search space that a pool assigned.
type space struct {
	extranonce1     string
	extranonce2Size int
}

// NewClient makes a Client, and checks opts.
func NewClient(opts ClientOptions) (*Client, error) {
	if _, _, err := ParseURL(opts.URL); err != nil {
		return nil, err
	}
	opts.setDefaults()
	return &Client{latest: newLatest(), moved: make(chan struct{}, 1), opts: opts, state: ConnState{URL: opts.URL}}, nil
}

// Assignments is the newest work, and an Assignment without a Job when the
// connection is lost and there is nothing to search. A slow reader misses older
// work; a Clean that it missed is set in the job that it gets. The channel is
// never closed.
func (c *Client) Assignments() <-chan Assignment { return c.latest.c }

// State is where the client stands with its pool.
func (c *Client) State() ConnState {
	c.mu.Lock()
	state, session := c.state, c.session
	c.mu.Unlock()
	if state.Connected && session != nil {
		session.mu.Lock()
		state.Err = session.trouble
		session.mu.Unlock()
	}
	return state
}

// SetURL moves the client to another pool address at once: the connection to the
// old one is closed. The same URL again changes nothing.
func (c *Client) SetURL(url string) error {
	if _, _, err := ParseURL(url); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.opts.URL == url {
		return nil
	}
	c.opts.URL, c.opts.Resume, c.detour = url, "", ""
	select {
	case c.moved <- struct{}{}:
	default:
	}
	return nil
}

// Submit hands in a share: see Session.Submit.
func (c *Client) Submit(ctx context.Context, a Assignment, extranonce2 []byte, ntime, nonce, version uint32) error {
	s, err := c.sessionFor(a)
	if err != nil {
		return err
	}
	return s.Submit(ctx, a, extranonce2, ntime, nonce, version)
}

// SubmitAsync hands in a share without waiting: see Session.SubmitAsync.
func (c *Client) SubmitAsync(a Assignment, extranonce2 []byte, ntime, nonce, version uint32, done func(error)) error {
	s, err := c.sessionFor(a)
	if err != nil {
		return err
	}
	return s.SubmitAsync(a, extranonce2, ntime, nonce, version, done)
}

func (c *Client) sessionFor(a Assignment) (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session == nil:
		return nil, ErrDisconnected
	case a.Generation < c.resumable:
		return nil, ErrOtherSpace
	}
	return c.session, nil
}

// minBackoff and maxBackoff bound the wait between two attempts to connect.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
	// stable is how long a connection must have lasted for the wait to begin at
	// minBackoff again.
	stable = 30 * time.Second
)

// Run mines until ctx ends, and returns its error. It is called once.
func (c *Client) Run(ctx context.Context) error {
	backoff := minBackoff
	for {
		lasted, wait, err := c.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if lasted >= stable {
			backoff = minBackoff
		}
		if errors.Is(err, errMoved) {
			backoff = minBackoff
			continue
		}
		// Half of it at random, so that many miners do not come back at once. What the pool
		// wishes may be longer, but not shorter.
		wait = max(wait, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, maxBackoff)
		c.setState(ConnState{Err: err, Retry: time.Now().Add(wait)})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.moved:
			backoff = minBackoff
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

var errMoved = errors.New("pool has moved")

// once makes one connection and lives with it. lasted is how long it was up, wait
// how long the pool wishes not to be bothered.
func (c *Client) once(ctx context.Context) (lasted, wait time.Duration, err error) {
	select {
	case <-c.moved: // what opts is about to be has it
	default:
	}
	c.mu.Lock()
	c.generation++
	opts, generation, detour := c.opts, c.generation, c.detour
	c.mu.Unlock()
	configured := opts.URL
	if detour != "" {
		opts.URL = detour
	}
	dialCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	dialed := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-c.moved:
			cancel(errMoved)
		case <-dialed:
		}
	}()
	s, err := dial(dialCtx, opts, owner{c.latest, generation, func(s *Session) { c.enter(s, configured) }})
	close(dialed)
	<-watched
	if s == nil {
		c.leave(generation, err)
	}
	if context.Cause(dialCtx) == errMoved {
		if s != nil {
			s.Close()
			c.leave(generation, errMoved)
		}
		return 0, 0, errMoved
	}
	if err != nil {
		opts.Logger.Warn("cannot mine at the pool; trying again", "pool", opts.URL, "error", err)
		c.mu.Lock()
		c.detour = "" // back to where it was configured
		c.mu.Unlock()
		return 0, c.follow(opts, configured, err), err
	}
	opts.Logger.Info("mining at the pool", "pool", opts.URL, "user", opts.User)
	select {
	case <-s.Done():
		err = s.Err()
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.moved:
		err = errMoved
	}
	s.Close()
	c.leave(generation, err)
	if ctx.Err() == nil {
		opts.Logger.Warn("connection to the pool ended", "pool", opts.URL, "error", err)
	}
	s.mu.Lock()
	idle := s.current.Job == nil
	s.mu.Unlock()
	wait = c.follow(opts, configured, err)
	if idle && isDrop(err) && opts.askNothing() {
		opts.Logger.Info("pool drops the connection before a first job; trying without mining.extranonce.subscribe and mining.suggest_difficulty", "pool", opts.URL)
		c.mu.Lock()
		c.opts.askNothing()
		c.mu.Unlock()
	}
	return time.Since(s.since), wait, err
}

// follow has the next connection be made where the pool wishes, and says how long it wishes
// not to be bothered.
func (c *Client) follow(opts ClientOptions, configured string, why error) (wait time.Duration) {
	before := opts.URL
	wait, _ = opts.Follow(why)
	c.mu.Lock()
	defer c.mu.Unlock()
	if opts.URL != before && c.opts.URL == configured {
		c.detour = opts.URL
	}
	return wait
}

// enter makes s the session that shares go to.
func (c *Client) enter(s *Session, configured string) {
	s.mu.Lock()
	e1, n2, id := string(s.extranonce1), s.extranonce2Size, s.sessionID
	s.mu.Unlock()
	c.mu.Lock()
	c.session = s
	if c.space != (space{e1, n2}) || s.opts.Resume == "" {
		c.resumable = s.generation
	}
	c.space = space{e1, n2}
	if c.opts.URL == configured {
		c.opts.Resume = id
	}
	c.mu.Unlock()
	c.setState(ConnState{Connected: true})
}

func (c *Client) leave(generation uint64, why error) {
	c.mu.Lock()
	c.session = nil
	c.mu.Unlock()
	c.latest.put(Assignment{Generation: generation, Why: why})
}

func (c *Client) setState(state ConnState) {
	c.mu.Lock()
	state.URL = c.opts.URL
	c.state = state
	report := c.opts.OnState
	c.mu.Unlock()
	if report != nil {
		report(state)
	}
}
