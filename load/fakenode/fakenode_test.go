package fakenode_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"lode/load"
	"lode/load/fakenode"
	"lode/pool"
	"lode/stratum"
)

// startProxy runs a pool-proxy on a node until the test ends.
func startProxy(t *testing.T, node *fakenode.Node, config pool.Config) pool.Status {
	t.Helper()
	server := httptest.NewServer(node)
	t.Cleanup(server.Close)
	config.StateDir, config.PayoutAddress = t.TempDir(), "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	config.Upstreams = []pool.Upstream{{URL: "node:" + server.URL, User: "u", Password: "p"}}
	config.MinDifficulty, config.MaxDifficulty = 1e-8, 1e-8
	p, err := pool.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(30 * time.Second); !p.Status().Ready; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no work: %+v", p.Status())
		}
	}
	return p.Status()
}

// attack attacks a proxy, beside twenty miners who may not feel it, and returns how many
// trials there were.
func attack(t *testing.T, o load.Options) int {
	t.Helper()
	o.User, o.Connections, o.Shares, o.Difficulty, o.AttackRate = "me", 20, 100, 1e-8, 500
	o.MaxRatio = 1e6 // a test that measures times fails on a busy machine
	o.Attackers, o.Duration = 50, 100*time.Millisecond
	if n, err := strconv.Atoi(os.Getenv("LODE_TEST_ATTACKERS")); err == nil && n > 0 {
		o.Attackers, o.Duration = n, time.Second
	}
	report, err := load.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		_ = report.WriteTable(os.Stdout)
	}
	if report.Felt() || report.Shares.FalseRejects != 0 || report.Shares.Accepted == 0 || report.Connections.AtEnd != 20 || report.Connections.Lost != 0 {
		var table strings.Builder
		_ = report.WriteTable(&table)
		t.Errorf("%s", &table)
	}
	return len(report.Trials)
}

// A pool-proxy is content with the node's templates, and bears attacks on them: no miner
// feels any.
func TestProxyBearsAttacks(t *testing.T) {
	node := fakenode.New(fakenode.Options{Transactions: 301, Bytes: 200_000, Refresh: 500 * time.Millisecond, Block: 2 * time.Second})
	p := startProxy(t, node, pool.Config{Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", ServeTransactions: true, EmptyFirst: true})
	trials := attack(t, load.Options{Pool: "stratum+tcp://" + p.Listen, API: p.HTTP, Hostile: []string{"all"}})
	if trials < 20 || node.Asked() < 3 {
		t.Errorf("%d trials, %d templates asked for", trials, node.Asked())
	}
}

// Over TLS too, where more begin a handshake than may be under way at once.
func TestProxyBearsHandshakes(t *testing.T) {
	certFile, keyFile, ca := certificate(t)
	node := fakenode.New(fakenode.Options{Transactions: 301, Bytes: 200_000, Refresh: 500 * time.Millisecond, Block: 2 * time.Second})
	p := startProxy(t, node, pool.Config{
		ListenTLS: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile, Limits: stratum.Limits{Handshakes: 30},
	})
	if n := attack(t, load.Options{Pool: "stratum+tls://" + p.ListenTLS, CA: ca, Hostile: []string{"handshake", "churn", "garbage"}}); n != 3 {
		t.Errorf("%d trials", n)
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
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
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(
		os.WriteFile(certFile, ca, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, ca
}

func call(t *testing.T, node *fakenode.Node, method, params string) (result json.RawMessage, refused bool) {
	t.Helper()
	w := httptest.NewRecorder()
	node.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(`{"method":"`+method+`","params":`+params+`}`)))
	var reply struct{ Result, Error json.RawMessage }
	b, _ := io.ReadAll(w.Body)
	if err := json.Unmarshal(b, &reply); err != nil {
		t.Fatalf("%s: %.200s, %v", method, b, err)
	}
	return reply.Result, string(reply.Error) != "null"
}

// Templates are as long as they are to be, are others after a refresh, and go on the
// block that was handed in.
func TestTemplates(t *testing.T) {
	node := fakenode.New(fakenode.Options{Transactions: 500, Bytes: 500_000, Refresh: 50 * time.Millisecond, Block: time.Hour})
	type template struct {
		Previousblockhash, Longpollid string
		Height                        int64
		Transactions                  []struct{ Txid string }
	}
	get := func(params string) (tpl template) {
		raw, _ := call(t, node, "getblocktemplate", params)
		if len(raw) < 450_000 || len(raw) > 550_000 {
			t.Errorf("template of %d bytes", len(raw))
		}
		if err := json.Unmarshal(raw, &tpl); err != nil || len(tpl.Transactions) != 500 {
			t.Fatal(err)
		}
		return tpl
	}
	first := get(`[{}]`)
	second := get(`[{"longpollid":"` + first.Longpollid + `"}]`)
	same := 0
	for i := range first.Transactions {
		if first.Transactions[i] == second.Transactions[i] {
			same++
		}
	}
	if first.Longpollid == second.Longpollid || first.Previousblockhash != second.Previousblockhash || same < 400 || same == 500 {
		t.Errorf("%d transactions are the same after a refresh", same)
	}
	tip, _ := call(t, node, "getbestblockhash", "[]")
	if _, refused := call(t, node, "getblockheader", `[`+string(tip)+`]`); refused {
		t.Error("it does not know its tip")
	}
	if _, refused := call(t, node, "getblockheader", `["`+strings.Repeat("00", 32)+`"]`); !refused {
		t.Error("it knows a block that there is not")
	}
	if _, refused := call(t, node, "stop", `[]`); !refused {
		t.Error("it knows any method")
	}
	prev := []byte(first.Previousblockhash)
	var header strings.Builder
	header.WriteString("00000020")
	for i := len(prev); i > 0; i -= 2 {
		header.Write(prev[i-2 : i])
	}
	header.WriteString(strings.Repeat("00", 44))
	call(t, node, "submitblock", `["`+header.String()+`00"]`)
	if third := get(`[{}]`); third.Height != first.Height+1 || third.Previousblockhash == first.Previousblockhash || node.Taken() != 1 {
		t.Errorf("height %d after a block on %d", third.Height, first.Height)
	}
	call(t, node, "submitblock", `["`+header.String()+`00"]`) // on an old tip
	call(t, node, "submitblock", `["xx"]`)
	if node.Taken() != 1 {
		t.Error("it takes anything")
	}
}
