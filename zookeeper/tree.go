package zookeeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// tree is ZooKeeper as a Log needs it. Whatever fails with an error that is not
// answered may have happened, or happen later.
type tree interface {
	// sync makes what is read afterwards as new as what anybody has written before.
	sync() error
	get(path string) ([]byte, int32, error)
	children(path string) ([]string, error)
	// write does all of ops, if the term is not over, or else nothing.
	write(ops ...any) error
	close()
}

// remote is a real one.
type remote struct {
	ctx     context.Context // ends with the term
	cancel  context.CancelFunc
	term    *Term
	session session
}

func newRemote(t *Term) *remote {
	ctx, cancel := context.WithCancel(context.Background())
	// Not the session of the candidacy: what is large or slow must not hold up that
	// one's signs of life.
	r := &remote{ctx: ctx, cancel: cancel, term: t, session: session{url: t.url, log: t.log}}
	go func() {
		select {
		case <-t.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	return r
}

func (r *remote) close() {
	r.cancel()
	r.session.close()
}

// fault makes the end of the term the reason where it is.
func (r *remote) fault(err error) error {
	if over := r.term.Err(); over != nil && err != nil {
		return over
	}
	return err
}

func (r *remote) sync() error {
	_, err := ask(r.ctx, &r.session, func(c *zk.Conn) (string, error) { return c.Sync(r.term.url.Path) })
	return r.fault(err)
}

func (r *remote) get(path string) ([]byte, int32, error) {
	type node struct {
		data    []byte
		version int32
	}
	n, err := ask(r.ctx, &r.session, func(c *zk.Conn) (node, error) {
		data, stat, err := c.Get(path)
		if err != nil {
			return node{}, err
		}
		return node{data, stat.Version}, nil
	})
	return n.data, n.version, r.fault(err)
}

func (r *remote) children(path string) ([]string, error) {
	names, err := ask(r.ctx, &r.session, func(c *zk.Conn) ([]string, error) {
		names, _, err := c.Children(path)
		return names, err
	})
	return names, r.fault(err)
}

func (r *remote) write(ops ...any) error {
	results, err := ask(r.ctx, &r.session, func(c *zk.Conn) ([]zk.MultiResponse, error) {
		return c.Multi(append([]any{r.term.fence()}, ops...)...)
	})
	if err != nil && len(results) > 0 && results[0].Error != nil && (errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNoNode)) {
		r.term.end(fmt.Errorf("%w: another one was elected", ErrDeposed))
	}
	return r.fault(err)
}
