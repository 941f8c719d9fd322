package stratum

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// output is the writing half of a Conn, guarded by Conn.mu. What is to be sent
// gathers in buffer while the connection is corked, or while a goroutine is still
// writing what came before; else it goes straight to the socket.
type output struct {
	buffer  *buffer // nil: nothing waits
	corks   int
	writing bool   // a drain goroutine is at work
	flying  int    // bytes that it has taken
	behind  waits  // of Server.unread
	counted int64  // bytes that it was told
	queued  uint64 // bytes that were sent in all

	writeRaw   syscall.RawConn // nil: always write by drain
	onWritable func(fd uintptr) bool
	unsent     []byte // argument and
	sent       int    // results of onWritable
	sendErr    error
}

func (c *Conn) queuedBytes() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued
}

type buffer struct{ b []byte }

const (
	bufferSize = 2048
	// longLine is worth a write of its own.
	longLine = 8 * bufferSize
)

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, bufferSize)} }}

func release(b *buffer) {
	if cap(b.b) <= longLine {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// begin locks the connection and gives the bytes to append a message to; commit,
// with the longer slice, unlocks it.
func (c *Conn) begin() []byte {
	c.mu.Lock()
	if c.buffer == nil {
		c.buffer = buffers.Get().(*buffer)
	}
	return c.buffer.b
}

func (c *Conn) commitNotification(b []byte) {
	c.server.stats.Notifications.Add(1)
	c.commit(b)
}

func (c *Conn) commit(b []byte) {
	added := len(b) - len(c.buffer.b)
	c.queued += uint64(added)
	c.buffer.b = b
	if c.failed {
		c.dropOutput()
		c.mu.Unlock()
		return
	}
	if c.corks == 0 || len(b) >= longLine {
		c.flush()
	}
	c.checkQueue(added)
}

// sendShared sends bytes that many connections share: without a copy if nothing
// waits before them. The connection is locked, and unlocked on return.
func (c *Conn) sendShared(line []byte) {
	if c.failed {
		c.mu.Unlock()
		return
	}
	c.server.stats.Notifications.Add(1)
	added := len(line)
	c.queued += uint64(added)
	direct := c.corks == 0
	if len(line) >= longLine {
		c.flush()
		direct = true
	}
	if direct && !c.writing && c.buffer == nil {
		// What the socket does not take is no copy, either: jobs may be long, and miners many.
		if line = line[c.trySend(line):]; len(line) > 0 {
			c.startDrain(line, nil)
		}
	} else {
		if c.buffer == nil {
			c.buffer = buffers.Get().(*buffer)
		}
		c.buffer.b = append(c.buffer.b, line...)
		if c.corks == 0 {
			c.flush()
		}
	}
	c.checkQueue(added)
}

// checkQueue unlocks the connection and cuts it off if too much waits. The bytes that
// were added last may be one long line, as may those that are being written: such are
// no reason by themselves.
func (c *Conn) checkQueue(added int) {
	more := c.countUnread()
	slow := !c.failed && over(int(c.counted)-c.flying-added, c.server.opts.UnreadBytes)
	c.mu.Unlock()
	if slow {
		c.cutSlow()
	}
	for more {
		victim := c.server.unread.victim(c.server.opts.UnreadTotal)
		if victim == nil {
			return
		}
		victim.cutSlow()
	}
}

// countUnread brings Server.unread up to date with what waits for a slow reader; more: that has
// grown. The connection is locked.
func (c *Conn) countUnread() (more bool) {
	waiting := int64(0)
	if c.writing && !c.failed {
		waiting = 1 + int64(c.flying) // what is no copy counts as well, for who has waited for longest
		if c.buffer != nil {
			waiting += int64(len(c.buffer.b))
		}
	}
	more = waiting > c.counted
	if waiting != c.counted {
		c.counted = waiting
		c.server.unread.set(c, waiting, false)
	}
	return more
}

func (c *Conn) cutSlow() {
	if c.fail(ErrSlowReader) {
		c.server.stats.SlowCut.Add(1)
	}
}

// cork lets messages gather until uncork, so that they leave in one write.
func (c *Conn) cork() {
	c.mu.Lock()
	c.corks++
	c.mu.Unlock()
}

func (c *Conn) uncork() {
	c.mu.Lock()
	c.corks--
	if !c.failed {
		c.flush()
	}
	c.checkQueue(0)
}

// flush hands what waits to the socket, or to a drain goroutine.
func (c *Conn) flush() {
	if c.buffer == nil || c.writing {
		return
	}
	if n := c.trySend(c.buffer.b); n > 0 {
		c.buffer.b = c.buffer.b[:copy(c.buffer.b, c.buffer.b[n:])]
	}
	if len(c.buffer.b) == 0 {
		release(c.buffer)
		c.buffer = nil
		return
	}
	c.startDrain(c.take())
}

// startDrain has bytes written, and what comes meanwhile. They are those of a buffer, or of
// nobody.
func (c *Conn) startDrain(b []byte, from *buffer) {
	c.writing = true
	if c.writeRaw != nil {
		c.server.stats.Deferred.Add(1)
	}
	c.server.wg.Add(1) // the reader, or Server.start, holds it above zero
	go c.drain(b, from)
}

// take gives what waits to the drain goroutine; nil: nothing does. The connection is
// locked.
func (c *Conn) take() (b []byte, from *buffer) {
	from, c.buffer, c.flying = c.buffer, nil, 0
	if from != nil {
		b, c.flying = from.b, len(from.b)
	}
	return b, from
}

// trySend writes what the socket takes without waiting.
func (c *Conn) trySend(b []byte) int {
	if c.writeRaw == nil || len(b) == 0 {
		return 0
	}
	c.unsent, c.sent, c.sendErr = b, 0, nil
	// An error shows again in drain's Write, which handles it.
	_ = c.writeRaw.Write(c.onWritable)
	c.unsent = nil
	c.server.stats.BytesOut.Add(uint64(c.sent))
	return c.sent
}

// drain writes what it was given, and what comes meanwhile.
func (c *Conn) drain(b []byte, from *buffer) {
	defer c.server.wg.Done()
	for len(b) > 0 {
		if patience := c.server.opts.Unread; patience > 0 {
			c.conn.SetWriteDeadline(time.Now().Add(patience))
		}
		n, err := c.conn.Write(b)
		c.server.stats.BytesOut.Add(uint64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.cutSlow()
		case err != nil:
			c.fail(err)
		default:
			c.conn.SetWriteDeadline(time.Time{})
			if from != nil {
				release(from)
			}
		}
		c.mu.Lock()
		b, from = c.take() // nil after an error: what waited is dropped
		if c.writing = len(b) > 0; !c.writing && from != nil {
			release(from)
		}
		c.countUnread()
		c.mu.Unlock()
	}
}

// waitOutput waits until all that was sent has left.
func (c *Conn) waitOutput(patience time.Duration) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		done := !c.writing && c.buffer == nil || c.failed
		c.mu.Unlock()
		if done {
			return
		}
	}
}

func (c *Conn) dropOutput() {
	if c.buffer != nil {
		release(c.buffer)
		c.buffer = nil
	}
}

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }
