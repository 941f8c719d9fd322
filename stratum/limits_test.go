package stratum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands out the server's ends of pipes, whose miners are at any
// address: no port, no kernel, and the time of a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

type addressedConn struct {
	net.Conn
	remote net.Addr
}

func (c addressedConn) RemoteAddr() net.Addr { return c.remote }

// dial connects a miner at an address.
func (l *pipeListener) dial(from string) net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- addressedConn{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 4000))}
	return ours
}

// inBubble runs f with a server in a synctest bubble; reasons are those that
// Disconnected was given.
func inBubble(t *testing.T, opts ServerOptions, f func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, p *testPool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		reasons := make(chan error, 100)
		p := &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }}
		s := NewServer(opts, p)
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Serve(context.Background(), l) })
		f(t, s, l, reasons, p)
		s.Close()
		wg.Wait()
	})
}

// readAll gathers what the server sends until it ends the connection.
func readAll(c net.Conn) <-chan string {
	all := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(c)
		all <- string(b)
	}()
	return all
}

func TestServerTimeLimits(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   error
		after  time.Duration
		behave func(c net.Conn)
	}{
		{"says nothing", ErrHandshakeTimeout, 30 * time.Second, func(net.Conn) {}},
		{"only subscribes", ErrHandshakeTimeout, 30 * time.Second, func(c net.Conn) {
			time.Sleep(29 * time.Second)
			io.WriteString(c, subscribeLine)
		}},
		{"begins a line", ErrLineTimeout, 20 * time.Second, func(c net.Conn) { io.WriteString(c, `{"id":`) }},
		{"drips a line", ErrLineTimeout, 20 * time.Second, func(c net.Conn) {
			for _, b := range []byte(subscribeLine) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
		{"begins a line after others", ErrLineTimeout, 120 * time.Second, func(c net.Conn) {
			io.WriteString(c, subscribeLine+authorizeLine)
			time.Sleep(100 * time.Second)
			io.WriteString(c, submitLine+submitLine[:20])
		}},
		{"falls silent", ErrIdle, time.Hour + 10*time.Minute, func(c net.Conn) {
			io.WriteString(c, subscribeLine+authorizeLine)
			time.Sleep(10 * time.Minute)
			io.WriteString(c, submitLine)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, reasons <-chan error, _ *testPool) {
				start := time.Now()
				conn := l.dial("192.0.2.1")
				all := readAll(conn)
				var behaving sync.WaitGroup
				behaving.Go(func() { c.behave(conn) })
				if err := <-reasons; !errors.Is(err, c.want) {
					t.Errorf("ended for %v, want %v", err, c.want)
				}
				if took := time.Since(start); took < c.after || took > c.after+time.Second {
					t.Errorf("ended after %v, want %v", took, c.after)
				}
				<-all
				behaving.Wait()
				if s.Stats().IdleCut.Load() != 1 {
					t.Error("not counted")
				}
			})
		})
	}
}

// A miner that mines is not cut, however long.
func TestServerKeepsMiners(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{Idle: time.Minute}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, _ *testPool) {
		conn := l.dial("192.0.2.1")
		all := readAll(conn)
		io.WriteString(conn, subscribeLine+authorizeLine)
		for range 100 {
			time.Sleep(59 * time.Second)
			if _, err := io.WriteString(conn, submitLine); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		conn.Close()
		if n := strings.Count(<-all, submitReply); n != 100 {
			t.Errorf("%d shares answered", n)
		}
	})
}

func TestServerLineLimit(t *testing.T) {
	const limit = 300
	line := func(n int) string {
		return `{"id":1,"method":"mining.ping","x":"` + strings.Repeat("x", n-38) + `"}`
	}
	if len(line(limit)) != limit {
		t.Fatalf("line has %d bytes", len(line(limit)))
	}
	for _, end := range []string{"\n", "\r\n"} {
		reasons := make(chan error, 1)
		pool := &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }}
		_, addr := startServer(t, ServerOptions{Limits: Limits{LineLength: limit + len(end) - 1}}, pool)
		tooLong := func(m *rawMiner) {
			m.closed()
			m.Close()
			if err := <-reasons; !errors.Is(err, ErrLineTooLong) {
				t.Errorf("closed for %v", err)
			}
		}
		m := dialRaw(t, addr)
		m.send(line(limit) + end)
		m.expect(`{"id":1,"result":"pong","error":null}`)
		m.send(line(limit+1) + end)
		tooLong(m)
		m = dialRaw(t, addr)
		m.send(strings.Repeat(" ", 1<<16)) // without an end
		tooLong(m)
		m = dialRaw(t, addr)
		m.send(line(limit) + end)
		m.expect(`{"id":1,"result":"pong","error":null}`)
		m.send("{" + strings.Repeat(" ", limit+len(end))) // nor this, a few bytes too long
		tooLong(m)
	}
	_, addr := startServer(t, ServerOptions{}, &testPool{})
	m := dialRaw(t, addr)
	m.send(line(16<<10) + "\n" + line(16<<10) + "\n")
	m.expect(`{"id":1,"result":"pong","error":null}`, `{"id":1,"result":"pong","error":null}`)
}

