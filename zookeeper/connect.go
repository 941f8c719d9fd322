package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// connect begins a session. on is told of what happens to it, and must not block.
func connect(u URL, timeout time.Duration, log *slog.Logger, on func(zk.Event)) (*zk.Conn, error) {
	dial := func(network, address string, wait time.Duration) (net.Conn, error) {
		c, err := net.DialTimeout(network, address, wait)
		if err != nil {
			return nil, err
		}
		return &greeted{Conn: c, most: timeout / 4}, nil
	}
	conn, _, err := zk.Connect(u.Servers, timeout, zk.WithLogger(logger{log}), zk.WithLogInfo(false),
		zk.WithMaxBufferSize(maxAnswer), zk.WithEventCallback(on), zk.WithDialer(dial))
	return conn, err
}

// greeted is a connection to a server that has to answer the greeting soon. The library
// would wait for seven sessions' time, and the session be over because of one server
// that hangs.
type greeted struct {
	net.Conn
	most time.Duration

	mu   sync.Mutex
	sets int // of the deadline for reading: the first two are of the greeting
}

func (c *greeted) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.sets++
	first, second := c.sets == 1, c.sets == 2
	c.mu.Unlock()
	switch {
	case first:
		t = time.Now().Add(c.most)
	case second: // the library lifts it when four bytes have come
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// call does what asks ZooKeeper, and waits for it no longer than answerTimeout. What
// takes longer ends with its connection.
func call[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := ask()
		done <- result{value, err}
	}()
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	var none T
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		return none, errSilent
	}
}

var errSilent = fmt.Errorf("no answer within %v", answerTimeout)

// answered says that ZooKeeper itself has decided what the error tells.
func answered(err error) bool {
	for _, known := range []error{
		nil, zk.ErrNoNode, zk.ErrNodeExists, zk.ErrBadVersion, zk.ErrNotEmpty, zk.ErrNoAuth, zk.ErrInvalidACL,
		zk.ErrBadArguments, zk.ErrNoChildrenForEphemerals,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// mostBad is after how many questions without an answer a connection is replaced as a
// whole.
const mostBad = 3

// ask asks over the session's connection.
func ask[T any](ctx context.Context, s *session, question func(*zk.Conn) (T, error)) (T, error) {
	var none T
	conn, err := s.get()
	if err != nil {
		return none, s.url.explain(err)
	}
	value, err := call(ctx, func() (T, error) {
		if err := s.authenticate(conn); err != nil {
			return none, err
		}
		return question(conn)
	})
	s.mu.Lock()
	if s.bad++; answered(err) {
		s.bad = 0
	}
	drop := s.bad >= mostBad || errors.Is(err, errSilent) || errors.Is(err, zk.ErrClosing) || errors.Is(err, zk.ErrAuthFailed)
	s.mu.Unlock()
	if drop && ctx.Err() == nil {
		s.drop(conn)
	}
	if err != nil {
		return value, s.url.explain(err)
	}
	return value, nil
}

// acl is who may do what with our nodes: whoever knows the password everything, and
// nobody else anything, or without a password all.
func (u URL) acl() []zk.ACL {
	if u.User == "" {
		return zk.WorldACL(zk.PermAll)
	}
	return zk.DigestACL(zk.PermAll, u.User, u.Password)
}
