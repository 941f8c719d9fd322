//go:build unix

package stratum

import (
	"io"
	"syscall"
)

// rawIO is whether bare sockets are read and written without waiting. That lets a
// connection do without a buffer while it is idle, and a writer without waiting.
const rawIO = true

// readSocket is called when the socket may have input; it returns false to wait
// for more. Only then is there a buffer.
func (c *Conn) readSocket(fd uintptr) bool {
	c.needInput()
	for {
		n, err := syscall.Read(int(fd), c.lines.free())
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.releaseIdleInput()
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		c.received, c.receiveErr = max(n, 0), err
		return true
	}
}

// writeSocket writes what the socket takes now.
func (c *Conn) writeSocket(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), c.unsent)
		if err == syscall.EINTR {
			continue
		}
		c.sent, c.sendErr = max(n, 0), err
		return true
	}
}
