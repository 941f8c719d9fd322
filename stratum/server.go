package stratum

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ServerOptions configure a Server. Zero values are the defaults that the fields
// name.
type ServerOptions struct {
	// VersionMask is the version bits that miners may roll; 0: DefaultVersionMask.
	// NoVersionRolling offers none, until SetVersionMask.
	VersionMask      uint32
	NoVersionRolling bool

	Limits
	// ServeTransactions answers mining.get_transactions: a block's worth for a few bytes
	// that were asked with, so it is not for strangers.
	ServeTransactions bool
	// ProxyFrom are the balancers that must send a PROXY protocol header (version 1
	// or 2) ahead of each connection. From all other addresses none is accepted.
	ProxyFrom []netip.Prefix
	Logger    *slog.Logger // nil: no log
}

func (o *ServerOptions) setDefaults() {
	set(&o.VersionMask, DefaultVersionMask)
	if o.NoVersionRolling {
		o.VersionMask = 0
	}
	o.Limits.setDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// set gives field its default.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server serves miners on behalf of a Handler.
//
// Each connection costs one goroutine, which reads. Nobody waits for a socket to
// take what is written: a write that the socket does not take at once is finished
// by a goroutine made for it, and a miner that leaves it unread is cut off.
//
// Locks: Server.mu, Conn.mu and that of the gate are never held together (that of turns
// may be when the gate's is taken), and no Handler method is called with any.
type Server struct {
	opts         ServerOptions
	handler      Handler
	batches      BatchHandler // handler, if it is one
	strays       StrayHandler // handler, if it is one
	log          *slog.Logger
	stats        ServerStats
	versionMask  atomic.Uint32
	jobIDs       jobIDs
	gate         gate
	tarpit       tarpit
	turns        turns
	shared       shared
	transactions transactions
	lastID       atomic.Uint64
	closed       atomic.Bool
	full         atomic.Bool    // there is no room for more connections
	partial      waiting        // for lines that are waited for
	unread       waiting        // for slow readers
	epoch        time.Time      // what instant counts from
	wg           sync.WaitGroup // connections and their writers

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	ready     ranking
	empty     chan struct{}
	publisher publisher
	// broadcasts are those under way.
	broadcasts map[*broadcast]struct{}
	givenUp    int // broadcasts, the last ones
}

// NewServer makes a Server; give it listeners with Serve.
func NewServer(opts ServerOptions, handler Handler) *Server {
	opts.setDefaults()
	s := &Server{
		opts:       opts,
		handler:    handler,
		log:        opts.Logger,
		listeners:  map[net.Listener]struct{}{},
		conns:      map[*Conn]struct{}{},
		broadcasts: map[*broadcast]struct{}{},
		epoch:      time.Now(),
	}
	s.batches, _ = handler.(BatchHandler)
	s.strays, _ = handler.(StrayHandler)
	s.gate.init(&s.opts.Limits)
	s.partial.part = func(c *Conn) *waits { return &c.held }
	s.unread.part = func(c *Conn) *waits { return &c.behind }
	s.tarpit.most, s.tarpit.count = s.opts.Tarpit, &s.stats.Held
	s.turns.cpus, s.turns.step = s.opts.TLSCPUs, s.gate.step
	s.shared.tokens = s.opts.SharedRate
	s.versionMask.Store(opts.VersionMask)
	return s
}

// SetFull has the server take new connections only in exchange for such as are of no use,
// or take them again.
func (s *Server) SetFull(full bool) {
	s.full.Store(full)
	if full {
		s.tarpit.drop(false)
	}
}

// Stats are the server's counters.
func (s *Server) Stats() *ServerStats { return &s.stats }

// SetVersionMask changes the version bits that miners may roll, on connections to
// come and on those that are there; 0: none.
func (s *Server) SetVersionMask(mask uint32) {
	if s.versionMask.Swap(mask) != mask {
		s.Conns(func(c *Conn) { c.SetVersionMask(mask) })
	}
}

// Serve accepts connections from l until ctx ends or the server is closed, and
// then returns nil; it closes l. Connections that are open stay: see Shutdown and
// Close. Serve may be called for several listeners.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.serve(ctx, l, nil) }

// ServeTLS is Serve with TLS; see Certificate for one that can be reloaded.
func (s *Server) ServeTLS(ctx context.Context, l net.Listener, config *tls.Config) error {
	return s.serve(ctx, l, config)
}

func (s *Server) serve(ctx context.Context, l net.Listener, config *tls.Config) error {
	defer l.Close()
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	defer context.AfterFunc(ctx, func() { l.Close() })()

	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(conn, config)
			continue
		case ctx.Err() != nil || s.isClosing(l):
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		// Out of file descriptors, or a connection that was gone before it was
		// accepted: the listener lives on.
		s.stats.AcceptErrors.Add(1)
		s.tarpit.drop(false) // their file descriptors are of more use elsewhere
		if pause == 0 {
			s.log.Warn("cannot accept connections; trying on", "listen", l.Addr().String(), "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// isClosing reports whether l was closed by Shutdown or Close, which forget it.
func (s *Server) isClosing(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.listeners[l]
	return !known
}

func (s *Server) start(base net.Conn, config *tls.Config) {
	c := newConn(s, base)
	if err := s.admit(c); err != nil {
		s.stats.Refused.Add(1)
		s.log.Debug("connection refused", "remote", c.remote.String(), "error", err)
		if errors.Is(err, ErrBanned) {
			s.hold(c)
		} else {
			base.Close()
		}
		s.gate.leave(c, time.Now())
		return
	}
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		s.gate.leave(c, time.Now())
		base.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.stats.Connections.Add(1)
	s.wg.Add(1)
	s.mu.Unlock()
	go c.serve(config)
}

// hold closes the socket of c, after some time unless what it takes is needed elsewhere.
func (s *Server) hold(c *Conn) {
	if s.full.Load() {
		c.base.Close()
		return
	}
	s.tarpit.hold(c.base, s.gate.hold(c.address, time.Now()))
}

// admit asks the gate, about the address too if that is known already.
func (s *Server) admit(c *Conn) error {
	full := s.full.Load()
	if !s.behindBalancer(c) {
		c.address = addressOf(c.remote)
	}
	own, other, err := s.gate.arrive(c, full, time.Now())
	if full && errors.Is(err, ErrFull) {
		err = ErrNoMemory
	}
	s.crowdOut(own)
	s.crowdOut(other)
	return err
}

func (s *Server) identify(c *Conn) error {
	c.address = addressOf(c.remote)
	victim, err := s.gate.identify(c, c.address, time.Now())
	s.crowdOut(victim)
	return err
}

// crowdOut closes a connection, if it is one, to make room.
func (s *Server) crowdOut(victim *Conn) {
	if victim != nil && victim.fail(ErrCrowded) {
		s.stats.CrowdedOut.Add(1)
	}
}

// remove forgets c; its goroutine is about to end.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.stats.Connections.Add(-1)
	if c.readyAt >= 0 {
		s.ready.remove(c)
		s.stats.Ready.Add(-1)
	}
	if s.empty != nil && len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
}

func (s *Server) addReady(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.readyAt < 0 {
		s.ready.add(c)
		s.stats.Ready.Add(1)
	}
}

// Conns calls f for every connection that has subscribed and authorized.
func (s *Server) Conns(f func(*Conn)) {
	s.mu.Lock()
	conns := s.ready.fastestFirst()
	s.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// Shutdown stops accepting connections, asks the miners to reconnect (they find
// the successor at the same address, or their backup) where reconnect is true, and
// waits until all have left or ctx ends; then it does what Close does.
func (s *Server) Shutdown(ctx context.Context, reconnect bool) {
	s.stopListening()
	if reconnect {
		s.Conns((*Conn).Reconnect)
	}
	s.mu.Lock()
	if len(s.conns) > 0 && s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	if empty != nil {
		select {
		case <-empty:
		case <-ctx.Done():
		}
	}
	s.Close()
}

// Close closes all listeners and connections and returns when the last
// Disconnected has. It must not be called by a Handler method.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed.Store(true)
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	s.stopListening()
	s.tarpit.drop(true)
	for _, c := range conns {
		c.fail(ErrServerClosed)
	}
	s.wg.Wait()
}

func (s *Server) stopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		delete(s.listeners, l)
		l.Close()
	}
}

// Reasons that Disconnected is given, beside errors of the network.
var (
	ErrServerClosed     = errors.New("server closed")
	ErrSlowReader       = errors.New("miner does not read what it is sent")
	ErrIdle             = errors.New("miner is silent")
	ErrHandshakeTimeout = errors.New("miner has not subscribed and authorized in time")
	ErrLineTimeout      = errors.New("miner has begun a line and not ended it in time")
	ErrLineTooLong      = errors.New("line is too long")
	ErrGarbage          = errors.New("too many lines that are no Stratum messages")
	ErrNotStratum       = errors.New("this is not Stratum")
	ErrBanned           = errors.New("address is banned for garbage")
	ErrNoMemory         = errors.New("no memory is left for new connections")
	ErrTooManyConns     = errors.New("too many connections from this address")
	ErrFull             = errors.New("too many connections")
	ErrCrowded          = errors.New("another connection needed the room of one that has not logged in, or has no shares")
	ErrGuessing         = errors.New("too many refused logins from this address")
	ErrInputFull        = errors.New("too many incomplete lines of all miners together")
)