func TestServerGarbage(t *testing.T) {
	reasons := make(chan error, 1)
	server, addr := startServer(t, ServerOptions{Limits: Limits{Tarpit: -1}}, &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }})
	for name, first := range map[string]string{
		"HTTP": "GET / HTTP/1.1\r\nHost: pool\r\n\r\n", "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "text": "hello\n", "batch": `[{"id":1}]` + "\n",
	} {
		m := dialRaw(t, addr)
		m.send(first)
		m.closed()
		m.Close()
		if err := <-reasons; !errors.Is(err, ErrNotStratum) {
			t.Errorf("%s: ended for %v", name, err)
		}
	}
	m := dialRaw(t, addr)
	for range maxGarbage {
		m.send("{]\n")
		m.expect(`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}`)
	}
	m.send("{]\n")
	m.closed()
	m.Close()
	if err := <-reasons; !errors.Is(err, ErrGarbage) {
		t.Errorf("ended for %v", err)
	}
	if n := server.Stats().Garbage.Load(); n != 4+maxGarbage+1 {
		t.Errorf("%d garbage lines counted", n)
	}
	if n := server.Stats().Bans.Load(); n != 0 {
		t.Errorf("banned %d times for some lines", n)
	}
}

// Refused logins are answered more and more slowly, and run into the time limit.
func TestServerAuthDelay(t *testing.T) {
	inBubble(t, ServerOptions{}, func(t *testing.T, _ *Server, l *pipeListener, reasons <-chan error, p *testPool) {
		p.authorize = func(*Conn, string, string) error { return errors.New("no") }
		start := time.Now()
		conn := l.dial("192.0.2.1")
		all := readAll(conn)
		go io.WriteString(conn, strings.Repeat(authorizeLine, 1000))
		if err := <-reasons; !errors.Is(err, ErrHandshakeTimeout) {
			t.Errorf("ended for %v", err)
		}
		guesses := strings.Count(<-all, "false")
		if took := time.Since(start); guesses > 6 || took > time.Minute {
			t.Errorf("%d guesses in %v", guesses, took)
		}
	})
}

func TestServerMessageRate(t *testing.T) {
	inBubble(t, ServerOptions{Limits: Limits{MessageRate: 10, MessageBurst: 20}}, func(t *testing.T, s *Server, l *pipeListener, _ <-chan error, _ *testPool) {
		start := time.Now()
		conn := l.dial("192.0.2.1")
		go io.WriteString(conn, subscribeLine+authorizeLine+strings.Repeat(submitLine, 118))
		var got strings.Builder
		buffer := make([]byte, 4096)
		for strings.Count(got.String(), "\n") < 120 {
			n, err := conn.Read(buffer)
			if err != nil {
				t.Fatal(err)
			}
			got.Write(buffer[:n])
		}
		// 20 at once, 100 at 10 a second.
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("120 messages took %v", took)
		}
		if strings.Count(got.String(), submitReply) != 118 || s.Stats().Throttled.Load() == 0 {
			t.Error("messages were lost")
		}
		conn.Close()
	})
}

