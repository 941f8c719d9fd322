package api

import (
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"

	"lode/internal/apidoc"
)

// TestSockets: the kernel keeps no more for a connection than it may.
func TestSockets(t *testing.T) {
	s := New(Limits{SocketBytes: 20_000})
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	request(t, "GET", "http://"+address+"/healthz")
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	for conn := range s.door.conns {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			for _, option := range []int{syscall.SO_SNDBUF, syscall.SO_RCVBUF} {
				if n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option); err != nil || n != 40_000 { // doubled
					t.Errorf("option %d: %d bytes, %v", option, n, err)
				}
			}
		})
	}
	if len(s.door.conns) == 0 {
		t.Error("there is no connection")
	}
}
