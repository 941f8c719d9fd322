package stratum

import (
	"bytes"
	"errors"
	"io"
	"math"
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
	light     float64 // those of them that others do not wait for
	refilled  instant
	garbage   int
	sealed    int     // bytes that TLS has read and not given, but for what is usual
	chargedTo uint64  // output.queued up to which nothing is to be charged
	paid      int     // bytes of the line being read that it was charged for already
	blanks    int     // empty lines since the last message
	pieces    int     // reads since then that brought none
	proof     int     // class that accepted shares have shown
	workedAt  instant // of an accepted share, not always the last; 0: there was none
	held      waits   // of Server.partial
	refusals  int     // of authorize
}

// lineBuffer holds input until its lines are complete, and what a share needs
// while it is judged.
type lineBuffer struct {
	b          []byte
	small      []byte // while b is greater: what it was
	start, end int    // of the input not yet taken
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

// lineBufferSize is that of its bytes, lineBufferOverhead about that of the rest.
const (
	lineBufferSize     = 4096
	lineBufferOverhead = 4096
)

var lineBuffers = sync.Pool{New: func() any { return &lineBuffer{b: make([]byte, lineBufferSize)} }}

// greatLine has room for the longest line of the default LineLength, and what follows it:
// whoever sends one after the other has nothing allocated.
type greatLine [5 * lineBufferSize]byte

var greatLines = sync.Pool{New: func() any { return new(greatLine) }}

// grow makes more space, where there is none.
func (l *lineBuffer) grow() {
	b := l.b
	if len(b) > lineBufferSize {
		l.b = append(b, make([]byte, len(b))...)
		return
	}
	l.small, l.b = b, greatLines.Get().(*greatLine)[:]
	copy(l.b, b)
}

// shrink is the reverse, for an empty buffer.
func (l *lineBuffer) shrink() {
	if l.small == nil {
		return
	}
	if len(l.b) == len(greatLine{}) {
		greatLines.Put((*greatLine)(l.b))
	}
	l.small, l.b = nil, l.small
}

// isFull reports whether free has to grow.
func (l *lineBuffer) isFull() bool { return l.end-l.start == len(l.b) }

// free is the space for more input; there is some.
func (l *lineBuffer) free() []byte {
	switch {
	case l.isFull():
		l.grow()
	case l.end == len(l.b):
		l.end = copy(l.b, l.b[l.start:l.end])
		l.start = 0
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
		l.start, l.end = 0, 0
		l.shrink()
		lineBuffers.Put(l)
	}
}

func (c *Conn) releaseIdleInput() {
	if c.lines.start == c.lines.end {
		c.releaseInput()
	}
}

// hold counts the memory of a buffer that is kept while the connection waits for what
// it has begun, or for its turn; unhold must follow.
func (c *Conn) hold() error {
	bytes := int64(len(c.lines.b)+len(c.lines.small)) + lineBufferOverhead
	p := &c.server.partial
	p.set(c, bytes, c.workedAt != 0)
	for { // a buffer may be greater than that of who goes
		switch victim := p.victim(c.server.opts.PartialBytes); victim {
		case nil:
			return nil
		case c:
			return ErrInputFull
		default:
			victim.Close(ErrInputFull)
		}
	}
}

func (c *Conn) unhold() { c.server.partial.set(c, 0, false) }

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
	if l := c.lines; l != nil && l.start != l.end {
		defer c.unhold()
		if err := c.hold(); err != nil {
			return err
		}
	}
	for {
		due, reason := c.deadline()
		if reason != nil && (c.armed == 0 || due < c.armed) {
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
			c.unseal(n)
			c.server.stats.BytesIn.Add(uint64(n))
			c.lastRead = c.server.now()
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.armed = 0
			if reason != nil && c.server.now() >= due {
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
	due, reason := instant(math.MaxInt64), error(nil)
	for _, limit := range [...]struct {
		applies bool
		from    instant
		time    time.Duration
		reason  error
	}{
		{true, c.lastRead, o.Idle, ErrIdle},
		{!c.isReady, c.started, o.Handshake, ErrHandshakeTimeout},
		{c.lineStart != 0, c.lineStart, o.LineTime, ErrLineTimeout},
	} {
		if d := limit.from + instant(limit.time); limit.applies && limit.time > 0 && d < due {
			due, reason = d, limit.reason
		}
	}
	return due, reason
}

// handleLines handles the complete lines that have been read.
func (c *Conn) handleLines() error {
	defer c.judge() // what waits for more shares
	l := c.lines
	c.pieces++
	if !c.greeted {
		first := bytes.TrimLeft(l.b[l.start:l.end], blank)
		if len(first) > 0 && first[0] != '{' {
			return c.cutGarbage(ErrNotStratum)
		}
		c.greeted = len(first) > 0
	}
	for {
		line, ok := l.next()
		if !ok {
			break
		}
		c.lineStart = 0
		if tooLong(len(line), c.server.opts.LineLength) {
			return c.cutGarbage(ErrLineTooLong)
		}
		if line = trim(line); len(line) == 0 {
			if c.blanks++; c.blanks > maxBlanks {
				return c.cutGarbage(ErrGarbage)
			}
			continue
		}
		c.blanks, c.pieces = 0, 0
		if err := c.throttle(); err != nil {
			return err
		}
		err := c.handle(line)
		c.paid = 0
		if err != nil {
			return err
		}
		if c.ending.Load() {
			return net.ErrClosed
		}
	}
	switch {
	case l.start == l.end:
		l.start, l.end = 0, 0
	case tooLong(l.end-l.start-1, c.server.opts.LineLength): // 1 for a carriage return
		return c.cutGarbage(ErrLineTooLong)
	case c.lineStart == 0:
		c.lineStart = max(c.server.now(), 1)
	}
	if l.isFull() {
		return c.payAhead(len(greatLine{}) - lineBufferSize)
	}
	if c.pieces > freePieces {
		return c.throttle()
	}
	return nil
}

// freePieces are the reads of a message that cost no token: small devices send their lines
// in several packets. To be woken for each byte costs as much as a share does.
const freePieces = 8

// blank are what lines may begin and end with: some devices send the zero byte that ends a
// text, too, and programs that took their line from a file a byte order mark.
const blank = " \t\r\n\x00\ufeff"

func trim(line []byte) []byte {
	line = bytes.TrimSpace(line)
	if len(line) > 0 && (line[0] == 0 || line[0] == 0xef || line[len(line)-1] == 0) {
		line = bytes.Trim(line, blank)
	}
	return line
}

func tooLong(n, limit int) bool { return limit > 0 && n > limit }

// throttle takes one token from the connection's bucket, and waits for it if the
// bucket is empty: the miner is read more slowly, and nothing it sent is lost.
// Messages that are dearer than a share are charged afterwards, by charge.
func (c *Conn) throttle() (err error) {
	o := &c.server.opts
	if !o.paced() {
		return nil
	}
	if c.tokens < 1 || c.light < 1 {
		c.refill()
	}
	wait := time.Duration(0)
	if c.tokens < 1 {
		wait = max(time.Duration((1-c.tokens)/o.MessageRate*float64(time.Second)), fullWait)
	}
	soon, _ := c.borrow(true)
	wait = max(wait, soon)
	if wait >= leastWait {
		c.server.stats.Throttled.Add(1)
		c.judge()
		c.uncork()
		if err = c.hold(); err == nil {
			c.rest(wait)
			c.refill()
		}
		c.unhold()
		c.cork()
	}
	c.tokens--
	c.light--
	return err
}

// borrow has light, where it is used up, filled from the tokens of all connections together; it
// says how long to wait for them. Who has to wait wakes for some messages together, and no later
// than it had been given as many by itself: then there are none, as there are where it does not
// mean to wait and they are not there.
func (c *Conn) borrow(waits bool) (wait time.Duration, ok bool) {
	o := &c.server.opts
	if c.light >= 1 || o.LightRate <= 0 || o.SharedRate <= 0 {
		return 0, true
	}
	need, most := sharedChunk-c.light, time.Duration(0)
	if waits {
		most = time.Duration(need / o.LightRate * float64(time.Second))
	}
	if wait, ok = c.server.shared.take(need, o.SharedRate, c.server.now(), most); ok {
		c.light = sharedChunk
	}
	return wait, ok
}

// sharedChunk is how many tokens of all connections together one takes at once.
const sharedChunk = 4 * otherTokens

// leastWait is the shortest time worth sleeping: what is owed of less is waited for with
// the next messages. fullWait is the shortest of a connection that has used up its own
// tokens: thousands of those must not wake up for every message.
const (
	leastWait = 20 * time.Millisecond
	fullWait  = 250 * time.Millisecond
)

// rest sleeps, or until the connection ends.
func (c *Conn) rest(d time.Duration) {
	ended := make(chan struct{})
	c.mu.Lock()
	c.resting = ended
	c.mu.Unlock()
	if !c.ending.Load() {
		timer := time.NewTimer(d)
		select {
		case <-ended:
		case <-timer.C:
		}
		timer.Stop()
	}
	c.mu.Lock()
	c.resting = nil
	c.mu.Unlock()
}

// wake ends a rest, after ending was set.
func (c *Conn) wake() {
	c.mu.Lock()
	if c.resting != nil {
		close(c.resting)
		c.resting = nil
	}
	c.mu.Unlock()
}

// shared is the bucket of all connections together.
type shared struct {
	mu     sync.Mutex // guards the rest
	tokens float64    // at a time; below 0: some wait for theirs
	at     instant
}

// take takes n tokens, of which there are rate a second and at most those of a second
// at once; it says how long to wait for them. If that were longer than most, it takes none
// and says to wait for most.
func (s *shared) take(n, rate float64, now instant, most time.Duration) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = min(s.tokens+time.Duration(now-s.at).Seconds()*rate, rate)
	s.at = now
	wait = time.Duration(max(n-s.tokens, 0) / rate * float64(time.Second))
	if wait > most {
		return most, false
	}
	s.tokens -= n
	return wait, true
}

// lightBurst is how many seconds' worth of LightRate a connection may send at once.
const lightBurst = 8

func (c *Conn) refill() {
	o := &c.server.opts
	now := c.server.now()
	elapsed := time.Duration(now - c.refilled).Seconds()
	c.tokens = min(c.tokens+elapsed*o.MessageRate, float64(o.MessageBurst))
	c.light = min(c.light+elapsed*o.LightRate, lightBurst*o.LightRate)
	c.refilled = now
}

// A message that is no share costs as much as otherTokens, and one more for each
// bytesPerToken of it and of what it brings about: whoever repeats what is legal gets no
// more out of the server than whoever sends shares.
const (
	otherTokens   = 4
	bytesPerToken = 256
)

// charge takes the tokens for a message of some bytes that is no share, with the output
// that is not charged yet; throttle has taken one.
func (c *Conn) charge(bytes int) {
	out := c.queuedBytes() - c.chargedTo
	paid := min(c.paid, bytes)
	c.paid -= paid
	c.spend(otherTokens - 1 + float64(bytes-paid)/bytesPerToken + float64(out)/bytesPerToken)
}

// payAhead takes the tokens for bytes of a line that are still to come. No miner's line is
// longer than the buffer, so who sends such ones, and never had a share, is closed when others
// have use for the tokens.
func (c *Conn) payAhead(bytes int) error {
	c.paid += bytes
	c.spend(float64(bytes) / bytesPerToken)
	if c.workedAt == 0 && c.server.opts.paced() {
		c.refill()
		if _, ok := c.borrow(false); !ok {
			return ErrInputFull
		}
	}
	return c.throttle()
}

const (
	// A record of TLS has so many bytes beside what it holds, and hardly more than mostSealed
	// come before what they hold is given.
	recordBytes = 64
	mostSealed  = 20 << 10
	// sealedPerToken: a record for another key has 26 bytes, and costs no less than a share.
	sealedPerToken = 26
)

// unseal takes the tokens for what TLS has read for bytes that it gives, where that is more than
// these need: there may be other keys, or padding, without end.
func (c *Conn) unseal(bytes int) {
	c.sealed = max(c.sealed-bytes-recordBytes, 0)
	if more := c.sealed - mostSealed; more > 0 {
		c.sealed = mostSealed
		c.spend(float64(more) / sealedPerToken)
	}
}

func (c *Conn) spend(tokens float64) {
	c.tokens -= tokens
	c.light -= tokens
}

// maxGarbage lines are answered before the connection is closed, maxBlanks empty ones
// are passed over from one message to the next.
const (
	maxGarbage = 10
	maxBlanks  = 100
)

// noteGarbage counts a line that is no message; false: it was the last one.
func (c *Conn) noteGarbage() bool {
	c.garbage++
	c.server.stats.Garbage.Add(1)
	c.Penalize(linePoints, "garbage")
	return c.garbage <= maxGarbage && !c.server.gate.narrowed(c, time.Now())
}

// cutGarbage is noteGarbage for what closes the connection.
func (c *Conn) cutGarbage(reason error) error {
	c.noteGarbage()
	c.Penalize(closePoints, "garbage")
	return reason
}
