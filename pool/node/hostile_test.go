package node

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lode/pool/template"
)

// restlessNode has news all the time.
type restlessNode struct {
	*httptest.Server
	templates atomic.Int64 // times it was asked for one
	all       atomic.Int64 // requests
	flaps     bool         // two nodes behind a balancer: tip and height change with each question
	eager     bool         // a longpoll answers at once
	expires   int          // of its templates, in seconds
	lacks     string       // a call that it does not have
	mintime   func() int64
}

func startRestlessNode(t *testing.T) *restlessNode {
	n := &restlessNode{mintime: func() int64 { return time.Now().Unix() - 3600 }}
	n.Server = httptest.NewServer(http.HandlerFunc(n.serve))
	t.Cleanup(n.Close)
	return n
}

// nodeAt is a Node, and the server that answers for it, for the time of the test.
func nodeAt(t *testing.T, serve http.HandlerFunc) (*Node, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	n, err := New(Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n, server
}

func (n *restlessNode) serve(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Method string
		Params []json.RawMessage
	}
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		return
	}
	turn := n.all.Add(1)
	tip, height := strings.Repeat("0b", 32), 500
	if n.flaps && turn%2 == 0 {
		tip, height = strings.Repeat("0c", 32), 501
	}
	var result any
	if request.Method == n.lacks {
		w.WriteHeader(http.StatusForbidden) // as Bitcoin Core's rpcwhitelist has it
		return
	}
	switch request.Method {
	case "getblockhash":
		result = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
	case "getnetworkinfo":
		result = map[string]any{"subversion": "/Satoshi:28.1.0/"}
	case "getbestblockhash":
		result = tip
	case "getblocktemplate":
		n.templates.Add(1)
		if strings.Contains(string(request.Params[0]), "longpollid") && !n.eager {
			<-r.Context().Done()
			return
		}
		result = map[string]any{
			"version": 0x20000000, "previousblockhash": tip, "transactions": []any{}, "coinbasevalue": 5_000_000_000 + turn,
			"bits": "207fffff", "height": height, "curtime": time.Now().Unix(), "mintime": n.mintime(), "longpollid": fmt.Sprint(turn),
			"expires": n.expires,
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"result": result, "error": nil, "id": 1})
}

// TestRestlessNode: whatever a node does, it is asked for templates about twice a second
// at most, once the first few are spent.
func TestRestlessNode(t *testing.T) {
	for name, change := range map[string]func(n *restlessNode){
		"a longpoll that answers at once":             func(n *restlessNode) { n.eager = true },
		"two nodes behind a balancer":                 func(n *restlessNode) { n.flaps = true },
		"both":                                        func(n *restlessNode) { n.eager, n.flaps = true, true },
		"notices without end":                         func(*restlessNode) {},
		"notices without end, and early empty blocks": func(*restlessNode) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := startRestlessNode(t)
			change(up)
			n, err := New(Options{URL: up.URL, EmptyFirst: strings.HasSuffix(name, "blocks")})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			const seconds = 4
			ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
			defer cancel()
			var noise sync.WaitGroup
			if strings.HasPrefix(name, "notices") {
				noise.Go(func() {
					for ctx.Err() == nil {
						n.Notify()
						time.Sleep(time.Millisecond)
					}
				})
			}
			got := 0
			n.Watch(ctx, Events{Template: func(*template.Template) { got++ }, Lost: func(error) {}})
			noise.Wait()
			const most = askBurst + longPollBurst + 5*seconds/2 + 1
			if asked := up.templates.Load(); got == 0 || asked > most {
				t.Errorf("%d templates were asked for in %d s, at most %d are; %d were delivered", asked, seconds, most, got)
			}
			if asked := up.all.Load(); asked > 4*most {
				t.Errorf("%d questions in %d s", asked, seconds)
			}
		})
	}
}

// TestExpires: a template is replaced before it expires.
func TestExpires(t *testing.T) {
	t.Parallel()
	up := startRestlessNode(t)
	up.expires = 1
	n, err := New(Options{URL: up.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), refreshInterval/2)
	defer cancel()
	got := 0
	n.Watch(ctx, Events{Template: func(*template.Template) {
		if got++; got == 3 {
			cancel()
		}
	}, Lost: func(error) {}})
	if got < 3 {
		t.Errorf("%d templates", got)
	}
}

// TestNoTip: a node that may not be asked for its tip is mined for all the same.
func TestNoTip(t *testing.T) {
	t.Parallel()
	up := startRestlessNode(t)
	up.lacks = "getbestblockhash"
	var log strings.Builder
	n, err := New(Options{URL: up.URL, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	got := 0
	n.Watch(ctx, Events{Template: func(*template.Template) { got++ }, Lost: func(err error) { t.Error(err) }})
	if asked := up.templates.Load(); got != 1 || asked > 3 {
		t.Errorf("%d templates, asked for %d times", got, asked)
	}
	if told := strings.Count(log.String(), "does not tell its tip"); told != 1 {
		t.Errorf("told %d times:\n%s", told, log.String())
	}
}

// allocated is how much f allocates, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHostileReplies: a reply costs bounded memory and time, and the error says what was
// wrong with it.
func TestHostileReplies(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	endless := func(w io.Writer, text string) {
		line := []byte(text) // once: what the server allocates is counted, too
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		err   string
		most  uint64 // MiB
	}{
		"a gzip bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}, "encoding \"gzip\"", 1},
		"a terabyte, it says": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1099511627776")
			_, _ = w.Write([]byte("{"))
		}, "1099511627776 bytes", 1},
		"no end": {func(w http.ResponseWriter, _ *http.Request) { endless(w, strings.Repeat(" ", 1<<16)) }, "more than", 8},
		"no end of the header": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			endless(conn, "A: "+strings.Repeat("b", 1000)+"\r\n")
		}, "header", 2},
		"a byte a moment": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, "did not end within", 2},
		"ends early": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, "EOF", 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			n, err := New(Options{URL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			n.rpc.bodyTimeout = 200 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cost := allocated(func() { _, err = n.BestBlock(ctx) })
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if errors.Is(err, context.Canceled) {
				t.Error("the caller did not cancel it")
			}
			if cost > c.most<<20 {
				t.Errorf("it cost %d bytes of memory, at most %d MiB", cost, c.most)
			}
		})
	}
}

// TestFullBlocks: the template of a full block has 13 MB, and is taken; one that has twice as
// many is not.
func TestFullBlocks(t *testing.T) {
	for size, ok := range map[int]bool{13 << 20: true, 25 << 20: false} {
		up := &restlessNode{mintime: func() int64 { return 0 }}
		n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
			reply := httptest.NewRecorder()
			up.serve(reply, r)
			if up.templates.Load() > 0 {
				_, _ = w.Write(bytes.Repeat([]byte(" "), size))
			}
			_, _ = w.Write(reply.Body.Bytes())
		})
		if _, err := n.Template(t.Context()); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "a reply of") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestFarFuture: a template whose blocks all nodes would refuse is none.
func TestFarFuture(t *testing.T) {
	for ahead, ok := range map[time.Duration]bool{-time.Hour: true, maxAhead - time.Minute: true, maxAhead + time.Minute: false, 100_000 * time.Hour: false} {
		up := startRestlessNode(t)
		up.mintime = func() int64 { return time.Now().Add(ahead).Unix() }
		n, err := New(Options{URL: up.URL})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Template(t.Context())
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "check the clocks") {
			t.Errorf("mintime %v ahead: %v", ahead, err)
		}
		n.Close()
	}
}

