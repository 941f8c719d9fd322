package devmesos

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"lode/devmesos/master"
)

// node is a place where a master can run: an address that stays the same whichever
// master is there, or none.
type node struct {
	address string
	server  *http.Server
	done    chan struct{}
	leader  func() string // address of whoever leads, or empty

	mu      sync.RWMutex
	current *master.Master
	dead    bool // connections are cut
}

func newNode(address string, leader func() string) (*node, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for schedulers: %w", err)
	}
	n := &node{address: listener.Addr().String(), done: make(chan struct{}), leader: leader}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(n.done)
		n.server.Serve(listener) //nolint:errcheck // it ends by Close
	}()
	return n, nil
}

func (n *node) master() *master.Master {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.current
}

// lead puts a master here.
func (n *node) lead(m *master.Master) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.current, n.dead = m, false
}

// crash ends the master here, if there is one. If dead, connections are cut from then
// on, as by a host without a master; else the node is a standby.
func (n *node) crash(dead bool) {
	n.mu.Lock()
	m := n.current
	n.current, n.dead = nil, dead
	n.mu.Unlock()
	if m != nil {
		m.Close()
	}
}

func (n *node) close() {
	n.crash(true)
	n.server.Close()
	<-n.done
}

// ServeHTTP hands the request to the master here; without one it answers as a standby.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.RLock()
	m, dead := n.current, n.dead
	n.mu.RUnlock()
	switch {
	case dead:
		panic(http.ErrAbortHandler)
	case m != nil:
		m.ServeHTTP(w, r)
	default:
		master.ServeStandby(w, r, n.leader())
	}
}