// A miner that does not read is cut off; the others do not feel it.
func TestServerSlowReader(t *testing.T) {
	for _, c := range []struct {
		name string
		opts ServerOptions
	}{
		{"queue", ServerOptions{Limits: Limits{UnreadBytes: 1 << 18, Unread: time.Hour}}},
		{"time", ServerOptions{Limits: Limits{UnreadBytes: 1 << 30, Unread: 50 * time.Millisecond}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reasons := make(chan error, 2)
			server, addr := startServer(t, c.opts, &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }})
			slow, quick := dialRaw(t, addr), dialRaw(t, addr)
			slow.login()
			quick.login()
			eventually(t, "both are ready", func() bool { return server.Stats().Ready.Load() == 2 })
			big := simnetJob()
			big.Coinbase2 = make([]byte, 16<<10)
			received := make(chan int, 1)
			go func() {
				n := 0
				for {
					if _, err := quick.r.ReadString('\n'); err != nil {
						break
					}
					n++
				}
				received <- n
			}()
			sent := 0
			for server.Stats().SlowCut.Load() == 0 {
				big.ID = fmt.Sprint(sent)
				server.Broadcast(EncodeJob(big), nil)
				sent++
				if c.name == "time" || sent%4 == 0 {
					time.Sleep(time.Millisecond) // the quick one shares the cpu
				}
			}
			if err := <-reasons; !errors.Is(err, ErrSlowReader) {
				t.Errorf("ended for %v", err)
			}
			eventually(t, "one is left", func() bool { return server.Stats().Ready.Load() == 1 })
			server.Conns(func(c *Conn) { c.Close(nil) })
			if n := <-received; n != sent {
				t.Errorf("the quick miner got %d of %d jobs", n, sent)
			}
		})
	}
}

// A miner that sends much and reads nothing cannot fill the memory with replies.
func TestServerRepliesAreBounded(t *testing.T) {
	reasons := make(chan error, 1)
	server, addr := startServer(t, ServerOptions{Limits: Limits{MessageRate: -1, UnreadBytes: 1 << 16}}, &testPool{disconnected: func(_ *Conn, err error) { reasons <- err }})
	m := dialRaw(t, addr)
	line := []byte(strings.Repeat(`{"id":"`+strings.Repeat("i", 1000)+`","method":"mining.ping"}`+"\n", 64))
	go func() {
		for {
			if _, err := m.Write(line); err != nil {
				return
			}
		}
	}()
	if err := <-reasons; !errors.Is(err, ErrSlowReader) {
		t.Errorf("ended for %v", err)
	}
	if server.Stats().SlowCut.Load() != 1 {
		t.Error("not counted")
	}
}

func TestBroadcast(t *testing.T) {
	server, addr := startServer(t, ServerOptions{}, &testPool{})
	const n = 300
	miners := make([]*rawMiner, n)
	for i := range miners {
		miners[i] = dialRaw(t, addr)
		miners[i].login()
	}
	onlooker := dialRaw(t, addr)
	onlooker.send(subscribeLine) // has not authorized: gets no job
	onlooker.expect(subscribeReply)
	eventually(t, "all are ready", func() bool { return server.Stats().Ready.Load() == n })
	job := EncodeJob(simnetJob())
	result := server.Broadcast(job, func(c *Conn) {
		c.SetDifficulty(1)
		c.Notify(job)
	})
	if result.Conns != n || result.Superseded {
		t.Errorf("broadcast %+v", result)
	}
	for _, m := range miners {
		m.expect(difficultyOne, string(bytes.TrimSpace(job.Line())))
	}
	if _, count, _ := server.Stats().BroadcastLatency.Snapshot(); count != 1 {
		t.Errorf("%d latencies", count)
	}
	onlooker.send(authorizeLine)
	onlooker.expect(authorizeReply)
}

// A broadcast under way is given up for that of a clean job.
func TestBroadcastSuperseded(t *testing.T) {
	server, addr := startServer(t, ServerOptions{}, &testPool{})
	const n = 200
	for range n {
		dialRaw(t, addr).login()
	}
	eventually(t, "all are ready", func() bool { return server.Stats().Ready.Load() == n })
	refresh := simnetJob()
	refresh.Clean = false
	clean := EncodeJob(simnetJob())
	var once sync.Once
	result := server.Broadcast(EncodeJob(refresh), func(*Conn) {
		once.Do(func() {
			if r := server.Broadcast(clean, nil); r.Conns != n || r.Superseded {
				t.Errorf("clean broadcast %+v", r)
			}
		})
	})
	if !result.Superseded || result.Conns >= n {
		t.Errorf("refresh broadcast %+v", result)
	}
}

func TestJobIDs(t *testing.T) {
	var ids jobIDs
	if got := ids.intern([]byte("new")); got != "new" {
		t.Errorf("unknown id became %q", got)
	}
	for i := range 3 * maxJobIDs {
		ids.add(fmt.Sprint(i))
		ids.add(fmt.Sprint(i))
	}
	if len(ids.recent) > maxJobIDs || len(*ids.known.Load()) != len(ids.recent) {
		t.Errorf("%d ids are known", len(ids.recent))
	}
	last := []byte(fmt.Sprint(3*maxJobIDs - 1))
	if n := testing.AllocsPerRun(100, func() { ids.intern(last) }); n != 0 {
		t.Errorf("%v allocations for a known id", n)
	}
}
