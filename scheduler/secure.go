package scheduler

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// handshakeTime bounds the wait for the first byte of a connection.
const handshakeTime = 10 * time.Second

// tlsRecord is the first byte of a TLS connection; no HTTP request begins with it.
const tlsRecord = 0x16

// secured is the listener as the HTTP server has it: where there is TLS, a connection
// that begins with it is a *tls.Conn, and another one stays what it is.
func (s *Scheduler) secured() net.Listener {
	bounded := newCrowd(s.listener, min(mostConnections, openFiles()/2))
	if s.config.TLS == nil {
		return bounded
	}
	l := &splitListener{Listener: bounded, config: s.config.TLS, conns: make(chan net.Conn), closed: make(chan struct{})}
	go l.run()
	return l
}

type splitListener struct {
	net.Listener
	config *tls.Config
	conns  chan net.Conn
	err    error
	closed chan struct{}
	once   sync.Once
}

func (l *splitListener) run() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			l.once.Do(func() { close(l.closed) })
			return
		}
		wg.Go(func() { l.sort(conn) })
	}
}

// sort looks at the first byte: a connection that says nothing holds up no other.
func (l *splitListener) sort(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(handshakeTime))
	p := &peeked{Conn: conn, r: bufio.NewReaderSize(conn, 16)}
	first, err := p.r.Peek(1)
	if err != nil {
		conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	var c net.Conn = p
	if first[0] == tlsRecord {
		c = tls.Server(p, l.config)
	}
	select {
	case l.conns <- c:
	case <-l.closed:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (l *splitListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		if l.err == nil {
			return nil, net.ErrClosed
		}
		return nil, l.err
	}
}

// Close implements net.Listener.
func (l *splitListener) Close() error { return l.Listener.Close() }

// peeked is a connection of which a byte was looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }
