package node

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// recording is an answer of a real Bitcoin Core v28.1.
type recording struct {
	File, Note, Method string
	Status             int
	Body               string
}

func recordings(t *testing.T) []recording {
	t.Helper()
	file, err := os.Open("testdata/core.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var list []recording
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	if len(list) < 50 {
		t.Fatalf("%d recordings", len(list))
	}
	return list
}

// answering is a node that gives one answer to everything.
func answering(t *testing.T, status int, body string) *Node {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	n, err := New(Options{URL: server.URL, Credentials: Credentials{User: "u", Password: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// TestRecordedAnswers plays every recorded answer to the client: the error of the
// node must come out whatever the HTTP status.
func TestRecordedAnswers(t *testing.T) {
	for _, r := range recordings(t) {
		n := answering(t, r.Status, r.Body)
		var raw json.RawMessage
		err := n.rpc.call(t.Context(), r.Method, []any{}, &raw)
		var reply struct {
			Result json.RawMessage
			Error  *RPCError
		}
		isJSON := json.Unmarshal([]byte(r.Body), &reply) == nil
		var rpcErr *RPCError
		ok := false
		switch {
		case r.Status == 401:
			ok = errors.Is(err, ErrUnauthorized)
		case r.Status == 403:
			ok = errors.Is(err, ErrForbidden)
		case r.Status == 503:
			ok = errors.Is(err, ErrBusy)
		case isJSON && reply.Error != nil:
			ok = errors.As(err, &rpcErr) && rpcErr.Code == reply.Error.Code
			if reply.Error.Code == -9 || reply.Error.Code == -10 || reply.Error.Code == -28 {
				ok = ok && errors.Is(err, ErrNotReady)
			}
		case isJSON && r.Status == 200:
			ok = err == nil && string(raw) == string(reply.Result)
		default:
			ok = err != nil
		}
		if !ok {
			t.Errorf("%s: %s (%s): HTTP %d %.200q became %v", r.File, r.Method, r.Note, r.Status, r.Body, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%s: error of several lines: %q", r.Note, err)
		}
	}
}

// TestEndingNode: the words for it are an operator's first news of a restart.
func TestEndingNode(t *testing.T) {
	// What a Bitcoin Core v28.1 answers while it ends, as libevent and as itself.
	for name, test := range map[string]struct {
		status     int
		body, want string
		is         error
	}{
		"page": {
			503, "<HTML><HEAD>\n<TITLE>503 Service Unavailable</TITLE>\n</HEAD><BODY>\n<H1>Service Unavailable</H1>\n</BODY></HTML>\n",
			"the node is too busy, or ending (HTTP status 503)", ErrBusy,
		},
		"reply": {500, `{"result":null,"error":{"code":-9,"message":"Shutting down"},"id":1}`, "Shutting down (-9)", ErrNotReady},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answering(t, test.status, test.body).Height(t.Context())
			if !errors.Is(err, test.is) || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error %q, want the end %q", err, test.want)
			}
		})
	}
}

// TestSignet has a node of a signet answer as Bitcoin Core v28.1 did, which tells the
// challenge in templates alone, and wants to hear "signet" before it gives one.
func TestSignet(t *testing.T) {
	const (
		genesis  = "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"
		template = `{"capabilities":["proposal"],"version":536870912,"rules":["csv","!segwit","!signet","taproot"],"vbavailable":{},"vbrequired":0,` +
			`"previousblockhash":"` + genesis + `","transactions":[],"coinbaseaux":{},"coinbasevalue":5000000000,"longpollid":"` + genesis + `1",` +
			`"target":"00000377ae000000000000000000000000000000000000000000000000000000","mintime":1598918401,"mutable":["time","transactions","prevblock"],` +
			`"noncerange":"00000000ffffffff","sigoplimit":80000,"sizelimit":4000000,"weightlimit":4000000,"curtime":1795722845,"bits":"1e0377ae","height":1,` +
			`"signet_challenge":"%s","default_witness_commitment":"6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9"}`
		noRule = `{"result":null,"error":{"code":-8,"message":"getblocktemplate must be called with the signet rule set (call with {\"rules\": [\"segwit\", \"signet\"]})"},"id":1}`
	)
	for name, test := range map[string]struct{ challenge, refusal string }{
		"anybody's":  {"51", ""},
		"operators'": {"512103ad5e0edad18cb1f0fc0d28a3d4f1f3e445640337489abb10404f2d1e086be43051ae", "must be signed by its operators"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var request struct {
					Method string
					Params []json.RawMessage
				}
				_ = json.NewDecoder(r.Body).Decode(&request)
				result := map[string]string{
					"getblockhash":      `"` + genesis + `"`,
					"getnetworkinfo":    `{"version":280100,"subversion":"/Satoshi:28.1.0/"}`,
					"getmininginfo":     `{"blocks":0,"difficulty":0.001126515290698186,"networkhashps":0,"pooledtx":0,"chain":"signet","warnings":[]}`,
					"getblockchaininfo": `{"chain":"signet","blocks":0,"headers":0,"bestblockhash":"` + genesis + `","initialblockdownload":true}`,
					"getblocktemplate":  fmt.Sprintf(template, test.challenge),
				}[request.Method]
				if request.Method == "getblocktemplate" && !strings.Contains(string(request.Params[0]), `"signet"`) {
					w.WriteHeader(http.StatusInternalServerError)
					_, _ = w.Write([]byte(noRule))
					return
				}
				_, _ = fmt.Fprintf(w, `{"result":%s,"error":null,"id":1}`, result)
			}))
			t.Cleanup(server.Close)
			n, err := New(Options{URL: server.URL, Credentials: Credentials{User: "u", Password: "p"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(n.Close)
			work, err := n.Template(t.Context())
			switch {
			case test.refusal == "" && err != nil:
				t.Fatal(err)
			case test.refusal == "" && work.Height != 1:
				t.Errorf("template of height %d", work.Height)
			case test.refusal != "" && (err == nil || !strings.Contains(err.Error(), test.refusal)):
				t.Errorf("error %v, want %q", err, test.refusal)
			}
		})
	}
}

// TestRecordedVerdicts reads each word that submitblock was heard to say.
func TestRecordedVerdicts(t *testing.T) {
	words := map[string]Verdict{
		"": Taken, "duplicate": Known, "inconclusive": Side, "prev-blk-not-found": Later, "time-too-new": Later,
		"Block decode failed": Invalid, "Block does not start with a coinbase": Invalid,
	}
	met := map[string]bool{}
	for _, r := range recordings(t) {
		if r.Method != "submitblock" || strings.Contains(r.Body, "Wrong type") || strings.Contains(r.Body, "submitblock ") {
			continue
		}
		n := answering(t, r.Status, r.Body)
		verdict, reason, err := n.Submit(t.Context(), []byte{1}, "")
		if err != nil {
			t.Errorf("%s: %v", r.Note, err)
			continue
		}
		met[reason] = true
		want, known := words[reason]
		if !known {
			want = Invalid
		}
		if verdict != want {
			t.Errorf("%s: %q is %v, want %v", r.Note, reason, verdict, want)
		}
	}
	for word := range words {
		if !met[word] {
			t.Errorf("no recording of %q", word)
		}
	}
	if len(met) < 15 {
		t.Errorf("%d different words", len(met))
	}
}

// TestBtcdVerdicts has btcd's words (semantics of rpcserver.go in v0.24.2).
func TestBtcdVerdicts(t *testing.T) {
	for word, want := range map[string]Verdict{
		"rejected: already have block 00ff":                                               Known,
		"rejected: block timestamp of 2026-11-23 is too far in the future":                Later,
		"rejected: previous block 00ff is not known":                                      Later,
		"rejected: block hash of 7fff is higher than expected max of 00ff":                Invalid,
		"rejected: coinbase transaction for block pays 2 which is more than expected 1":   Invalid,
		"rejected: the coinbase signature script serialized block height is 7 when 2 was": Invalid,
		"rejected: database is not open":                                                  Later,
		"rejected: write /data/000001.fdb: no space left on device":                       Later,
	} {
		if got := interpret(word); got != want {
			t.Errorf("%q is %v, want %v", word, got, want)
		}
	}
}

// TestStrangeVerdicts: words of BIP 22 and of other nodes. What nobody knows may be a node's
// own trouble, and does not end a block.
func TestStrangeVerdicts(t *testing.T) {
	for word, want := range map[string]Verdict{
		"duplicate-invalid": Invalid, "duplicate-inconclusive": Side, "inconclusive-not-best-prevblk": Side, "stale-prevblk": Side, "stale-work": Side,
		"high-hash": Invalid, "bad-version(0x00000001)": Invalid, "time-too-old": Invalid, "unexpected-witness": Invalid,
		"block-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)": Invalid, "mandatory-script-verify-flag-failed (x)": Invalid,
		"rejected": Later, "busy": Later, "internal error": Later, "disk full": Later, "unknown-user": Later, "\x00": Later,
	} {
		if got := interpret(word); got != want {
			t.Errorf("%q is %v, want %v", word, got, want)
		}
	}
}

// TestBcoinVerdicts has bcoin's words (lib/node/rpc.js and lib/blockchain/chain.js of v2.2).
func TestBcoinVerdicts(t *testing.T) {
	for word, want := range map[string]Verdict{
		"rejected: duplicate": Known, "rejected: bad-prevblk": Later, "rejected: time-too-new": Later, "Rejected: Time-Too-New ": Later,
		"rejected: time-too-old": Invalid, "rejected: bad-cb-height": Invalid, "rejected: high-hash": Invalid, "rejected: bad-witness-merkle-match": Invalid,
	} {
		if got := interpret(word); got != want {
			t.Errorf("%q is %v, want %v", word, got, want)
		}
	}
	// A block's version without a sign.
	bcoin := answering(t, 200, `{"result":{"hash":"00","confirmations":1,"height":4,"version":3758096384,"bits":"207fffff","time":7,"mediantime":5},"error":null,"id":1}`)
	if h, err := bcoin.Header(t.Context(), chainhash.Hash{1}); err != nil || h.Confirmations != 1 || h.Version != 0xe0000000 {
		t.Errorf("%+v %v", h, err)
	}
}

// TestUnknownBlock: that it does not have a block each node says in its way.
func TestUnknownBlock(t *testing.T) {
	for name, c := range map[string]struct {
		reply   string
		unknown bool
	}{
		"Bitcoin Core": {`{"code":-5,"message":"Block not found"}`, true},
		"btcd":         {`{"code":-5,"message":"Block not found: 01"}`, true},
		"bcoin":        {`{"code":-1,"message":"Block not found."}`, true},
		"another word": {`{"code":-1,"message":"Block not available"}`, false},
		"a start":      {`{"code":-28,"message":"Block not found"}`, false},
	} {
		n := answering(t, 500, `{"result":null,"error":`+c.reply+`,"id":1}`)
		if _, err := n.Header(t.Context(), chainhash.Hash{1}); errors.Is(err, ErrUnknownBlock) != c.unknown {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForeignReplies: replies of nodes, and of what stands before them, that are not as
// Bitcoin Core writes them.
func TestForeignReplies(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		body     string
		location string
		err      string // "": the height is 7
	}{
		"an error in words":        {200, `{"result":null,"error":"no such call","id":1}`, "", "no such call"},
		"an error in words, 500":   {500, `{"result":null,"error":"database is locked","id":1}`, "", "database is locked"},
		"an error with a text":     {200, `{"result":null,"error":{"code":"E_BUSY","message":"wait"},"id":1}`, "", "E_BUSY"},
		"an error that is a list":  {200, `{"result":null,"error":[-1,"what?"],"id":1}`, "", "what?"},
		"an error that is none":    {200, `{"result":7,"error":false,"id":1}`, "", ""},
		"an empty error":           {200, `{"result":7,"error":{},"id":1}`, "", ""},
		"an error without words":   {200, `{"result":7,"error":"","id":1}`, "", ""},
		"JSON-RPC 2.0":             {200, `{"jsonrpc":"2.0","result":7,"id":1}`, "", ""},
		"a reply of several lines": {200, "{\r\n  \"id\": 1,\r\n  \"result\": 7\r\n}\r\n", "", ""},
		"no result":                {200, `{"result":null,"error":null,"id":1}`, "", "no result"},
		"nothing in it":            {200, `{}`, "", "not a JSON-RPC reply"},
		"nothing but an id":        {200, `{"id":1}`, "", "no result"},
		"a list of replies":        {200, `[{"result":7,"error":null,"id":1}]`, "", "not a JSON-RPC reply"},
		"sent elsewhere":           {301, "<html>", "https://node.example/", `"https://node.example/"`},
		"sent nowhere":             {302, "<html>", "", "HTTP status 302"},
		"a gateway":                {502, "<html>\n<h1>502 Bad Gateway</h1>", "", "HTTP status 502"},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := nodeAt(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			})
			height, err := n.Height(t.Context())
			if c.err == "" && (err != nil || height != 7) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%d, %v; want %q", height, err, c.err)
			}
		})
	}
}

