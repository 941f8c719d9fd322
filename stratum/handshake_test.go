package stratum

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hello is what a client begins TLS with, and nothing after it.
type hello struct {
	net.Conn
	b []byte
}

func (h *hello) Read(b []byte) (n int, err error) {
	if len(h.b) == 0 {
		return 0, io.EOF
	}
	n = copy(b, h.b)
	h.b = h.b[n:]
	return n, nil
}

func (h *hello) Write(b []byte) (int, error)      { return len(b), nil }
func (h *hello) SetDeadline(time.Time) error      { return nil }
func (h *hello) SetReadDeadline(time.Time) error  { return nil }
func (h *hello) SetWriteDeadline(time.Time) error { return nil }

// helloOf is the first message of a client.
func helloOf(t testing.TB, config *tls.Config) []byte {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_ = tls.Client(ours, config).Handshake()
		ours.Close()
	}()
	b := make([]byte, 8192)
	n, err := theirs.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func keyPair(t testing.TB, key crypto.Signer) tls.Certificate {
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pool"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// BenchmarkHello tells what the first message of a TLS handshake costs, which is nearly all
// that a handshake does.
func BenchmarkHello(b *testing.B) {
	small, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	great, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, config := range map[string]*tls.Config{
		"X25519MLKEM768": {},
		"X25519":         {CurvePreferences: []tls.CurveID{tls.X25519}},
		"P-256":          {CurvePreferences: []tls.CurveID{tls.CurveP256}},
		"TLS 1.2":        {CurvePreferences: []tls.CurveID{tls.X25519}, MaxVersion: tls.VersionTLS12},
	} {
		config.InsecureSkipVerify = true
		first := helloOf(b, config)
		for kind, key := range map[string]crypto.Signer{"ECDSA": small, "RSA": great} {
			server := &tls.Config{Certificates: []tls.Certificate{keyPair(b, key)}}
			b.Run(name+"/"+kind, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = tls.Server(&hello{b: first}, server).Handshake()
				}
			})
		}
	}
}

// secureBubble is inBubble with TLS; computed counts the handshakes that were.
func secureBubble(t *testing.T, opts ServerOptions, f func(t *testing.T, s *Server, l *pipeListener, computed *atomic.Int64)) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair := keyPair(t, key)
	inBubble(t, opts, func(t *testing.T, s *Server, _ *pipeListener, _ <-chan error, p *testPool) {
		p.disconnected = nil
		computed := new(atomic.Int64)
		config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			computed.Add(1)
			return &pair, nil
		}}
		l := newPipeListener()
		go func() { _ = s.ServeTLS(t.Context(), l, config) }()
		f(t, s, l, computed)
	})
}

// mineTLS logs in over TLS, and tells how long that took.
func mineTLS(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		t.Error(err)
	}
	go func() { _, _ = io.WriteString(secure, subscribeLine+authorizeLine) }()
	b := make([]byte, 4096)
	for got := ""; !strings.Contains(got, authorizeReply); {
		n, err := secure.Read(b)
		if got += string(b[:n]); err != nil {
			t.Errorf("got %q, %v", got, err)
			break
		}
	}
	return time.Since(begin)
}

// stall begins a handshake and leaves after a time.
func stall(l *pipeListener, from string, first []byte, after time.Duration) {
	conn := l.dial(from)
	go io.Copy(io.Discard, conn)
	_, _ = conn.Write(first)
	time.Sleep(after)
	conn.Close()
}

