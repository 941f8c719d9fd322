package zookeeper

import (
	"errors"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/go-zookeeper/zk"
)

// fakeServer is a ZooKeeper in memory, as far as a Log needs it.
type fakeServer struct {
	mu    sync.Mutex
	nodes map[string]*fakeNode
	term  int // whose writes are taken
}

type fakeNode struct {
	data    []byte
	version int32
}

func newFakeServer() *fakeServer {
	return &fakeServer{nodes: map[string]*fakeNode{"/": {}, "/lode": {}}}
}

// do does all of ops or nothing.
func (s *fakeServer) do(term int, ops []any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if term != s.term {
		return ErrDeposed
	}
	before := make(map[string]*fakeNode, len(s.nodes))
	for name, n := range s.nodes {
		c := *n
		before[name] = &c
	}
	for _, op := range ops {
		if err := s.one(op); err != nil {
			s.nodes = before
			return err
		}
	}
	return nil
}

func (s *fakeServer) one(op any) error {
	find := func(name string, version int32) (*fakeNode, error) {
		n := s.nodes[name]
		switch {
		case n == nil:
			return nil, zk.ErrNoNode
		case version != -1 && version != n.version:
			return nil, zk.ErrBadVersion
		}
		return n, nil
	}
	switch op := op.(type) {
	case *zk.CheckVersionRequest:
		_, err := find(op.Path, op.Version)
		return err
	case *zk.CreateRequest:
		if s.nodes[path.Dir(op.Path)] == nil {
			return zk.ErrNoNode
		}
		if s.nodes[op.Path] != nil {
			return zk.ErrNodeExists
		}
		s.nodes[op.Path] = &fakeNode{data: slices.Clone(op.Data)}
	case *zk.SetDataRequest:
		n, err := find(op.Path, op.Version)
		if err != nil {
			return err
		}
		n.data, n.version = slices.Clone(op.Data), n.version+1
	case *zk.DeleteRequest:
		if _, err := find(op.Path, op.Version); err != nil {
			return err
		}
		if len(s.below(op.Path)) > 0 {
			return zk.ErrNotEmpty
		}
		delete(s.nodes, op.Path)
	}
	return nil
}

func (s *fakeServer) below(name string) (names []string) {
	for other := range s.nodes {
		if rest, ok := strings.CutPrefix(other, name+"/"); ok && !strings.Contains(rest, "/") {
			names = append(names, rest)
		}
	}
	return names
}

// fate is what becomes of a request.
type fate int

const (
	fine    fate = iota
	lost         // it fails
	unknown      // it happens and fails
	late         // it fails and happens later
)

// fakeTree is a session of a term.
type fakeTree struct {
	server *fakeServer
	term   int

	mu   sync.Mutex  // guards the rest: a Log asks for several nodes at once
	fate func() fate // called by one request at a time
	late []func() error
}

var errCut = errors.New("connection closed")

func (f *fakeTree) ask(write bool, do func() error) error {
	f.mu.Lock()
	x := f.fate()
	if x == late && write {
		f.late = append(f.late, do)
	}
	f.mu.Unlock()
	switch x {
	case fine:
		return do()
	case unknown:
		_ = do()
	}
	return errCut
}

// arrive makes what was late happen.
func (f *fakeTree) arrive() {
	for _, do := range f.late {
		_ = do()
	}
	f.late = nil
}

func (f *fakeTree) sync() error { return f.ask(false, func() error { return nil }) }

func (f *fakeTree) get(name string) (data []byte, version int32, err error) {
	err = f.ask(false, func() error {
		f.server.mu.Lock()
		defer f.server.mu.Unlock()
		n := f.server.nodes[name]
		if n == nil {
			return zk.ErrNoNode
		}
		data, version = slices.Clone(n.data), n.version
		return nil
	})
	return data, version, err
}

func (f *fakeTree) children(name string) (names []string, err error) {
	err = f.ask(false, func() error {
		f.server.mu.Lock()
		defer f.server.mu.Unlock()
		if f.server.nodes[name] == nil {
			return zk.ErrNoNode
		}
		names = f.server.below(name)
		return nil
	})
	return names, err
}

func (f *fakeTree) write(ops ...any) error {
	return f.ask(true, func() error { return f.server.do(f.term, ops) })
}

func (f *fakeTree) close() {}