// TestNoHTTP: what answers is another program.
func TestNoHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(`{"id":null,"result":null,"error":[20,"Not a Stratum message",null]}` + "\n"))
			_ = c.Close()
		}
	}()
	n, err := New(Options{URL: "http://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.Height(t.Context()); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "does not speak HTTP") && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

func TestHeaderOfSideBlock(t *testing.T) {
	btcd := answering(t, 500, `{"jsonrpc":"1.0","result":null,"error":{"code":-32603,"message":"Failed to obtain block height: block 00ff is not in the main chain"},"id":1}`)
	if h, err := btcd.Header(t.Context(), chainhash.Hash{1}); err != nil || h.Confirmations > 0 {
		t.Errorf("btcd: %+v %v", h, err)
	}
	core := answering(t, 200, `{"result":{"hash":"00","confirmations":-1,"height":4,"version":536870912,"bits":"207fffff","time":7,"mediantime":5},"error":null,"id":1}`)
	if h, err := core.Header(t.Context(), chainhash.Hash{1}); err != nil || h.Confirmations != -1 || h.Height != 4 || h.MedianTime != 5 {
		t.Errorf("Core: %+v %v", h, err)
	}
}

// TestCookie: Core writes another cookie at each start; a refusal makes the file be
// read again.
func TestCookie(t *testing.T) {
	var password atomic.Value
	password.Store("one")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); user != "__cookie__" || given != password.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"result":7,"error":null,"id":1}`))
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), ".cookie")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("__cookie__:one")
	n, err := New(Options{URL: server.URL, Credentials: Credentials{CookieFile: path}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if h, err := n.Height(t.Context()); h != 7 || err != nil {
		t.Fatalf("%d %v", h, err)
	}
	password.Store("two")
	write("__cookie__:two\n")
	if h, err := n.Height(t.Context()); h != 7 || err != nil {
		t.Errorf("after a restart of the node: %d %v", h, err)
	}
	password.Store("three")
	if _, err := n.Height(t.Context()); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("stale cookie: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Height(t.Context()); err == nil || !strings.Contains(err.Error(), "cookie") {
		t.Errorf("no cookie file: %v", err)
	}
}

// TestIdleConnection: a node that closes an idle connection just as a call is made
// does not make the call fail.
func TestIdleConnection(t *testing.T) {
	n, server := nodeAt(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"result":7,"error":null,"id":1}`))
	})
	for range 20 {
		if _, err := n.Height(t.Context()); err != nil {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
}

func TestUnreachable(t *testing.T) {
	tlsServer := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer tlsServer.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	defer plain.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct{ url, want string }{
		"refused":             {gone.URL, "connection refused"},
		"unknown certificate": {tlsServer.URL, "certificate"},
		"https to plain":      {strings.Replace(plain.URL, "http:", "https:", 1), "http://"},
		"no node":             {plain.URL, "RPC server?"},
	} {
		n, err := New(Options{URL: c.url})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Identify(t.Context())
		n.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q", name, err, c.want)
		}
	}
}

