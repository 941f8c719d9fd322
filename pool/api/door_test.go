package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"lode/internal/apidoc"
)

// Connections that somebody holds open shut nobody out.
func TestOpenConnections(t *testing.T) {
	s := New(Limits{})
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	for i := range 3 * 128 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: ") // and no more
		}
		if i%128 == 127 {
			if status, _, _ := request(t, "GET", "http://"+address+"/healthz"); status != http.StatusOK {
				t.Fatalf("after %d connections: %d", i+1, status)
			}
		}
	}
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	if s.door.order.Len() > 128 || len(s.door.conns) != s.door.order.Len() {
		t.Errorf("%d connections, %d known", s.door.order.Len(), len(s.door.conns))
	}
}

// TestUnreadPage: however many read nothing of what costs nothing, there are never more
// connections than there may be, and who asks for his health is answered.
func TestUnreadPage(t *testing.T) {
	s := New(Limits{Connections: 10})
	s.Cheap(apidoc.Doc{Path: "/page"}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	for range 50 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, strings.Repeat("GET /page HTTP/1.1\r\nHost: x\r\n\r\n", 40))
		b := make([]byte, 1)
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(b); err != nil { // its answer is on the way
			t.Fatal(err)
		}
	}
	if status, _, _ := request(t, "GET", "http://"+address+"/healthz"); status != http.StatusOK {
		t.Errorf("health check: %d", status)
	}
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	if n := s.door.order.Len(); n > 10 {
		t.Errorf("%d connections", n)
	}
}

// from is a client at an address of this machine.
func from(t *testing.T, last byte) *http.Client {
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 8, last)}}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// TestAddresses: an address that asks without end is slowed down and refused; the others are
// answered, and their connections stay.
func TestAddresses(t *testing.T) {
	s := New(Limits{Connections: 8})
	s.JSON(apidoc.Doc{Path: "/json"}, func() any { return 1 })
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	get := func(c *http.Client, path string) (status int, reused bool) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.StatusCode, reused
	}
	good, bad := from(t, 1), from(t, 2)
	if status, _ := get(good, "/json"); status != http.StatusOK {
		t.Fatal(status)
	}
	s.door.mu.Lock()
	pace := &s.door.visitor(addressOf("127.8.8.2:1")).pace
	pace.spent, pace.at = 1e9, time.Now() // for longer than this takes
	s.door.mu.Unlock()
	for path, want := range map[string]int{"/json": 429, "/nothing": 404, "/healthz": 200} {
		begin := time.Now()
		if status, _ := get(bad, path); status != want || time.Since(begin) < delay {
			t.Errorf("%s for the hasty: %d after %v, want %d", path, status, time.Since(begin), want)
		}
	}
	for range 50 { // and it holds connections
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 8, 2)}}).Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for _, path := range []string{"/json", "/healthz"} {
		if status, reused := get(good, path); status != http.StatusOK || !reused {
			t.Errorf("%s of another: %d, on its connection: %v", path, status, reused)
		}
	}
	if status, _ := get(from(t, 3), "/json"); status != http.StatusOK {
		t.Errorf("one that is new: %d", status)
	}
	// How often is too often: half of the whole.
	door, now := newDoor(&Limits{Connections: 8, Rate: 20}), time.Unix(1e9, 0)
	for i := range 30 {
		r := &http.Request{RemoteAddr: "10.0.0.1:1"}
		if ok := door.take(r, now); ok != (i < 10) {
			t.Errorf("request %d at once: %v", i+1, ok)
		}
	}
	if !door.take(&http.Request{RemoteAddr: "10.0.0.2:1"}, now) || !door.take(&http.Request{RemoteAddr: "10.0.0.1:1"}, now.Add(time.Second)) {
		t.Error("another address, or a second later: delayed")
	}
	// Nothing is remembered without end.
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	for i := range 3 * maxVisitors {
		s.door.visitor(addressOf(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)))
	}
	if n := len(s.door.addresses); n > maxVisitors {
		t.Errorf("%d addresses are remembered", n)
	}
	if a, b := addressOf("[2001:db8::1]:80"), addressOf("[2001:db8::ffff:2]:81"); a != b || a == addressOf("[2001:db8:0:1::1]:80") {
		t.Errorf("%v and %v", a, b)
	}
	if a, b := addressOf("127.0.0.1:80"), addressOf("[::ffff:127.0.0.1]:81"); a != b {
		t.Errorf("%v and %v", a, b)
	}
}
