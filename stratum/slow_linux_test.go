package stratum

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A miner that reads nothing is cut before the kernel has taken much for it, whether it
// is sent much or little.
func TestSocketsOfSlowReaders(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		send   func(s *Server)
	}{
		"many jobs": {Limits{}, func(s *Server) { s.Broadcast(EncodeJob(simnetJob()), nil); time.Sleep(100 * time.Microsecond) }},
		"a few jobs, and silence": {Limits{Unread: 200 * time.Millisecond}, func(s *Server) {
			if s.Stats().Broadcasts.Load() < 50 {
				s.Broadcast(EncodeJob(simnetJob()), nil)
			}
			time.Sleep(10 * time.Millisecond)
		}},
		"few jobs": {Limits{Unread: 200 * time.Millisecond}, func(s *Server) { s.Broadcast(EncodeJob(simnetJob()), nil); time.Sleep(20 * time.Millisecond) }},
	} {
		t.Run(name, func(t *testing.T) {
			reasons := make(chan error, 1)
			server, addr := startServer(t, ServerOptions{Limits: c.limits}, &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }})
			dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
				return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) })
			}}
			conn, err := dialer.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, subscribeLine+authorizeLine); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the miner is ready", func() bool { return server.Stats().Ready.Load() == 1 })
			var reason error
			for end := time.Now().Add(time.Minute); reason == nil && time.Now().Before(end); {
				c.send(server)
				select {
				case reason = <-reasons:
				default:
				}
			}
			if !errors.Is(reason, ErrSlowReader) && !errors.Is(reason, syscall.ETIMEDOUT) {
				t.Errorf("ended for %v", reason)
			}
			if server.Stats().SlowCut.Load() != 1 {
				t.Error("not counted")
			}
			if n := server.Stats().BytesOut.Load(); n > 160<<10 {
				t.Errorf("the kernel took %d bytes", n)
			}
		})
	}
}
