package stratum

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one miner's connection to a Server. Its methods may be called by any
// goroutine, also after the connection has gone: messages are then dropped.
type Conn struct {
	server  *Server
	id      uint64
	base    net.Conn // as accepted
	conn    net.Conn // base, or what speaks PROXY and TLS over it
	remote  net.Addr
	address netip.Addr // what limits and bans go by
	data    any
	readyAt int // index in its class of Server.ready, -1: not there; guarded by Server.mu
	class   int // in Server.ready; guarded by Server.mu
	gate    entry

	input
	output

	// ending is set once the connection is to end after what was sent has left.
	ending atomic.Bool

	mu sync.Mutex // guards output and what follows

	reason         error         // why it ends; nil while it lives
	resting        chan struct{} // closed when it ends; nil: its reader does not rest
	failed         bool          // base is closed
	userAgent      string
	workers        workers
	subscribed     bool
	rolling        bool // version rolling was asked for and granted
	minerMask      uint32
	serverMask     uint32
	wantExtranonce bool
	difficulty     Difficulty // told last
	lastRequest    uint64     // id of our last request
}

func newConn(s *Server, base net.Conn) *Conn {
	c := &Conn{server: s, id: s.lastID.Add(1), base: base, conn: base, remote: base.RemoteAddr(), readyAt: -1}
	c.tokens, c.light, c.refilled = float64(s.opts.MessageBurst), lightBurst*s.opts.LightRate, s.now()
	return c
}

// ID is unique among the connections of a Server.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr is the miner's address, as told by the balancer where there is one.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Address is what limits go by: the miner's, or the /64 of an IPv6 one.
func (c *Conn) Address() netip.Addr { return c.address }

// SetData keeps what belongs to the connection; call it in Handler.Connected.
func (c *Conn) SetData(data any) { c.data = data }

// Data is what SetData was given.
func (c *Conn) Data() any { return c.data }

// UserAgent is what the miner calls itself, at most 128 bytes of printable text.
func (c *Conn) UserAgent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.userAgent
}

// Workers are the names that were authorized on the connection.
func (c *Conn) Workers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.workers.names...)
}

// VersionMask is the version bits that the miner may roll: what it asked for and
// the server grants; 0: none.
func (c *Conn) VersionMask() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versionMask()
}

func (c *Conn) versionMask() uint32 {
	if !c.rolling {
		return 0
	}
	return c.minerMask & c.serverMask
}

// WantsExtranonce reports whether the miner understands mining.set_extranonce.
func (c *Conn) WantsExtranonce() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wantExtranonce
}

// SetDifficulty sends mining.set_difficulty. Miners apply it to the jobs after it,
// so a Notify is to follow soon.
func (c *Conn) SetDifficulty(d Difficulty) {
	b := c.begin()
	c.difficulty = d
	b = append(b, `{"id":null,"method":"mining.set_difficulty","params":[`...)
	b = appendDifficulty(b, d)
	c.commitNotification(append(b, "]}\n"...))
}

// Notify sends a job.
func (c *Conn) Notify(job *EncodedJob) {
	c.server.jobIDs.add(job.id)
	c.mu.Lock()
	c.sendShared(job.line)
}

// SetVersionMask changes the version bits that the server grants on this
// connection, and tells the miner if that makes a difference to it.
func (c *Conn) SetVersionMask(mask uint32) {
	c.mu.Lock()
	same := c.serverMask == mask
	c.mu.Unlock()
	if same {
		return
	}
	b := c.begin()
	before := c.versionMask()
	c.serverMask = mask
	if after := c.versionMask(); after != before {
		c.commitNotification(appendVersionMask(b, after))
		return
	}
	c.commit(b)
}

func appendVersionMask(b []byte, mask uint32) []byte {
	b = append(b, `{"id":null,"method":"mining.set_version_mask","params":["`...)
	return append(appendHex32(b, mask), "\"]}\n"...)
}

// SetExtranonce gives the miner another search space from the next Notify on. It
// returns false, and sends nothing, if the miner has not said that it understands
// that: then Close the connection, and it will subscribe again.
func (c *Conn) SetExtranonce(extranonce1 []byte, extranonce2Size int) bool {
	if !c.WantsExtranonce() {
		return false
	}
	b := c.begin()
	b = append(b, `{"id":null,"method":"mining.set_extranonce","params":[`...)
	b = appendExtranonce(b, extranonce1, extranonce2Size)
	c.commitNotification(append(b, "]}\n"...))
	return true
}

// ShowMessage has the miner show a text, where it can.
func (c *Conn) ShowMessage(text string) {
	b := c.begin()
	b = append(b, `{"id":null,"method":"client.show_message","params":[`...)
	b = appendString(b, text)
	c.commitNotification(append(b, "]}\n"...))
}

// Reconnect asks the miner to connect again, to where it is connected now.
func (c *Conn) Reconnect() {
	b := c.begin()
	c.commitNotification(append(b, `{"id":null,"method":"client.reconnect","params":[]}`+"\n"...))
}

// Ping sends mining.ping. Many miners do not answer, and it is no fault of theirs.
func (c *Conn) Ping() {
	b := c.begin()
	c.lastRequest++
	b = append(b, `{"id":`...)
	b = appendUint(b, c.lastRequest)
	c.commitNotification(append(b, `,"method":"mining.ping","params":[]}`+"\n"...))
}

// Penalize adds points to the ban score of the miner's address (see Limits.BanScore)
// and closes the connection if that bans it. It is for garbage only: stale and easy
// shares happen to good miners.
func (c *Conn) Penalize(points float64, reason string) {
	if !c.server.gate.penalize(c, points, time.Now()) {
		return
	}
	c.server.stats.Bans.Add(1)
	c.server.log.Warn("address banned", "address", c.address, "for", c.server.opts.BanTime, "reason", reason)
	c.Close(ErrBanned)
}