// TestRules: a node is told the rules that are understood. Without segwit among them
// Bitcoin Core refuses, and others leave out the transactions that have a witness.
func TestRules(t *testing.T) {
	for name, c := range map[string]struct{ genesis, want string }{
		"mainnet": {"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", "segwit"},
		"regtest": {"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", "segwit"},
		"signet":  {"00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", "segwit signet"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
				var request struct {
					Method string
					Params []json.RawMessage
				}
				_ = json.NewDecoder(r.Body).Decode(&request)
				var result any
				switch request.Method {
				case "getblockhash":
					result = c.genesis
				case "getnetworkinfo":
					result = map[string]any{"subversion": "/Satoshi:28.1.0/"}
				case "getblocktemplate":
					var options struct {
						Rules []string
						Mode  string
					}
					_ = json.Unmarshal(request.Params[0], &options)
					asked = append(asked, strings.Join(options.Rules, " "))
					result = map[string]any{
						"version": 0x20000000, "previousblockhash": strings.Repeat("0b", 32), "transactions": []any{}, "coinbasevalue": 5_000_000_000,
						"bits": "1d00ffff", "height": 500, "curtime": time.Now().Unix(), "signet_challenge": "51", "rules": []string{"csv", "!segwit"},
					}
					if options.Mode == "proposal" {
						result = nil
					}
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"result": result, "error": nil, "id": 1})
			})
			if _, err := n.Template(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := n.Propose(t.Context(), []byte{1}); err != nil {
				t.Fatal(err)
			}
			for i, rules := range asked {
				if rules != c.want && rules != "segwit signet" {
					t.Errorf("question %d: rules %q, want %q", i+1, rules, c.want)
				}
			}
			if len(asked) < 2 || asked[len(asked)-1] != c.want {
				t.Errorf("rules %q, want %q", asked, c.want)
			}
		})
	}
}

// TestSubmitUnanswered: what is no word on the block is an error, so that it is submitted
// again; nothing else is.
func TestSubmitUnanswered(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		again  bool
	}{
		"too busy":            {503, "Work queue depth exceeded", true},
		"warming up":          {500, `{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":1}`, true},
		"no such call":        {404, `{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}`, true},
		"wrong password":      {401, "", true},
		"nothing":             {200, "", true},
		"half a reply":        {200, `{"result":nul`, true},
		"a page":              {200, "<html>login</html>", true},
		"a number":            {200, `{"result":7,"error":null,"id":1}`, true},
		"an object":           {200, `{"result":{"taken":true},"error":null,"id":1}`, true},
		"a list":              {200, `[]`, true},
		"null":                {200, `null`, true},
		"an empty object":     {200, `{}`, true},
		"what is no reply":    {200, `{"status":"ok","error":null}`, true},
		"taken, in short":     {200, `{"jsonrpc":"2.0","id":1}`, false},
		"a megabyte too much": {200, `{"result":"` + strings.Repeat("x", maxReply) + `","error":null,"id":1}`, true},
		"taken":               {200, `{"result":null,"error":null,"id":1}`, false},
		"a word":              {200, `{"result":"high-hash","error":null,"id":1}`, false},
		"not decodable":       {500, `{"result":null,"error":{"code":-22,"message":"Block decode failed"},"id":1}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := answering(t, c.status, c.body)
			verdict, reason, err := n.Submit(t.Context(), []byte{1}, "")
			if (err != nil) != c.again {
				t.Errorf("%v %q, %v", verdict, reason, err)
			}
		})
	}
}

// TestSubmitBesideDeadConnection: a connection that was good a moment ago may have died unseen –
// a firewall has forgotten it, what a balancer sent it to hangs –, and a block is not to wait
// until its time is up.
func TestSubmitBesideDeadConnection(t *testing.T) {
	var used sync.Map
	release := make(chan struct{})
	defer close(release)
	n, _ := nodeAt(t, func(w http.ResponseWriter, r *http.Request) {
		if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
			<-release
		}
		_, _ = w.Write([]byte(`{"result":null,"error":null,"id":1}`))
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for i := range 3 {
		_, _ = n.Height(ctx) // the next one may go on its connection
		if verdict, _, err := n.Submit(ctx, []byte{1}, ""); err != nil || verdict != Taken {
			t.Fatalf("block %d: %v, %v", i, verdict, err)
		}
		n.rpc.close()
	}
}
