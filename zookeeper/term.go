package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// ErrDeposed says that a term is over.
var ErrDeposed = errors.New("this scheduler does not lead any more")

var errResigned = fmt.Errorf("%w: it resigned", ErrDeposed)

// Term is the time for which a process leads. That it is not over is known for certain
// to nobody but ZooKeeper, and to that only at the moment of a write: so the epoch is
// part of every write.
type Term struct {
	url     URL
	log     *slog.Logger
	conn    *zk.Conn
	node    string // of the candidacy
	number  int64
	version int32 // of the epoch's node

	over chan struct{}
	mu   sync.Mutex
	err  error // why it is over

	seenMu sync.Mutex // guards what follows
	seen   []Member
	seenAt time.Time
}

// epoch is what stands in the epoch's node.
type epoch struct {
	Number int64     `json:"epoch"`
	Leader string    `json:"leader,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// create makes the candidate's node.
func (t *Term) create(ctx context.Context, self Member) (string, error) {
	data, err := json.Marshal(self)
	if err != nil {
		return "", err
	}
	return call(ctx, func() (string, error) {
		return t.conn.CreateProtectedEphemeralSequential(path.Join(t.url.Path, candidatesNode, candidatePrefix), data, t.url.acl())
	})
}

// begin raises the epoch, if we are still a candidate: from then on nobody else can
// write.
func (t *Term) begin(ctx context.Context, self Member) error {
	at := path.Join(t.url.Path, epochNode)
	version, err := call(ctx, func() (int32, error) {
		data, stat, err := t.conn.Get(at)
		if err != nil {
			return 0, err
		}
		var e epoch
		if err := json.Unmarshal(data, &e); err != nil {
			return 0, fmt.Errorf("%s makes no sense: %w", at, err)
		}
		t.number = e.Number + 1
		data, err = json.Marshal(epoch{t.number, self.URL, time.Now().UTC().Round(time.Second)})
		if err != nil {
			return 0, err
		}
		_, err = t.conn.Multi(&zk.CheckVersionRequest{Path: t.node, Version: -1}, &zk.SetDataRequest{Path: at, Data: data, Version: stat.Version})
		return stat.Version + 1, err
	})
	t.version = version
	return err
}

// watch ends the term when ZooKeeper has forgotten the candidate.
func (t *Term) watch() {
	for {
		exists, _, changed, err := t.conn.ExistsW(t.node)
		switch {
		case t.Err() != nil:
			return
		case err == nil && !exists:
			t.end(fmt.Errorf("%w: %w", ErrDeposed, errGone))
			return
		case err != nil: // the library connects again
			select {
			case <-t.over:
				return
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		select {
		case <-t.over:
			return
		case <-changed:
		}
	}
}

func (t *Term) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		close(t.over)
	}
}

// Number of the term: each is higher than the one before.
func (t *Term) Number() int64 { return t.number }

// Over is closed when the term is over. Err then says why.
func (t *Term) Over() <-chan struct{} { return t.over }

// Err is ErrDeposed with a reason when the term is over, else nil.
func (t *Term) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// fence is the condition of every write.
func (t *Term) fence() *zk.CheckVersionRequest {
	return &zk.CheckVersionRequest{Path: path.Join(t.url.Path, epochNode), Version: t.version}
}

// Confirm asks ZooKeeper whether the term goes on. nil: it did when it was asked.
func (t *Term) Confirm(ctx context.Context) error {
	if err := t.Err(); err != nil {
		return err
	}
	_, err := call(ctx, func() (struct{}, error) {
		_, err := t.conn.Multi(t.fence(), &zk.CheckVersionRequest{Path: t.node, Version: -1})
		return struct{}{}, err
	})
	if errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNoNode) {
		t.end(fmt.Errorf("%w: another one was elected", ErrDeposed))
		return t.Err()
	}
	if err != nil {
		return t.url.explain(err)
	}
	return nil
}

// Announce changes what the leader says of itself.
func (t *Term) Announce(ctx context.Context, self Member) error {
	data, err := json.Marshal(self)
	if err != nil {
		return err
	}
	_, err = call(ctx, func() (*zk.Stat, error) { return t.conn.Set(t.node, data, -1) })
	if err != nil {
		return t.url.explain(err)
	}
	return nil
}

// membersLife is for how long one look at the candidates serves all who ask.
const membersLife = 2 * time.Second

// Members are those who contend, or did a moment ago.
func (t *Term) Members(ctx context.Context) ([]Member, error) {
	t.seenMu.Lock()
	defer t.seenMu.Unlock()
	if time.Since(t.seenAt) < membersLife {
		return t.seen, nil
	}
	dir := path.Join(t.url.Path, candidatesNode)
	members, err := call(ctx, func() ([]Member, error) {
		names, _, err := t.conn.Children(dir)
		if err != nil {
			return nil, err
		}
		return readMembers(t.conn, dir, inOrder(names))
	})
	if err != nil {
		return nil, t.url.explain(err)
	}
	t.seen, t.seenAt = members, time.Now()
	return members, nil
}

// Resign ends the term: whoever is next leads at once, if ZooKeeper can be told.
func (t *Term) Resign() {
	t.end(errResigned)
	t.conn.Close()
}
