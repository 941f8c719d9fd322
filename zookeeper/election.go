package zookeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"lode/internal/sleep"
)

// Below the path of an election is:
//
//	candidates/…-0000000042   who contends, ephemeral; the lowest number leads
//	epoch                     the number of the newest term, and whose it is
const (
	candidatesNode  = "candidates"
	candidatePrefix = "scheduler-"
	epochNode       = "epoch"
)

const (
	// electionTimeout is after how long ZooKeeper counts a silent leader as dead. It
	// looks once a tick only, of 2 s by default: with that it is 10 s.
	electionTimeout = 8 * time.Second
	// lookAgain is after how long a candidate looks again though no watch told it to.
	lookAgain = 10 * time.Second
	// Pauses between attempts to be a candidate.
	standFirst, standMost = 500 * time.Millisecond, 10 * time.Second
	// mostMembers is of how many candidates it is read who they are, and maxMember
	// bounds what one says of itself, in bytes.
	mostMembers = 20
	maxMember   = 64 << 10
)

// Member is what a candidate says of itself.
type Member struct {
	// URL is where it is reached, http://host:port or https://host:port.
	URL string `json:"url"`
	// Executors are digests of the executor binaries that it serves.
	Executors []string `json:"executors,omitempty"`
}

// Standing is what a candidate knows of the others.
type Standing struct {
	// Members are those who contend, who leads first; none: it is not known.
	Members []Member
	// Err is why ZooKeeper cannot be asked; nil: it can.
	Err error
}

// Election is of one of several processes.
type Election struct {
	url URL
	log *slog.Logger
}

// NewElection is held at the path of u. Nobody is asked before Stand.
func NewElection(u URL, log *slog.Logger) *Election { return &Election{url: u, log: log} }

var errGone = errors.New("ZooKeeper does not know this candidate any more")

// Stand contends for the lead until it has it or ctx ends. An error besides ctx's own
// is one that waiting cannot mend. seen is told, one call at a time, who else contends.
//
// Each candidacy is a session of its own: whatever goes wrong, the session is ended,
// and what it had in ZooKeeper goes with it, so that no node of a former candidacy of
// ours can be in the way.
func (e *Election) Stand(ctx context.Context, self Member, seen func(Standing)) (*Term, error) {
	pause := standFirst
	for {
		term, err := e.stand(ctx, self, seen)
		switch {
		case err == nil:
			return term, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, zk.ErrNoAuth), errors.Is(err, zk.ErrAuthFailed), errors.Is(err, zk.ErrInvalidACL):
			return nil, err
		}
		seen(Standing{Err: err})
		wait := time.Duration(float64(pause) * (0.5 + 0.5*rand.Float64()))
		e.log.Warn("cannot contend for the lead; trying again", "error", err, "in", wait.Round(time.Millisecond))
		if sleep.For(ctx, wait) != nil {
			return nil, ctx.Err()
		}
		pause = min(2*pause, standMost)
	}
}

func (e *Election) stand(ctx context.Context, self Member, seen func(Standing)) (term *Term, err error) {
	t := &Term{url: e.url, log: e.log, over: make(chan struct{})}
	t.conn, err = connect(e.url, electionTimeout, e.log, func(ev zk.Event) {
		if ev.State == zk.StateExpired {
			t.end(fmt.Errorf("%w: %w", ErrDeposed, zk.ErrSessionExpired))
		}
	})
	if err != nil {
		return nil, e.url.explain(err)
	}
	defer func() {
		if err != nil {
			t.Resign()
			if !errors.Is(err, ErrDeposed) {
				err = e.url.explain(err)
			}
		}
	}()
	if _, err := call(ctx, func() (struct{}, error) { return struct{}{}, e.prepare(t.conn) }); err != nil {
		return nil, err
	}
	if t.node, err = t.create(ctx, self); err != nil {
		return nil, err
	}
	w := watcher{conn: t.conn, dir: path.Join(e.url.Path, candidatesNode)}
	for {
		names, err := w.look(ctx)
		if err != nil {
			return nil, err
		}
		at := slices.Index(names, path.Base(t.node))
		if at < 0 {
			return nil, errGone
		}
		if at == 0 {
			if err := t.begin(ctx, self); err != nil {
				return nil, err
			}
			go t.watch()
			return t, nil
		}
		members, err := call(ctx, func() ([]Member, error) { return readMembers(t.conn, w.dir, names) })
		if err != nil {
			return nil, err
		}
		seen(Standing{Members: members})
		again := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
		case <-t.over:
		case <-w.candidates:
			w.candidates = nil
		case <-w.leader:
			w.leader = nil
		case <-again.C:
		}
		again.Stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := t.Err(); err != nil {
			return nil, err
		}
	}
}

