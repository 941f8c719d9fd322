package pool_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"lode/devnode"
	"lode/pool"
)

// listening is an address where something answers each connection.
func listening(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var request [512]byte
			_, _ = c.Read(request[:])
			_, _ = c.Write([]byte(answer))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// TestCheckMistakes: for each mistake lode proxy check has one line that says what it is.
func TestCheckMistakes(t *testing.T) {
	node := startFakeNode(t)
	syncing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"result":null,"error":{"code":-10,"message":"Bitcoin Core is in initial sync and waiting for blocks..."},"id":1}`)
	}))
	defer syncing.Close()
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer locked.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	strict, idle := startFakePool(t), startFakePool(t)
	strict.refuse = true
	small := startFakePool(t)
	small.e2size = 1
	small.notify(poolJob("1", node, nil))

	for name, c := range map[string]struct {
		upstream pool.Upstream
		payout   string
		want     string
	}{
		"node down":              {upstream: pool.Upstream{URL: "node:http://127.0.0.1:1"}, want: "connection refused"},
		"node refuses password":  {upstream: pool.Upstream{URL: "node:" + locked.URL, User: "u"}, want: `refused user or password (user "u")`},
		"node is syncing":        {upstream: pool.Upstream{URL: "node:" + syncing.URL}, want: "wait until it is synced"},
		"node's certificate":     {upstream: pool.Upstream{URL: "node:" + secure.URL}, want: "give it as the node's CA"},
		"node speaks TLS":        {upstream: pool.Upstream{URL: "node:" + strings.Replace(secure.URL, "https", "http", 1)}, want: "write https://"},
		"node speaks no TLS":     {upstream: pool.Upstream{URL: "node:" + strings.Replace(node.URL, "http", "https", 1)}, want: "write http://"},
		"no cookie file":         {upstream: pool.Upstream{URL: "node:" + node.URL, CookieFile: "none"}, want: "cookie file"},
		"address of another net": {upstream: pool.Upstream{URL: "node:" + node.URL}, payout: regtestAddress, want: "is for regtest, but the node is on simnet"},
		"no address":             {upstream: pool.Upstream{URL: "node:" + node.URL}, payout: "none", want: "no payout address"},
		"not a node":             {upstream: pool.Upstream{URL: "node:http://" + listening(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")}, want: "is this the address of a node's RPC server?"},
		"pool down":              {upstream: pool.Upstream{URL: "stratum+tcp://127.0.0.1:1", User: "me"}, want: "connection refused"},
		"pool refuses user":      {upstream: pool.Upstream{URL: strict.url(), User: "me"}, want: `pool refuses user and password "me"`},
		"pool without a job":     {upstream: pool.Upstream{URL: idle.url(), User: "me"}, want: "no job within"},
		"pool's certificate":     {upstream: pool.Upstream{URL: "stratum+tls://" + secure.Listener.Addr().String(), User: "me"}, want: "its certificate is not trusted"},
		"pool speaks no TLS":     {upstream: pool.Upstream{URL: strings.Replace(idle.url(), "tcp", "tls", 1), User: "me"}, want: "if it does not speak TLS, write stratum+tcp://"},
		"pool speaks TLS":        {upstream: pool.Upstream{URL: "stratum+tcp://" + listening(t, "\x15\x03\x01\x00\x02\x02\x46\n"), User: "me"}, want: "write stratum+tls://"},
		"not a pool":             {upstream: pool.Upstream{URL: "stratum+tcp://" + listening(t, "HTTP/1.1 400 Bad Request\r\n\r\n"), User: "me"}, want: "HTTP/1.1 400"},
		"extranonce2 too small":  {upstream: pool.Upstream{URL: small.url(), User: "me"}, want: "too small to be shared"},
	} {
		t.Run(name, func(t *testing.T) {
			config := pool.Config{Listen: "127.0.0.1:0", PayoutAddress: devnode.DefaultMiningAddress, Upstreams: []pool.Upstream{c.upstream}}
			switch c.payout {
			case "":
			case "none":
				config.PayoutAddress = ""
			default:
				config.PayoutAddress = c.payout
			}
			findings := pool.Check(t.Context(), config)
			last := findings[len(findings)-1]
			if last.Err == nil {
				t.Fatalf("nothing found: %s", last.Detail)
			}
			if text := last.Err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
				t.Errorf("%q, want one line with %q", text, c.want)
			}
		})
	}
}
