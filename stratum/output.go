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
	writing bool // a drain goroutine is at work
	flying  int  // bytes that it has taken

	writeRaw   syscall.RawConn // nil: always write by drain
	onWritable func(fd uintptr) bool
	unsent     []byte // argument and
	sent       int    // results of onWritable
	sendErr    error
}

type buffer struct{ b []byte }

const bufferSize = 2048

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, bufferSize)} }}

func release(b *buffer) {
	if cap(b.b) <= 8*bufferSize {
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
	c.buffer.b = b
	if c.failed {
		c.dropOutput()
		c.mu.Unlock()
		return
	}
	if c.corks == 0 || len(b) >= 8*bufferSize {
		c.flush()
	}
	c.checkQueue()
}

// sendShared sends bytes that many connections share: without a copy if nothing
// waits before them. The connection is locked, and unlocked on return.
func (c *Conn) sendShared(line []byte) {
	if c.failed {
		c.mu.Unlock()
		return
	}
	c.server.stats.Notifications.Add(1)
	if c.corks == 0 && !c.writing && c.buffer == nil {
		line = line[c.trySend(line):]
	}
	if len(line) > 0 {
		if c.buffer == nil {
			c.buffer = buffers.Get().(*buffer)
		}
		c.buffer.b = append(c.buffer.b, line...)
		if c.corks == 0 {
			c.flush()
		}
	}
	c.checkQueue()
}

// checkQueue unlocks the connection and cuts it off if too much waits.
func (c *Conn) checkQueue() {
	waiting := c.flying
	if c.buffer != nil {
		waiting += len(c.buffer.b)
	}
	limit := c.server.opts.WriteQueue
	slow := c.writing && !c.failed && limit > 0 && waiting > limit
	c.mu.Unlock()
	if slow {
		c.cutSlow()
	}
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
	c.checkQueue()
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
	c.writing = true
	if c.writeRaw != nil {
		c.server.stats.Deferred.Add(1)
	}
	c.server.wg.Add(1) // the reader, or Server.start, holds it above zero
	go c.drain()
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

func (c *Conn) drain() {
	defer c.server.wg.Done()
	for {
		c.mu.Lock()
		taken := c.buffer
		c.buffer = nil
		c.flying = 0
		if taken == nil || c.failed {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.flying = len(taken.b)
		c.mu.Unlock()

		c.conn.SetWriteDeadline(time.Now().Add(c.server.opts.WriteTimeout))
		n, err := c.conn.Write(taken.b)
		c.server.stats.BytesOut.Add(uint64(n))
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.cutSlow()
			} else {
				c.fail(err)
			}
			continue // to the end above
		}
		c.conn.SetWriteDeadline(time.Time{})
		release(taken)
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