// Close ends the connection after what was sent has left. The reason is given to
// Disconnected.
func (c *Conn) Close(reason error) {
	if reason == nil {
		reason = net.ErrClosed
	}
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.mu.Unlock()
	if !c.ending.Swap(true) {
		// The reader wakes and does what is left.
		c.conn.SetReadDeadline(time.Unix(1, 0))
		c.wake()
	}
}

// fail closes the connection at once; it returns false if it was closed already.
func (c *Conn) fail(reason error) bool {
	first := c.end(reason)
	if first {
		c.base.Close()
	}
	return first
}

// end is fail that leaves the socket open, where it returns true.
func (c *Conn) end(reason error) bool {
	c.mu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	first := !c.failed
	c.failed = true
	c.dropOutput()
	c.countUnread()
	c.mu.Unlock()
	c.ending.Store(true)
	c.wake()
	return first
}

// serve is the connection's goroutine.
func (c *Conn) serve(config *tls.Config) {
	s := c.server
	defer s.wg.Done()
	defer s.remove(c)
	c.started = s.now()
	c.lastRead = c.started

	defer func() { s.gate.leave(c, time.Now()) }()
	if err := c.open(config); err != nil {
		s.stats.Refused.Add(1)
		s.log.Debug("connection refused", "remote", c.remote.String(), "error", err)
		if errors.Is(err, ErrBanned) && c.end(err) { // behind a balancer
			s.hold(c)
			return
		}
		c.fail(err)
		return
	}
	if err := s.handler.Connected(c); err != nil {
		s.stats.Refused.Add(1)
		s.log.Debug("connection refused by the pool", "remote", c.remote.String(), "error", err)
		c.fail(err)
		return
	}
	s.stats.Accepted.Add(1)
	err := c.readLines()
	if c.isNuisance(err) {
		c.waitOutput(lingerTime)
		if c.end(err) {
			s.hold(c)
		}
	} else {
		c.linger()
		c.fail(err)
	}
	c.releaseInput()
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	if errors.Is(reason, ErrIdle) || errors.Is(reason, ErrHandshakeTimeout) || errors.Is(reason, ErrLineTimeout) {
		s.stats.IdleCut.Add(1)
	}
	if errors.Is(reason, syscall.ETIMEDOUT) { // the kernel's word for what cutSlow sees otherwise
		s.stats.SlowCut.Add(1)
	}
	s.log.Debug("connection closed", "remote", c.remote.String(), slog.Any("reason", reason))
	s.handler.Disconnected(c, reason)
}

// open finds out who is there behind a balancer, and begins TLS.
func (c *Conn) open(config *tls.Config) error {
	if config == nil {
		c.tune()
	}
	if c.server.behindBalancer(c) {
		if err := c.readProxyHeader(); err != nil {
			return err
		}
		if err := c.server.identify(c); err != nil {
			return err
		}
	}
	if config != nil {
		return c.handshakeTLS(config)
	}
	if tcp, ok := c.conn.(*net.TCPConn); ok && rawIO {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.readRaw, c.writeRaw = raw, raw
			c.onReadable, c.onWritable = c.readSocket, c.writeSocket
		}
	}
	return nil
}

func (c *Conn) tune() {
	if tcp, ok := c.base.(*net.TCPConn); ok {
		c.server.opts.tune(tcp)
	}
}

// isNuisance reports whether the connection ends for garbage, of which its address has
// sent more: who comes once on the wrong port, or with a line too long, is told at once.
// Or for input that waits where others' waits, too, if it never had a share.
func (c *Conn) isNuisance(err error) bool {
	c.mu.Lock()
	if c.reason != nil {
		err = c.reason
	}
	c.mu.Unlock()
	if errors.Is(err, ErrInputFull) {
		return c.workedAt == 0
	}
	isGarbage := errors.Is(err, ErrGarbage) || errors.Is(err, ErrNotStratum) || errors.Is(err, ErrLineTooLong) || errors.Is(err, ErrBanned)
	return isGarbage && c.server.gate.isNuisance(c, time.Now())
}

// lingerTime is how long the last output of a connection may take.
const lingerTime = 2 * time.Second

// linger lets what was sent reach the miner: closing a socket with unread input
// in it would reset the connection and take the last reply along.
func (c *Conn) linger() {
	c.mu.Lock()
	lost := c.failed
	c.mu.Unlock()
	half, ok := c.base.(interface{ CloseWrite() error })
	if lost || !ok || c.base != c.conn {
		return
	}
	c.waitOutput(lingerTime)
	if half.CloseWrite() != nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(lingerTime))
	c.needInput()
	for total := 0; total < 1<<20; {
		n, err := c.conn.Read(c.lines.b)
		if err != nil {
			return
		}
		total += n
	}
}

// workers are the names authorized on a connection; most have one.
type workers struct {
	names []string
	bytes int               // of them together
	index map[string]string // only where there are many names
}

const fewWorkers = 16

func (w *workers) find(name []byte) (string, bool) {
	if w.index != nil {
		s, ok := w.index[string(name)]
		return s, ok
	}
	for _, s := range w.names {
		if s == string(name) {
			return s, true
		}
	}
	return "", false
}

func (w *workers) add(name string) {
	if _, ok := w.find([]byte(name)); ok {
		return
	}
	w.names = append(w.names, name)
	w.bytes += len(name)
	switch {
	case w.index != nil:
		w.index[name] = name
	case len(w.names) > fewWorkers:
		w.index = make(map[string]string, 2*fewWorkers)
		for _, s := range w.names {
			w.index[s] = s
		}
	}
}