// prepare makes what an election needs.
func (e *Election) prepare(conn *zk.Conn) error {
	if e.url.User != "" {
		if err := conn.AddAuth("digest", []byte(e.url.User+":"+e.url.Password)); err != nil {
			return err
		}
	}
	acl := e.url.acl()
	parts := strings.Split(e.url.Path[1:], "/")
	for i := range parts {
		above := zk.WorldACL(zk.PermAll) // what is above ours is not ours
		if i == len(parts)-1 {
			above = acl
		}
		if _, err := conn.Create("/"+strings.Join(parts[:i+1], "/"), nil, 0, above); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			if exists, _, look := conn.Exists("/" + strings.Join(parts[:i+1], "/")); look != nil || !exists {
				return err
			}
		}
	}
	if e.url.User != "" {
		c := claim{conn: conn, acl: acl}
		if err := c.all(e.url.Path); err != nil {
			return err
		}
		if c.inside > 0 {
			e.log.Warn("the state in ZooKeeper was open to others until now: keys in it may be known, and what stands in it be somebody else's. "+
				"If it is yours, use lode rotate-keys --revoke; else delete it", "path", e.url.Path, "nodes", c.inside)
		}
	}
	for name, data := range map[string][]byte{candidatesNode: nil, epochNode: []byte("{}")} {
		if _, err := conn.Create(path.Join(e.url.Path, name), data, 0, acl); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return nil
}

// watcher looks at candidates. It sets a watch only where there is none: those that
// never tell anything would add up.
type watcher struct {
	conn       *zk.Conn
	dir        string
	candidates <-chan zk.Event
	leader     <-chan zk.Event // of the node of who leads
	led        string
}

// look returns the names of candidates, the leader's first.
func (w *watcher) look(ctx context.Context) ([]string, error) {
	type seen struct {
		names              []string
		candidates, leader <-chan zk.Event
		led                string
	}
	found, err := call(ctx, func() (f seen, err error) {
		f.candidates, f.leader, f.led = w.candidates, w.leader, w.led
		if f.candidates == nil {
			f.names, _, f.candidates, err = w.conn.ChildrenW(w.dir)
		} else {
			f.names, _, err = w.conn.Children(w.dir)
		}
		if err != nil {
			return f, err
		}
		f.names = inOrder(f.names)
		if len(f.names) > 0 && (f.leader == nil || f.led != f.names[0]) {
			f.led = f.names[0]
			if _, _, f.leader, err = w.conn.GetW(path.Join(w.dir, f.led)); errors.Is(err, zk.ErrNoNode) {
				err = nil // it went meanwhile, which the other watch tells
			}
		}
		return f, err
	})
	if err != nil {
		return nil, err
	}
	w.candidates, w.leader, w.led = found.candidates, found.leader, found.led
	return found.names, nil
}

// inOrder are the names of candidates, the lowest number first.
func inOrder(names []string) []string {
	number := func(name string) (uint64, bool) {
		i := strings.LastIndex(name, candidatePrefix)
		if i < 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(name[i+len(candidatePrefix):], 10, 64)
		return n, err == nil
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := number(name)
		return !ok
	})
	slices.SortFunc(names, func(a, b string) int {
		x, _ := number(a)
		y, _ := number(b)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

func readMembers(conn *zk.Conn, dir string, names []string) ([]Member, error) {
	var members []Member
	for _, name := range names[:min(len(names), mostMembers)] {
		data, _, err := conn.Get(path.Join(dir, name))
		if errors.Is(err, zk.ErrNoNode) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var m Member // of what makes no sense nothing is known
		if len(data) > maxMember || json.Unmarshal(data, &m) != nil {
			m = Member{}
		}
		members = append(members, m)
	}
	return members, nil
}

// Look says who contends at the path of u, the leader first; none: nobody does, or did
// ever. It changes nothing.
func Look(ctx context.Context, u URL, log *slog.Logger) ([]Member, error) {
	s := &session{url: u, log: log}
	defer s.close()
	dir := path.Join(u.Path, candidatesNode)
	members, err := ask(ctx, s, func(conn *zk.Conn) ([]Member, error) {
		names, _, err := conn.Children(dir)
		if err != nil {
			return nil, err
		}
		return readMembers(conn, dir, inOrder(names))
	})
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return members, err
}
