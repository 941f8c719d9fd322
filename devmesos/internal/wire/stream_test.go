package wire

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serveStream(t *testing.T, s *Stream) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(s.Serve))
	t.Cleanup(server.Close)
	return server
}

// TestStreamChunks looks at the bytes: one record is one chunk, and the end is the
// end of the chunked coding.
func TestStreamChunks(t *testing.T) {
	s := NewStream(JSON)
	server := serveStream(t, s)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
	big := &scheduler.Event{Type: scheduler.Event_ERROR, Error: &scheduler.Event_Error{Message: strings.Repeat("x", 100_000)}}
	s.Send(big)
	s.Close()
	if err := s.Send(big); err != ErrStreamClosed {
		t.Errorf("Send after Close gives %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	var got strings.Builder
	buffer := bufio.NewReader(conn)
	for {
		line, err := buffer.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(line)
		if line == "0\r\n" {
			break
		}
	}
	_, body, _ := strings.Cut(got.String(), "\r\n\r\n")
	want := "17\r\n20\n" + `{"type":"HEARTBEAT"}` + "\r\n" +
		"186ce\r\n100039\n" + `{"type":"ERROR","error":{"message":"` + strings.Repeat("x", 100_000) + `"}}` + "\r\n0\r\n"
	if body != want {
		t.Errorf("got %.200q…\nwant %.200q…", body, want)
	}
	<-s.Done()
}

func TestStreamFramings(t *testing.T) {
	for _, framing := range []Framing{Plain, Split, Joined} {
		s := NewStream(JSON)
		server := serveStream(t, s)
		s.SetFraming(framing)
		for range 5 {
			s.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT})
		}
		s.Close()
		response, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := strings.Repeat("20\n{\"type\":\"HEARTBEAT\"}", 5); string(body) != want || err != nil {
			t.Errorf("framing %d: got %q, %v", framing, body, err)
		}
	}
}

func TestStreamMute(t *testing.T) {
	s := NewStream(JSON)
	server := serveStream(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	s.SetFraming(Mute)
	if err := s.Send(&scheduler.Event{Type: scheduler.Event_HEARTBEAT}); err != nil {
		t.Errorf("Send on a half-open stream gives %v", err)
	}
	s.Close()
	select {
	case <-s.Done():
		t.Error("a half-open stream ended")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	<-s.Done()
}

func TestStreamAbort(t *testing.T) {
	s := NewStream(JSON)
	server := serveStream(t, s)
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	s.Abort()
	if _, err := io.ReadAll(response.Body); err != io.ErrUnexpectedEOF {
		t.Errorf("an aborted stream ends with %v, want an unexpected end", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStreamCutsSlowReader(t *testing.T) {
	s := NewStream(JSON)
	record := make([]byte, 1<<20)
	var err error
	for range 65 {
		err = s.SendRecord(record)
	}
	if err != ErrStreamClosed {
		t.Errorf("after 65 MiB without a reader Send gives %v, want %v", err, ErrStreamClosed)
	}
}
