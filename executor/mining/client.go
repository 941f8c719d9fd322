package mining

import (
	"context"
	"strings"
	"sync"
	"time"

	"lode/stratum"
)

// firstJobTimeout is how long a server may be without a job before the next one
// of the list is tried.
const firstJobTimeout = 15 * time.Second

// sessions makes connections of Stratum v1 and remembers their session ids: who
// comes back to a server asks for the search space and difficulty that he had.
type sessions struct {
	cfg Config

	mu  sync.Mutex
	ids map[string]string // by server
}

// maxIDs bounds the servers that are remembered.
const maxIDs = 16

func (s *sessions) connect(pool string) Connection { return &session{owner: s, pool: pool} }

// session is one connection.
type session struct {
	owner *sessions
	pool  string

	mu     sync.Mutex
	dialed *stratum.Session
}

// Run implements Connection.
func (c *session) Run(ctx context.Context, on func(stratum.Assignment)) error {
	cfg := c.owner.cfg
	s, err := stratum.Dial(ctx, stratum.ClientOptions{
		URL: poolURL(c.pool), User: cfg.User, Password: cfg.Password, UserAgent: cfg.UserAgent,
		Logger: cfg.Log, Resume: c.owner.id(c.pool), FirstJobTimeout: firstJobTimeout, SubscribeExtranonce: true,
	})
	if err != nil {
		return err
	}
	c.owner.remember(c.pool, s.SessionID())
	c.mu.Lock()
	c.dialed = s
	c.mu.Unlock()
	defer s.Close()
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

// poolURL completes host:port.
func poolURL(pool string) string {
	if strings.Contains(pool, "://") {
		return pool
	}
	return "stratum+tcp://" + pool
}

func (s *sessions) id(pool string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[pool]
}

func (s *sessions) remember(pool, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil || len(s.ids) >= maxIDs {
		s.ids = make(map[string]string)
	}
	s.ids[pool] = id
}
