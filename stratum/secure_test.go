package stratum

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// writeCertificate makes a certificate for 127.0.0.1 and its key, as files.
func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serveOn is startServer for a listener and a way to serve it.
func serveOn(t *testing.T, s *Server, serve func(context.Context, net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serve(context.Background(), l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, "first")
	cert, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	job := simnetJob()
	job.Time = uint32(time.Now().Unix())
	encoded := EncodeJob(job)
	s := NewServer(ServerOptions{}, &testPool{authorized: func(c *Conn) { c.Notify(encoded) }})
	addr := serveOn(t, s, func(ctx context.Context, l net.Listener) error { return s.ServeTLS(ctx, l, cert.Config()) })
	mine := func() error {
		ca, err := os.ReadFile(certFile)
		if err != nil {
			t.Fatal(err)
		}
		session, err := Dial(t.Context(), ClientOptions{URL: "stratum+tls://" + addr, User: "me", CA: ca})
		if err != nil {
			return err
		}
		defer session.Close()
		return session.Submit(t.Context(), <-session.Assignments(), make([]byte, 8), 1, 2, 3)
	}
	if err := mine(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cert.Reload(); err == nil || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("reload of a broken key: %v", err)
	}
	if err := mine(); err != nil {
		t.Errorf("after a failed reload: %v", err)
	}
	writeCertificate(t, certFile, keyFile, "second")
	if err := mine(); err == nil {
		t.Error("the new certificate is in use before Reload")
	}
	if err := cert.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := mine(); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	if _, err := Dial(t.Context(), ClientOptions{URL: "stratum+tls://" + addr, User: "me"}); err == nil || !strings.Contains(err.Error(), "its certificate is not trusted") {
		t.Errorf("unknown authority: %v", err)
	}
	if _, err := Dial(t.Context(), ClientOptions{URL: "stratum+tls://" + addr, User: "me", CA: []byte("nonsense")}); err == nil {
		t.Error("a CA file without certificates is accepted")
	}
	if _, err := LoadCertificate(certFile, filepath.Join(dir, "none")); err == nil {
		t.Error("a missing key is accepted")
	}

	// Who comes again needs no signature, and nobody has ML-KEM computed.
	config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		conn, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		(&rawMiner{t, conn, bufio.NewReader(conn)}).login()
		if state := conn.ConnectionState(); state.CurveID != tls.X25519 || state.DidResume != (i == 1) {
			t.Errorf("connection %d: %v, resumed: %v", i, state.CurveID, state.DidResume)
		}
		conn.Close()
	}

	// Split writes, many shares, and a broadcast over one connection.
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m := &rawMiner{t, conn, bufio.NewReader(conn)}
	m.send(subscribeLine[:20])
	m.send(subscribeLine[20:] + authorizeLine + strings.Repeat(submitLine, 500))
	m.expect(subscribeReply, authorizeReply, strings.TrimSpace(string(encoded.Line())))
	for range 500 {
		m.expect(submitReply)
	}
	s.Broadcast(encoded, nil)
	m.expect(strings.TrimSpace(string(encoded.Line())))
}

// Strangers who do not end their TLS handshakes make room for those who do.
func TestHandshakesAreBounded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, "pool")
	cert, err := LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(ServerOptions{Limits: Limits{Handshakes: 5}}, &testPool{})
	addr := serveOn(t, server, func(ctx context.Context, l net.Listener) error { return server.ServeTLS(ctx, l, cert.Config()) })
	for range 50 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")) // it may have made room already
	}
	eventually(t, "most of them are gone", func() bool {
		return server.Stats().CrowdedOut.Load() == 45 && server.Stats().Connections.Load() == 5
	})
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	(&rawMiner{t, conn, bufio.NewReader(conn)}).login()
	if n := server.Stats().CrowdedOut.Load(); n < 46 {
		t.Errorf("%d made room", n)
	}
}

func TestProxyProtocol(t *testing.T) {
	remotes := make(chan string, 1)
	pool := &testPool{connected: func(c *Conn) error {
		remotes <- c.RemoteAddr().String()
		return nil
	}}
	trusting, trustingAddr := startServer(t, ServerOptions{Limits: Limits{BanScore: 10}, ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, pool)
	_, strictAddr := startServer(t, ServerOptions{}, pool)

	v2, err := (&proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.TCPv4,
		SourceAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 9}, DestinationAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 3333},
	}).Format()
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		"PROXY TCP4 203.0.113.9 192.0.2.1 5555 3333\r\n":   "203.0.113.9:5555",
		"PROXY TCP6 2001:db8::9 2001:db8::1 5555 3333\r\n": "[2001:db8::9]:5555",
		string(v2): "198.51.100.7:9",
	} {
		m := dialRaw(t, trustingAddr)
		m.send(header + subscribeLine + authorizeLine + submitLine)
		m.expect(subscribeReply, authorizeReply, submitReply)
		if got := <-remotes; got != want {
			t.Errorf("%q: miner at %s, want %s", header, got, want)
		}
		m.send(submitLine)
		m.expect(submitReply)
		m.Close()
	}
	// A balancer's connection without a header is refused, and nobody else may send one.
	m := dialRaw(t, trustingAddr)
	m.send(subscribeLine)
	m.closed()
	m = dialRaw(t, strictAddr)
	m.send("PROXY TCP4 203.0.113.9 192.0.2.1 5555 3333\r\n" + subscribeLine)
	m.closed()
	if got := <-remotes; got != m.LocalAddr().String() {
		t.Errorf("miner at %s", got)
	}
	// The ban hits the miner, not the balancer.
	m = dialRaw(t, trustingAddr)
	m.send("PROXY TCP4 203.0.113.66 192.0.2.1 5555 3333\r\n" + subscribeLine + strings.Repeat("{]\n", 11))
	<-remotes
	eventually(t, "the ban", func() bool { return trusting.Stats().Bans.Load() == 1 })
	m = dialRaw(t, trustingAddr)
	m.send("PROXY TCP4 203.0.113.66 192.0.2.1 5555 3333\r\n" + subscribeLine)
	m.closed()
	m = dialRaw(t, trustingAddr)
	m.send("PROXY TCP4 203.0.113.67 192.0.2.1 5555 3333\r\n" + subscribeLine)
	m.expect(subscribeReply)
	<-remotes
}

// Whatever a client calls itself, the log has one line for each event.
func TestLogInjection(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	write := writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	})
	server, addr := startServer(t, ServerOptions{Limits: Limits{GuessTime: -1}, Logger: slog.New(slog.NewTextHandler(write, &slog.HandlerOptions{Level: slog.LevelDebug}))}, &testPool{})
	m := dialRaw(t, addr)
	m.send(`{"id":1,"method":"mining.subscribe","params":["a\nlevel=ERROR msg=forged\u001b]0;x\u0007"]}` + "\n" +
		`{"id":2,"method":"mining.authorize","params":["a\nlevel=ERROR msg=forged","x"]}` + "\n" + "{]\nlevel=ERROR msg=forged\n")
	m.line()
	m.line()
	m.line()
	m.line()
	m.Close()
	eventually(t, "the connection has gone", func() bool { return server.Stats().Connections.Load() == 0 })
	mu.Lock()
	defer mu.Unlock()
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, "time=") || strings.ContainsAny(line, "\x1b\x07") {
			t.Errorf("log line %q", line)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