func TestHangingNode(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	n, _ := nodeAt(t, func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.BestBlock(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestSecretsStayOut(t *testing.T) {
	for _, url := range []string{"http://u:s3cret@127.0.0.1:1", "http://u:s3cret@[::1", "u:s3cret@host", "ftp://u:s3cret@host"} {
		n, err := New(Options{URL: url})
		if err == nil {
			_, err = n.Identify(t.Context())
			if strings.Contains(n.URL(), "s3cret") {
				t.Errorf("URL %s", n.URL())
			}
			n.Close()
		}
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestPayoutScript(t *testing.T) {
	byName := map[string]Network{}
	for _, n := range Networks() {
		byName[n.Name] = n
	}
	for _, c := range []struct{ network, address, want string }{
		{"regtest", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
		{"regtest", "mfcHP2WMCVLsVZA8yrovmhMgxNFW9r98xw", "76a9140102030405060708090a0b0c0d0e0f101112131488ac"},
		{"testnet4", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
		{"mainnet", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"},
		{"mainnet", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"},
		{"simnet", "SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW", ""},
		{"regtest", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "!mainnet"},
		{"mainnet", "SMPL7pCX7q6pEkTyoipdVgHvk9tE5D6XNW", "!simnet"},
		{"mainnet", "xyz", "!"},
		{"mainnet", "", "!"},
		{"mainnet", "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", "!public key"},
	} {
		script, err := byName[c.network].PayoutScript(c.address)
		if bad, isBad := strings.CutPrefix(c.want, "!"); isBad {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("%s on %s: %v, want an error with %q", c.address, c.network, err, bad)
			}
			continue
		}
		if got := hex.EncodeToString(script); err != nil || c.want != "" && got != c.want {
			t.Errorf("%s on %s: %s %v, want %s", c.address, c.network, got, err, c.want)
		}
	}
}
