package scheduler

import (
	"net"
	"net/netip"
	"sync"
)

const (
	// mostConnections bounds the connections of agents and clients at a time: no stranger
	// may take the files that state and masters need. It holds a large cluster that fetches
	// the executor.
	mostConnections = 8192
	// eachPart is the part of them that one address may have, ownConnections what this
	// machine has beyond all others.
	eachPart, ownConnections = 8, 64
	// fewFiles is how many files a process may have open at least.
	fewFiles = 1024
)

// crowd is a listener with a bound on its connections. Those above it are closed at once.
type crowd struct {
	net.Listener
	most int

	mu  sync.Mutex // guards the rest
	all int
	by  map[netip.Prefix]int
}

func newCrowd(l net.Listener, most int) *crowd {
	return &crowd{Listener: l, most: most, by: make(map[netip.Prefix]int)}
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := origin(conn.RemoteAddr())
		if c.enter(from) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { c.leave(from) })}, nil
		}
		conn.Close()
	}
}

// origin is where a connection comes from: an address, or of IPv6 what one customer has.
func origin(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	address := at.Addr().Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() && !address.IsLoopback() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // never fails for such a number
	return prefix
}

func (c *crowd) enter(from netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch own := from.IsValid() && from.Addr().IsLoopback(); {
	case own && c.all >= c.most+ownConnections,
		!own && (c.all >= c.most || c.by[from] >= max(1, c.most/eachPart)):
		return false
	}
	c.all++
	c.by[from]++
	return true
}

func (c *crowd) leave(from netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.by[from]--; c.by[from] == 0 {
		delete(c.by, from)
	}
}

// counted is a connection that leaves the crowd when it is closed.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
