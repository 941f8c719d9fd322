package load

import (
	"encoding/binary"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// enableStamps has the kernel stamp what is received, with CLOCK_REALTIME.
func (s *socket) enableStamps() {
	tcp, ok := s.Conn.(*net.TCPConn)
	if !ok {
		return // TLS: bytes and messages are not the same
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	s.raw, s.ready = raw, s.readReady
	_ = raw.Control(func(fd uintptr) {
		s.stamped = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) == nil
	})
}

// readReady is called when the socket may have input; it returns false to wait for
// more.
func (s *socket) readReady(fd uintptr) bool {
	if s.buffer == nil {
		s.buffer = buffers.Get().(*buffer)
	}
	for {
		n, oobn, _, _, err := unix.Recvmsg(int(fd), s.buffer.data[:], s.buffer.oob[:], 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			s.release()
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		s.n, s.err = max(n, 0), err
		now := unixNow()
		s.at, s.lag = now, 0
		if at := stamp(s.buffer.oob[:max(oobn, 0)]); at > 0 && at < now {
			s.at, s.lag = at, time.Duration(now-at)
		}
		return true
	}
}

// stamp reads the time from a control message; 0: there is none.
func stamp(oob []byte) int64 {
	if len(oob) < unix.SizeofCmsghdr {
		return 0
	}
	header, data, _, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil || header.Level != unix.SOL_SOCKET || header.Type != unix.SO_TIMESTAMPNS {
		return 0
	}
	switch len(data) {
	case 16:
		return int64(binary.NativeEndian.Uint64(data))*int64(time.Second) + int64(binary.NativeEndian.Uint64(data[8:]))
	case 8: // 32-bit systems
		return int64(binary.NativeEndian.Uint32(data))*int64(time.Second) + int64(binary.NativeEndian.Uint32(data[4:]))
	}
	return 0
}
