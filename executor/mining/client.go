package mining

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"lode/internal/sleep"
	"lode/stratum"
)

// firstJobTimeout is how long a server may be without a job before the next one
// of the list is tried.
const firstJobTimeout = 15 * time.Second

// session is a Connection over Stratum v1.
type session struct {
	options stratum.ClientOptions

	mu     sync.Mutex
	begun  time.Time
	dialed *stratum.Session
}

// NewSession makes a Connection over Stratum v1: one stratum.Session.
func NewSession(options stratum.ClientOptions) Connection { return &session{options: options} }

func stratumConnect(cfg Config) func(pool string) Connection {
	return func(pool string) Connection {
		if !strings.Contains(pool, "://") {
			pool = "stratum+tcp://" + pool
		}
		return NewSession(stratum.ClientOptions{
			URL: pool, User: cfg.User, Password: cfg.Password, UserAgent: cfg.UserAgent,
			Logger: cfg.Log, SubscribeExtranonce: true, FirstJobTimeout: firstJobTimeout,
		})
	}
}

// followMin and followMax bound the wait before a pool's wish is followed to be connected to
// at another port: it may have that wish for ever.
const (
	followMin = time.Second
	followMax = time.Minute
)

// Run implements Connection. A pool that sends the miner on is followed; the list of servers
// has it begin where it is configured, if that ends.
func (c *session) Run(ctx context.Context, on func(stratum.Assignment)) error {
	options, pause := c.options, followMin
	for {
		begun := time.Now()
		err := c.once(ctx, options, on)
		wait, follow := options.Follow(err)
		if !follow || ctx.Err() != nil {
			return err
		}
		if time.Since(begun) >= followMax {
			pause = followMin
		}
		on(stratum.Assignment{Why: err})
		_ = sleep.For(ctx, max(wait, pause))
		pause = min(2*pause, followMax)
	}
}

// once is one connection.
func (c *session) once(ctx context.Context, options stratum.ClientOptions, on func(stratum.Assignment)) error {
	c.mu.Lock()
	c.begun = time.Now()
	c.mu.Unlock()
	s, err := stratum.Dial(ctx, options)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the server's name, which the caller adds
		}
		return err
	}
	defer s.Close()
	c.mu.Lock()
	c.dialed = s
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Done():
			return s.Err()
		case a := <-s.Assignments():
			on(a)
		}
	}
}

// Quiet implements watched.
func (c *session) Quiet() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dialed != nil:
		return c.dialed.Quiet()
	case c.begun.IsZero():
		return 0
	}
	return time.Since(c.begun)
}

// Ping implements watched.
func (c *session) Ping() {
	c.mu.Lock()
	s := c.dialed
	c.mu.Unlock()
	if s != nil {
		s.Ping()
	}
}

// Submit implements Connection.
func (c *session) Submit(ctx context.Context, a stratum.Assignment, extranonce2 []byte, ntime, nonce, version uint32) error {
	c.mu.Lock()
	s := c.dialed
	c.mu.Unlock()
	if s == nil {
		return stratum.ErrDisconnected
	}
	return s.Submit(ctx, a, extranonce2, ntime, nonce, version)
}
