package pool_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lode/devnode"
	"lode/pool"
	"lode/stratum"
)

// TestMinBlockInterval: within the interval a block is a share and no more.
func TestMinBlockInterval(t *testing.T) {
	node := startFakeNode(t)
	p := startProxy(t, easy(pool.Config{MinBlockInterval: time.Hour, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}}))
	m := p.miner("rig")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := m.submit(m.solve(j, 0)); err != nil {
			t.Fatalf("share %d: %v", i, err)
		}
	}
	if s := p.Status(); len(s.Blocks) != 1 || s.Shares.Accepted != 5 {
		t.Errorf("%d blocks, %d shares: want 1 and 5", len(s.Blocks), s.Shares.Accepted)
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pool"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, roots
}

// TestTLS mines over TLS, by a second proxy too.
func TestTLS(t *testing.T) {
	node := startFakeNode(t)
	certFile, keyFile, roots := certificate(t)
	inner := startProxy(t, easy(pool.Config{
		ListenTLS: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}},
	}))
	conn, err := tls.Dial("tcp", inner.Status().ListenTLS, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	m := newMiner(t, conn)
	if err := m.login("rig", ""); err != nil {
		t.Fatal(err)
	}
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.submit(m.solve(j, 0)); err != nil {
		t.Error(err)
	}
	ca, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	outer := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: "stratum+tls://" + inner.Status().ListenTLS, User: "outer", CA: ca}}}))
	o := outer.miner("rig")
	if j, err = o.job(anyJob); err != nil {
		t.Fatal(err)
	}
	if err := o.submit(o.solve(j, 0)); err != nil {
		t.Error(err)
	}
}

// TestDrain: at the end miners are asked to reconnect, what they send is still
// answered, and the health check says what is going on.
func TestDrain(t *testing.T) {
	node := startFakeNode(t)
	dir := t.TempDir()
	config := easy(pool.Config{HTTPListen: "127.0.0.1:0", StateDir: dir, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}})
	p := startProxy(t, config)
	m := p.miner("rig")
	j, err := m.job(anyJob)
	if err != nil {
		t.Fatal(err)
	}
	s := m.solve(j, 0)
	p.cancel()
	eventually(t, "draining is told", func() bool {
		r, err := http.Get("http://" + p.Status().HTTP + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		body, _ := io.ReadAll(r.Body)
		return r.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), "draining")
	})
	if err := m.submit(s); err != nil {
		t.Errorf("share while draining: %v", err)
	}
	_ = m.conn.Close()
	p.stop()

	// The successor has the accounts and the block.
	config.Listen = ""
	q := startProxy(t, config)
	if st := q.Status(); st.Shares.Accepted != 1 || len(st.Blocks) != 1 {
		t.Errorf("after a restart: %d shares, %d blocks", st.Shares.Accepted, len(st.Blocks))
	}
}

func TestAuthorize(t *testing.T) {
	node := startFakeNode(t)
	config := easy(pool.Config{Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}})
	config.Authorize = func(user, password string) error {
		if user != "friend" {
			return errors.New("who is that")
		}
		return nil
	}
	p := startProxy(t, config)
	p.miner("friend")
	m := dial(t, p.Status().Listen)
	err := m.login("stranger", "")
	if codeOf(err) != stratum.CodeUnauthorized {
		t.Errorf("stranger: %v", err)
	}
}

