package stratum

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// handshake is what a TLS handshake reads from and writes to, and all that comes after it. Its
// connection has a turn only while it computes: it gives it back to read or write, which may
// take long.
type handshake struct {
	net.Conn
	c     *Conn
	input []byte // that was read and not yet taken
	turn  *turn  // nil: the handshake is over
	began time.Time
	again chan struct{} // the turn has come again
}

// helloSize is how long first messages mostly are at most.
const helloSize = 2048

var errNoTLS = errors.New("no TLS: the connection does not begin with a handshake")

// handshakeTLS begins TLS on the connection.
func (c *Conn) handshakeTLS(config *tls.Config) error {
	h := &handshake{Conn: c.conn, c: c, turn: new(turn)}
	defer h.end()
	if err := h.first(); err != nil {
		return fmt.Errorf("before the TLS handshake: %w", err)
	}
	c.tune()
	c.server.crowdOut(c.server.gate.handshake(c))
	defer c.server.gate.handshaken(c)
	conn := tls.Server(h, config)
	conn.SetDeadline(time.Now().Add(c.server.opts.handshakeTime(10 * time.Second)))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	conn.SetDeadline(time.Time{})
	c.conn = conn
	return nil
}

// first waits for the first message, and for the turn. It reads on all the time: who has
// gone leaves the line, before anything was computed for it.
func (h *handshake) first() error {
	c, turns := h.c, &h.c.server.turns
	due := time.Now().Add(c.server.opts.handshakeTime(30 * time.Second))
	h.input = make([]byte, 0, helloSize)
	if err := h.read(due); err != nil {
		return err
	}
	const record = 0x16 // its type in TLS
	if h.input[0] != record {
		return errNoTLS
	}
	most := max(c.server.opts.TLSWait, 0)
	asked := time.Now()
	v := c.server.gate.asks(c)
	for now := asked; ; now = time.Now() {
		part, sure := c.server.gate.patience(c, now)
		left := time.Duration(part*float64(most)) - now.Sub(asked)
		if left <= 0 {
			break
		}
		if !sure {
			left = min(left, most/4)
		}
		err := h.read(now.Add(left))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	h.Conn.SetReadDeadline(due)
	h.turn.wake = func() { h.Conn.SetReadDeadline(time.Unix(1, 0)) }
	turns.ask(h.turn, v)
	for !turns.isMine(h.turn) {
		err := h.readMore()
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && turns.isMine(h.turn)) {
			return err
		}
	}
	h.began = time.Now()
	h.again = make(chan struct{}, 1)
	h.turn.wake = func() { h.again <- struct{}{} }
	return nil
}

// read reads some input, or until a time.
func (h *handshake) read(until time.Time) error {
	h.Conn.SetReadDeadline(until)
	return h.readMore()
}

func (h *handshake) readMore() error {
	if len(h.input) == cap(h.input) {
		if tooLong(2*cap(h.input), h.c.server.opts.LineLength) {
			return ErrLineTooLong
		}
		h.input = append(make([]byte, 0, 2*cap(h.input)), h.input...)
	}
	n, err := h.Conn.Read(h.input[len(h.input):cap(h.input)])
	h.input = h.input[:len(h.input)+n]
	return err
}

// Read waits for bytes without the turn, and for the turn when there are some.
func (h *handshake) Read(b []byte) (n int, err error) {
	if len(h.input) > 0 {
		n = copy(b, h.input)
		h.input = h.input[n:]
		return n, nil
	}
	h.input = nil
	if h.turn == nil {
		n, err = h.Conn.Read(b)
		h.c.sealed += n
		return n, err
	}
	h.give()
	if n, err = h.Conn.Read(b); err == nil {
		h.c.server.turns.again(h.turn)
		<-h.again
		h.began = time.Now()
	}
	return n, err
}

func (h *handshake) Write(b []byte) (int, error) {
	if h.turn != nil {
		h.give()
	}
	return h.Conn.Write(b)
}

// give gives the turn back, or the place in the line.
func (h *handshake) give() { h.c.server.turns.give(h.turn, h.began) }

// end is when the handshake is over; what is read and written then is the miner's.
func (h *handshake) end() {
	h.give()
	h.turn, h.again = nil, nil
}