// An address whose handshakes bring no miner waits before the next, and who leaves meanwhile
// has nothing computed for it. Others do not wait, and a miner at that address gets in.
func TestHandshakesInVain(t *testing.T) {
	const wait = 3 * time.Second
	first := helloOf(t, &tls.Config{InsecureSkipVerify: true})
	secureBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, computed *atomic.Int64) {
		const bad, good = "192.0.2.1", "192.0.2.2"
		if took := mineTLS(t, l.dial(good)); took > 0 {
			t.Errorf("the first of an address took %v", took)
		}
		for range 2 * failedForMost {
			stall(l, bad, first, wait+time.Second)
			synctest.Wait()
		}
		if n := computed.Load(); n != 1+2*failedForMost {
			t.Errorf("%d handshakes of those who waited", n)
		}
		computed.Store(0)
		for range 100 { // at once
			go stall(l, "192.0.2.3", first, wait-time.Second)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(wait)
		if n := computed.Load(); n > 2*failedForMost {
			t.Errorf("%d handshakes were computed for those who came at once", n)
		}
		computed.Store(0)
		for range 100 {
			stall(l, bad, first, wait-time.Second)
			synctest.Wait()
		}
		if n := computed.Load(); n != 0 {
			t.Errorf("%d handshakes were computed for nobody", n)
		}
		if took := mineTLS(t, l.dial(good)); took > 0 {
			t.Errorf("where somebody mines it took %v", took)
		}
		if took := mineTLS(t, l.dial(bad)); took < wait*9/10 || took > wait+time.Second {
			t.Errorf("a miner at the address took %v", took)
		}
		time.Sleep(10 * time.Minute)
		if took := mineTLS(t, l.dial(bad)); took > wait/100 {
			t.Errorf("it took %v ten minutes later", took)
		}
		if len(s.turns.queues) != 0 || s.turns.running != 0 || s.turns.finishing.Len() != 0 {
			t.Error("somebody is left in the line")
		}
	})
}

// What is no TLS, or too much of it, has nothing computed for it; first messages may come
// in pieces.
func TestFirstMessage(t *testing.T) {
	first := helloOf(t, &tls.Config{InsecureSkipVerify: true})
	for name, c := range map[string]struct {
		say      []byte
		piece    int
		computed int64
		open     int64 // from the first moment on
	}{
		"whole":       {first, len(first), 1, 1},
		"in pieces":   {first, 1, 1, 1},
		"not yet all": {first[:len(first)-1], len(first), 0, 1},
		"Stratum":     {[]byte(subscribeLine), 100, 0, 0},
		"too much":    {append([]byte{0x16, 3, 1, 0x40, 1}, make([]byte, 1<<16)...), 1000, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			secureBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, computed *atomic.Int64) {
				for range failedForMost {
					stall(l, "192.0.2.1", first, 4*time.Second)
					synctest.Wait()
				}
				computed.Store(0)
				conn := l.dial("192.0.2.1")
				defer conn.Close()
				go io.Copy(io.Discard, conn)
				go func() {
					for b := c.say; len(b) > 0; b = b[min(c.piece, len(b)):] {
						if _, err := conn.Write(b[:min(c.piece, len(b))]); err != nil {
							return
						}
					}
				}()
				synctest.Wait()
				if n := s.Stats().Connections.Load(); n != c.open {
					t.Errorf("%d connections are open while it waits", n)
				}
				time.Sleep(4 * time.Second)
				if n := computed.Load(); n != c.computed {
					t.Errorf("%d handshakes were computed", n)
				}
				if n := s.Stats().Connections.Load(); n != c.open {
					t.Errorf("%d connections are open", n)
				}
			})
		})
	}
}

// A miner whose turn does not come within the time to log in is told so by the end of the
// connection, and one that is closed leaves the line.
func TestTurnNeverComes(t *testing.T) {
	first := helloOf(t, &tls.Config{InsecureSkipVerify: true})
	secureBubble(t, ServerOptions{}, func(t *testing.T, s *Server, l *pipeListener, computed *atomic.Int64) {
		s.turns.mu.Lock()
		s.turns.next = time.Now().Add(time.Hour)
		s.turns.mu.Unlock()
		begin := time.Now()
		conn := l.dial("192.0.2.1")
		_, _ = conn.Write(first)
		_, _ = io.Copy(io.Discard, conn)
		if took := time.Since(begin); took != s.opts.Handshake {
			t.Errorf("it ended after %v", took)
		}
		synctest.Wait()
		if len(s.turns.queues) != 0 || computed.Load() != 0 {
			t.Error("it is still in the line")
		}
	})
}