func TestBadConfiguration(t *testing.T) {
	good := pool.Upstream{URL: "node:http://127.0.0.1:1"}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for name, c := range map[string]struct {
		config pool.Config
		want   string
	}{
		"no listener":       {pool.Config{StateDir: t.TempDir(), Upstreams: []pool.Upstream{good}}, "no address"},
		"no state":          {pool.Config{Listen: "127.0.0.1:0", Upstreams: []pool.Upstream{good}}, "journal"},
		"no upstream":       {pool.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir()}, "no upstream"},
		"unknown upstream":  {pool.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), Upstreams: []pool.Upstream{{URL: "gopher://u:s3cret@x"}}}, "gopher"},
		"node without http": {pool.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), Upstreams: []pool.Upstream{{URL: "node:127.0.0.1:8332"}}}, "http://host:port"},
		"pool without user": {pool.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), Upstreams: []pool.Upstream{{URL: "stratum+tcp://127.0.0.1:1"}}}, "user"},
		"long tag":          {pool.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), CoinbaseTag: strings.Repeat("x", 41), Upstreams: []pool.Upstream{good}}, "tag"},
		"no certificate":    {pool.Config{ListenTLS: "127.0.0.1:0", CertFile: "none", KeyFile: "none", StateDir: t.TempDir(), Upstreams: []pool.Upstream{good}}, "certificate"},
		"taken port":        {pool.Config{Listen: taken.Addr().String(), StateDir: t.TempDir(), Upstreams: []pool.Upstream{good}}, "taken"},
	} {
		p, err := pool.New(c.config)
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err = p.Run(ctx)
			cancel()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
	}
	dir := t.TempDir()
	p := startProxy(t, easy(pool.Config{StateDir: dir, Upstreams: []pool.Upstream{{URL: "node:" + startFakeNode(t).URL}}}))
	if _, err := pool.New(pool.Config{Listen: "127.0.0.1:0", StateDir: dir, Upstreams: []pool.Upstream{good}}); err == nil || !strings.Contains(err.Error(), "another proxy") {
		t.Errorf("two proxies in one folder: %v", err)
	}
	_ = p
}

// TestNoAddress: what is an address of no network at all needs no node to be refused.
func TestNoAddress(t *testing.T) {
	_, err := pool.New(pool.Config{
		Listen: "127.0.0.1:0", StateDir: t.TempDir(), PayoutAddress: "nonsense",
		Upstreams: []pool.Upstream{{URL: "node:http://127.0.0.1:1"}},
	})
	if err == nil || !strings.Contains(err.Error(), `payout address "nonsense"`) {
		t.Errorf("got %v, want a refusal of the address", err)
	}
}

// TestWrongAddress: the proxy says what is wrong, and waits.
func TestWrongAddress(t *testing.T) {
	node := startFakeNode(t)
	for address, want := range map[string]string{
		"bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4": "is for mainnet, but the node is on simnet",
		"": "no payout address",
	} {
		p, err := pool.New(pool.Config{
			Listen: "127.0.0.1:0", StateDir: t.TempDir(), PayoutAddress: address,
			Upstreams: []pool.Upstream{{URL: "node:" + node.URL}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		eventually(t, want, func() bool { return strings.Contains(p.Status().LastError, want) })
		if p.Status().Ready {
			t.Errorf("%q: ready", address)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCheck(t *testing.T) {
	btcd := startBtcd(t, devnode.Config{})
	inner := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{nodeUpstream(btcd)}}))
	config := pool.Config{
		Listen: "127.0.0.1:0", StateDir: t.TempDir(), PayoutAddress: devnode.DefaultMiningAddress,
		Upstreams: []pool.Upstream{
			nodeUpstream(btcd),
			{URL: "stratum+tcp://" + inner.Status().Listen, User: "me"},
			{URL: "node:http://127.0.0.1:1"},
			{URL: "node:" + btcd.URL, User: "wrong", Password: "wrong", CA: btcd.CA},
			{URL: "stratum+tcp://127.0.0.1:1", User: "me"},
		},
	}
	var bad []string
	good := 0
	for _, f := range pool.Check(t.Context(), config) {
		if f.Err != nil {
			bad = append(bad, f.Err.Error())
		} else {
			good++
		}
	}
	if good != 4 || len(bad) != 3 || !strings.Contains(bad[0], "connection refused") || !strings.Contains(bad[1], "password") {
		t.Errorf("%d good, bad: %q", good, bad)
	}
}
