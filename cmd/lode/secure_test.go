package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lode/internal/freeport"
)

// authority makes certificates.
type authority struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	file   string
	serial int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), name+".pem")}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(a.file, "CERTIFICATE", der)
	return a
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a certificate for a name and 127.0.0.1 to PREFIX.pem, and its key to
// PREFIX.key.
func (a *authority) issue(prefix, name string) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.serial), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(prefix+".key", "EC PRIVATE KEY", raw)
	a.write(prefix+".pem", "CERTIFICATE", der)
	return prefix + ".pem", prefix + ".key"
}

// secured is lode scheduler with TLS in this process, and without a master.
type secured struct {
	t       *testing.T
	address string
	ca      *authority
	log     *lockedLog
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startSecured(t *testing.T, ca *authority, flags ...string) *secured {
	t.Helper()
	ports, err := freeport.On("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint("127.0.0.1:", ports[0])
	executor := filepath.Join(t.TempDir(), "lode-executor")
	if err := os.WriteFile(executor, []byte("pretended executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &secured{t: t, address: address, ca: ca, log: new(lockedLog)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	args := append([]string{
		"scheduler", "--master=http://127.0.0.1:1", "--state-dir=" + filepath.Join(t.TempDir(), "state"), "--listen=" + address,
		"--node=http://127.0.0.1:1", "--payout-address=SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW", "--executor=" + executor,
	}, flags...)
	go func() { done <- run(ctx, args, io.Discard, s.log) }()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 130 {
			t.Errorf("exit code %d\n%s", code, s.log)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get("http://" + address + "/livez"); err == nil {
			resp.Body.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not come up:\n%s", s.log)
		}
	}
}

// caller is somebody who asks.
type caller struct {
	elsewhere bool   // not on the scheduler's machine
	token     string // "": none
	cert, key string // files; "": none
	plain     bool   // without TLS
}

// ask returns the status, or 0 if there is no answer, and the serial number of the
// scheduler's certificate.
func (s *secured) ask(c caller, method, path string) (status int, serial int64) {
	s.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(s.ca.cert)
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			s.t.Fatal(err)
		}
		// It is shown whatever authorities are asked for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	scheme := "https://"
	if c.plain {
		scheme = "http://"
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, scheme+s.address+path, strings.NewReader(""))
	if err != nil {
		s.t.Fatal(err)
	}
	if c.elsewhere {
		r.Header.Set("X-Forwarded-For", "192.0.2.1") // who is asked for others counts as elsewhere
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Do(r)
	if err != nil {
		return 0, 0
	}
	defer resp.Body.Close()
	if resp.TLS != nil {
		serial = resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	return resp.StatusCode, serial
}

func TestTLSWithClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, clients, strangers := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	cert, key := ca.issue(filepath.Join(dir, "server"), "lode")
	aliceCert, aliceKey := clients.issue(filepath.Join(dir, "alice"), "alice")
	malloryCert, malloryKey := strangers.issue(filepath.Join(dir, "mallory"), "alice")
	alice := caller{elsewhere: true, cert: aliceCert, key: aliceKey}
	with := func(c caller, token string) caller {
		c.token = token
		return c
	}
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte("operate alice operator-token-0815\nread bob reader-token-4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	type request struct {
		who          string
		caller       caller
		method, path string
		want         int
	}
	for _, test := range []struct {
		name     string
		flags    []string
		requests []request
	}{
		{"certificates alone", []string{"--client-ca=" + clients.file}, []request{
			{"one on this machine", caller{}, "POST", "/api/v1/pause", 200},
			{"one elsewhere without a certificate", caller{elsewhere: true}, "GET", "/api/v1/status", 401},
			{"one elsewhere without a certificate", caller{elsewhere: true}, "GET", "/metrics", 401},
			{"one with a certificate", alice, "GET", "/api/v1/status", 200},
			{"one with a certificate", alice, "GET", "/metrics", 200},
			{"one with a certificate", alice, "POST", "/api/v1/resume", 200},
			{"one with a certificate of others", caller{elsewhere: true, cert: malloryCert, key: malloryKey}, "GET", "/api/v1/status", 0},
			{"one with a certificate of others", caller{elsewhere: true, cert: malloryCert, key: malloryKey}, "GET", "/livez", 0},
			{"a probe", caller{elsewhere: true}, "GET", "/livez", 200},
			{"a probe", caller{elsewhere: true, plain: true}, "GET", "/healthz", 503},
			{"one in the clear", caller{plain: true}, "GET", "/api/v1/status", 403},
			{"one in the clear", caller{plain: true}, "GET", "/metrics", 403},
		}},
		{"certificates and tokens", []string{"--client-ca=" + clients.file, "--token-file=" + tokens}, []request{
			{"one with a certificate alone", alice, "GET", "/api/v1/status", 401},
			{"one with a token alone", with(caller{elsewhere: true}, "operator-token-0815"), "GET", "/api/v1/status", 401},
			{"one with both", with(alice, "operator-token-0815"), "POST", "/api/v1/pause", 200},
			{"a reader with both", with(alice, "reader-token-4711"), "GET", "/metrics", 200},
			{"a reader with both", with(alice, "reader-token-4711"), "POST", "/api/v1/pause", 403},
			{"one with a wrong token", with(alice, "wrong-token-wrong-token"), "GET", "/api/v1/status", 401},
		}},
		{"tokens alone", []string{"--token-file=" + tokens}, []request{
			{"nobody", caller{elsewhere: true}, "GET", "/metrics", 401},
			{"nobody", caller{elsewhere: true}, "GET", "/api/v1/dashboard", 401},
			{"nobody", caller{elsewhere: true}, "GET", "/api/v1/history", 401},
			{"nobody", caller{elsewhere: true}, "GET", "/", 200},
			{"a reader", with(caller{elsewhere: true}, "reader-token-4711"), "GET", "/metrics", 200},
			{"one on this machine", caller{}, "GET", "/metrics", 200},
		}},
		{"neither", nil, []request{
			{"anybody", caller{elsewhere: true}, "GET", "/metrics", 200},
			{"anybody", caller{elsewhere: true}, "GET", "/api/v1/status", 200},
			{"anybody", caller{elsewhere: true}, "POST", "/api/v1/pause", 403},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startSecured(t, ca, append([]string{"--tls-cert=" + cert, "--tls-key=" + key}, test.flags...)...)
			for _, r := range test.requests {
				if status, _ := s.ask(r.caller, r.method, r.path); status != r.want {
					t.Errorf("%s: %s %s is answered with %d, want %d", r.who, r.method, r.path, status, r.want)
				}
			}
		})
	}
}

// TestCertificateIsReadAgain: a new one is used without a restart, and one that is
// broken is not.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	prefix := filepath.Join(t.TempDir(), "server")
	cert, key := ca.issue(prefix, "lode")
	s := startSecured(t, ca, "--tls-cert="+cert, "--tls-key="+key)
	uses := func(want int64) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			status, serial := s.ask(caller{}, "GET", "/livez")
			if status == http.StatusOK && serial == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("certificate %d is used, want %d\n%s", serial, want, s.log)
			}
		}
	}
	uses(101)
	ca.issue(prefix, "lode")
	uses(102)
	ca.write(cert, "CERTIFICATE", []byte("broken"))
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.log.String(), "the former certificate stays in use"); time.Sleep(20 * time.Millisecond) {
		if uses(102); time.Now().After(deadline) {
			t.Fatalf("nobody is told that the new certificate is broken\n%s", s.log)
		}
	}
	uses(102)
	ca.issue(prefix, "lode")
	uses(103)
}
