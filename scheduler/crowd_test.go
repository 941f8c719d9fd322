package scheduler

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// A stranger can have a part of all connections only, and all strangers together leave
// some to this machine.
func TestCrowd(t *testing.T) {
	c := newCrowd(nil, 80)
	at := func(address string) netip.Prefix {
		return origin(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1)))
	}
	take := func(address string) (n int) {
		for c.enter(at(address)) {
			n++
		}
		return n
	}
	if n := take("192.0.2.1"); n != 10 {
		t.Errorf("a stranger has %d connections, want 10", n)
	}
	if n := take("::ffff:192.0.2.1"); n != 0 {
		t.Errorf("in another form it has %d more", n)
	}
	if n := take("2001:db8::1"); n != 10 {
		t.Errorf("another one has %d, want 10", n)
	}
	if n := take("2001:db8::2"); n != 0 {
		t.Errorf("with another address of its network it has %d more", n)
	}
	for i := byte(1); i <= 10; i++ {
		take(netip.AddrFrom4([4]byte{198, 51, 100, i}).String())
	}
	if c.all != 80 {
		t.Errorf("strangers have %d, want 80", c.all)
	}
	if n := take("127.0.0.1"); n != ownConnections {
		t.Errorf("this machine has %d, want %d", n, ownConnections)
	}
	c.leave(at("127.0.0.1"))
	c.leave(at("192.0.2.1"))
	if n := take("127.0.0.9"); n != 2 {
		t.Errorf("this machine has %d more, want 2", n)
	}
	for from, n := range c.by {
		for range n {
			c.leave(from)
		}
	}
	if c.all != 0 || len(c.by) != 0 {
		t.Errorf("%d connections of %d addresses are left of none", c.all, len(c.by))
	}
}

// Connections beyond the bound are closed, and make room when they are.
func TestCrowdCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newCrowd(l, 0) // this machine has its own
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := c.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var inside []net.Conn
	for range ownConnections {
		dial()
		inside = append(inside, <-accepted)
	}
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("one too many reads %d bytes, %v, want the end", n, err)
	}
	for _, conn := range inside[:1] {
		conn.Close()
		conn.Close() // counts once
	}
	dial()
	inside = append(inside, <-accepted)
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("one too many reads %d bytes, %v, want the end", n, err)
	}
	for _, conn := range inside {
		conn.Close()
	}
}
