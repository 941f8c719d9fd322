package stratum

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// instant is a time since the server's start; it is smaller than a time.Time.
type instant time.Duration

func (s *Server) now() instant { return instant(time.Since(s.epoch)) }

// input is the reading half of a Conn; only its goroutine uses it.
type input struct {
	readRaw    syscall.RawConn // nil: read by conn.Read, which needs a buffer to wait with
	onReadable func(fd uintptr) bool
	received   int // results of onReadable
	receiveErr error

	lines *lineBuffer // nil: no input is there

	started   instant
	lastRead  instant
	lineStart instant // when the incomplete line in lines was begun; 0: there is none
	armed     instant // the read deadline that is set; 0: none
	isReady   bool    // subscribed and authorized
	greeted   bool    // a first line was seen
	tokens    float64 // messages that may be taken before waiting
	refilled  instant
	garbage   int
	refusals  int // of authorize
}

// lineBuffer holds input until its lines are complete, and what a share needs
// while it is judged.
type lineBuffer struct {
	b          []byte
	start, end int // of the input not yet taken
	message    message
	submits    [maxBatch]submit
	waiting    int // submits that are not answered yet
	batch      [maxBatch]*Submission
}

// submit is a mining.submit that was read.
type submit struct {
	Submission
	id         []byte // in b
	extranonce [maxExtranonce2]byte
	malformed  bool // it has its verdict
}

// maxBatch is how many shares are judged together at most.
const maxBatch = 16

// maxExtranonce2 is the longest extranonce2 in a submit that is decoded, bytes.
const maxExtranonce2 = 64

const lineBufferSize = 4096

var lineBuffers = sync.Pool{New: func() any { return &lineBuffer{b: make([]byte, lineBufferSize)} }}

// free is the space for more input; there is some.
func (l *lineBuffer) free() []byte {
	if l.end == len(l.b) {
		if l.start > 0 {
			l.end = copy(l.b, l.b[l.start:l.end])
			l.start = 0
		} else {
			l.b = append(l.b, make([]byte, len(l.b))...)
		}
	}
	return l.b[l.end:]
}

// next is the next complete line without its end.
func (l *lineBuffer) next() ([]byte, bool) {
	i := bytes.IndexByte(l.b[l.start:l.end], '\n')
	if i < 0 {
		return nil, false
	}
	line := l.b[l.start : l.start+i]
	l.start += i + 1
	return line, true
}

func (c *Conn) needInput() {
	if c.lines == nil {
		c.lines = lineBuffers.Get().(*lineBuffer)
	}
}

func (c *Conn) releaseInput() {
	if l := c.lines; l != nil {
		c.lines = nil
		if len(l.b) == lineBufferSize {
			l.start, l.end = 0, 0
			lineBuffers.Put(l)
		}
	}
}

func (c *Conn) releaseIdleInput() {
	if c.lines.start == c.lines.end {
		c.releaseInput()
	}
}

// readLines reads and handles lines until the connection ends.
func (c *Conn) readLines() error {
	for {
		if err := c.fill(); err != nil {
			return err
		}
		c.cork()
		err := c.handleLines()
		c.uncork()
		if err != nil {
			return err
		}
	}
}

// fill waits for input. It returns an error if the connection has ended, or must
// end because a time limit has passed.
func (c *Conn) fill() error {
	for {
		due, reason := c.deadline()
		if c.armed == 0 || due < c.armed {
			c.conn.SetReadDeadline(c.server.epoch.Add(time.Duration(due)))
			c.armed = due
		}
		if c.ending.Load() {
			return net.ErrClosed
		}
		n, err := c.receive()
		switch {
		case n > 0:
			c.lines.end += n
			c.server.stats.BytesIn.Add(uint64(n))
			c.lastRead = c.server.now()
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.armed = 0
			if c.server.now() >= due {
				return reason
			}
		case err == nil:
			return io.ErrNoProgress
		default:
			return err
		}
	}
}

func (c *Conn) receive() (int, error) {
	if c.readRaw == nil {
		c.needInput()
		return c.conn.Read(c.lines.free())
	}
	if err := c.readRaw.Read(c.onReadable); err != nil {
		return 0, err
	}
	return c.received, c.receiveErr
}

// deadline is when the next time limit passes, and which that is.
func (c *Conn) deadline() (instant, error) {
	o := &c.server.opts
	due, reason := c.lastRead+instant(o.IdleTimeout), ErrIdle
	if d := c.started + instant(o.HandshakeTimeout); !c.isReady && d < due {
		due, reason = d, ErrHandshakeTimeout
	}
	if d := c.lineStart + instant(o.LineTimeout); c.lineStart != 0 && d < due {
		due, reason = d, ErrLineTimeout
	}
	return due, reason
}

// handleLines handles the complete lines that have been read.
func (c *Conn) handleLines() error {
	defer c.judge() // what waits for more shares
	l := c.lines
	if !c.greeted {
		first := bytes.TrimLeft(l.b[l.start:l.end], " \t\r\n")
		if len(first) > 0 && first[0] != '{' {
			c.noteGarbage()
			return ErrNotStratum
		}
		c.greeted = len(first) > 0
	}
	for {
		line, ok := l.next()
		if !ok {
			break
		}
		c.lineStart = 0
		if len(line) > c.server.opts.MaxLine {
			c.noteGarbage()
			return ErrLineTooLong
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		c.throttle()
		if err := c.handle(line); err != nil {
			return err
		}
		if c.ending.Load() {
			return net.ErrClosed
		}
	}
	switch {
	case l.start == l.end:
		l.start, l.end = 0, 0
	case l.end-l.start > c.server.opts.MaxLine+1: // 1 for a carriage return
		c.noteGarbage()
		return ErrLineTooLong
	case c.lineStart == 0:
		c.lineStart = max(c.server.now(), 1)
	}
	return nil
}

// throttle takes one token from the connection's bucket, and waits for it if the
// bucket is empty: the miner is read more slowly, and nothing it sent is lost.
func (c *Conn) throttle() {
	o := &c.server.opts
	if o.MessageRate < 0 || o.MessageBurst < 0 {
		return
	}
	if c.tokens < 1 {
		c.refill()
	}
	if c.tokens < 1 {
		c.server.stats.Throttled.Add(1)
		c.judge()
		c.uncork()
		for c.tokens < 1 && !c.ending.Load() {
			time.Sleep(min(time.Duration((1-c.tokens)/o.MessageRate*float64(time.Second))+time.Microsecond, 100*time.Millisecond))
			c.refill()
		}
		c.cork()
	}
	c.tokens--
}

func (c *Conn) refill() {
	o := &c.server.opts
	now := c.server.now()
	elapsed := time.Duration(now - c.refilled).Seconds()
	c.tokens = min(c.tokens+elapsed*o.MessageRate, float64(o.MessageBurst))
	c.refilled = now
}

// garbagePoints is the ban score of a line that is no message.
const garbagePoints = 10

// maxGarbage lines are answered before the connection is closed.
const maxGarbage = 10

func (c *Conn) noteGarbage() {
	c.garbage++
	c.server.stats.Garbage.Add(1)
	c.Penalize(garbagePoints, "garbage")
}
