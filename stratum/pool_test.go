package stratum

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// testPool is a Handler whose methods can be replaced; without that it takes
// everything.
type testPool struct {
	connected    func(*Conn) error
	subscribe    func(*Conn, string) (Subscription, error)
	authorize    func(*Conn, string, string) error
	authorized   func(*Conn)
	submit       func(*Conn, *Share) error
	suggest      func(*Conn, Difficulty)
	transactions func(*Conn, string) ([][]byte, error)
	disconnected func(*Conn, error)
}

func (p *testPool) Connected(c *Conn) error {
	if p.connected != nil {
		return p.connected(c)
	}
	return nil
}

func (p *testPool) Subscribe(c *Conn, resume string) (Subscription, error) {
	if p.subscribe != nil {
		return p.subscribe(c, resume)
	}
	return Subscription{SessionID: "s1", Extranonce1: []byte{0xa1, 0xb2, 0xc3, 0xd4}, Extranonce2Size: 8}, nil
}

func (p *testPool) Authorize(c *Conn, user, password string) error {
	if p.authorize != nil {
		return p.authorize(c, user, password)
	}
	return nil
}

func (p *testPool) Authorized(c *Conn) {
	if p.authorized != nil {
		p.authorized(c)
	}
}

func (p *testPool) Submit(c *Conn, s *Share) error {
	if p.submit != nil {
		return p.submit(c, s)
	}
	return nil
}

func (p *testPool) SuggestDifficulty(c *Conn, d Difficulty, least bool) {
	if p.suggest != nil {
		p.suggest(c, d)
	}
}

func (p *testPool) Transactions(c *Conn, jobID string) ([][]byte, error) {
	if p.transactions != nil {
		return p.transactions(c, jobID)
	}
	return nil, errJobNotFound
}

func (p *testPool) Disconnected(c *Conn, reason error) {
	if p.disconnected != nil {
		p.disconnected(c, reason)
	}
}

// startServer serves p on a port of the kernel's choice until the test ends.
func startServer(t testing.TB, opts ServerOptions, p Handler) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(opts, p)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return s, l.Addr().String()
}

// rawMiner writes bytes and reads lines.
type rawMiner struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dialRaw(t testing.TB, addr string) *rawMiner {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawMiner{t, conn, bufio.NewReader(conn)}
}

func (m *rawMiner) send(text string) {
	m.t.Helper()
	if _, err := m.Write([]byte(text)); err != nil {
		m.t.Fatal(err)
	}
}

// line is the next line without its end.
func (m *rawMiner) line() string {
	m.t.Helper()
	m.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := m.r.ReadString('\n')
	if err != nil {
		m.t.Fatalf("read a line: %v", err)
	}
	if !json.Valid([]byte(line)) {
		m.t.Fatalf("server sent what is no JSON: %q", line)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect fails the test unless the next lines are these.
func (m *rawMiner) expect(want ...string) {
	m.t.Helper()
	for _, w := range want {
		if got := m.line(); got != w {
			m.t.Fatalf("server sent %s\n want %s", got, w)
		}
	}
}

// closed fails the test unless the server ends the connection with nothing more.
func (m *rawMiner) closed() {
	m.t.Helper()
	m.SetReadDeadline(time.Now().Add(time.Minute))
	line, err := m.r.ReadString('\n')
	if err == nil {
		m.t.Fatalf("server sent %q, should have closed the connection", line)
	}
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		m.t.Fatal("server has not closed the connection")
	}
}

const (
	subscribeLine   = `{"id":1,"method":"mining.subscribe","params":["test/1"]}` + "\n"
	subscribeReply  = `{"id":1,"result":[[["mining.set_difficulty","s1"],["mining.notify","s1"]],"a1b2c3d4",8],"error":null}`
	authorizeLine   = `{"id":2,"method":"mining.authorize","params":["me","x"]}` + "\n"
	authorizeReply  = `{"id":2,"result":true,"error":null}`
	configureLine   = `{"id":9,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff","version-rolling.min-bit-count":2}]}` + "\n"
	configureReply  = `{"id":9,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}`
	maskLine        = `{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}`
	submitLine      = `{"id":4,"method":"mining.submit","params":["me","4f1a","0102030405060708","6553f100","10015793"]}` + "\n"
	submitReply     = `{"id":4,"result":true,"error":null}`
	difficultyOne   = `{"id":null,"method":"mining.set_difficulty","params":[1]}`
	eventuallyLimit = time.Minute
)

// login goes through the handshake.
func (m *rawMiner) login() {
	m.t.Helper()
	m.send(subscribeLine + authorizeLine)
	m.expect(subscribeReply, authorizeReply)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(eventuallyLimit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", eventuallyLimit, what)
		}
	}
}
