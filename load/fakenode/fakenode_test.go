package fakenode_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lode/load"
	"lode/load/fakenode"
	"lode/pool"
)

// A pool-proxy is content with the node's templates, and bears attacks on them: no miner
// feels any.
func TestProxyBearsAttacks(t *testing.T) {
	node := fakenode.New(fakenode.Options{Transactions: 301, Bytes: 200_000, Refresh: 500 * time.Millisecond, Block: 2 * time.Second})
	server := httptest.NewServer(node)
	defer server.Close()
	p, err := pool.New(pool.Config{
		Listen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", StateDir: t.TempDir(), PayoutAddress: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
		Upstreams: []pool.Upstream{{URL: "node:" + server.URL, User: "u", Password: "p"}}, ServeTransactions: true, EmptyFirst: true, MinDifficulty: 1e-8, MaxDifficulty: 1e-8,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(30 * time.Second); !p.Status().Ready; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no work: %+v", p.Status())
		}
	}
	attackers, duration := 50, 100*time.Millisecond
	if n, err := strconv.Atoi(os.Getenv("LODE_TEST_ATTACKERS")); err == nil && n > 0 {
		attackers, duration = n, time.Second
	}
	report, err := load.Run(t.Context(), load.Options{
		Pool: "stratum+tcp://" + p.Status().Listen, User: "me", API: p.Status().HTTP, Connections: 20, Shares: 100, Difficulty: 1e-8,
		Duration: duration, Hostile: []string{"all"}, Attackers: attackers, AttackRate: 500,
		MaxRatio: 1e6, // a test that measures times fails on a busy machine
	})
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
	if len(report.Trials) < 20 || node.Asked() < 3 {
		t.Errorf("%d trials, %d templates asked for", len(report.Trials), node.Asked())
	}
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
