package load

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// socket reads a connection into a buffer that is there only while there is
// something to read, and tells when it came: by the kernel's clock where the kernel
// stamps what it receives, so that a generator short of CPU does not count its own
// slowness as the pool's.
type socket struct {
	net.Conn
	raw     syscall.RawConn       // nil: read through Conn
	ready   func(fd uintptr) bool // (*socket).readReady
	stamped bool                  // the kernel stamps
	buffer  *buffer               // nil: none held
	n       int
	err     error
	at      int64 // when the newest byte came, unix nanoseconds
	lag     time.Duration
}

const bufferSize = 16 << 10

type buffer struct {
	data [bufferSize]byte
	oob  [64]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func newSocket(conn net.Conn) *socket {
	s := &socket{Conn: conn}
	s.enableStamps()
	return s
}

// read waits for input. What it returns is valid until release or the next read.
// at is when the newest byte of it came, lag how much later it was read here.
func (s *socket) read() (data []byte, at int64, lag time.Duration, err error) {
	if s.raw == nil {
		if s.buffer == nil {
			s.buffer = buffers.Get().(*buffer)
		}
		n, err := s.Conn.Read(s.buffer.data[:])
		return s.buffer.data[:n], unixNow(), 0, err
	}
	if err := s.raw.Read(s.ready); err != nil {
		return nil, 0, 0, err
	}
	return s.buffer.data[:s.n], s.at, s.lag, s.err
}

// release gives the buffer back until the next read.
func (s *socket) release() {
	if s.buffer != nil {
		buffers.Put(s.buffer)
		s.buffer = nil
	}
}

func unixNow() int64 { return time.Now().UnixNano() }
