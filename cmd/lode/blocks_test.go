package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/scheduler"
)

// blockWith is a block whose coinbase begins so.
func blockWith(t *testing.T, script ...byte) []byte {
	t.Helper()
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: 0xffffffff}, script, nil))
	tx.AddTxOut(wire.NewTxOut(50e8, []byte{0x51}))
	block := wire.NewMsgBlock(wire.NewBlockHeader(2, &chainhash.Hash{}, &chainhash.Hash{}, 0x207fffff, 0))
	if err := block.AddTransaction(tx); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := block.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHeightOfABlock(t *testing.T) {
	for _, test := range []struct {
		script []byte
		want   int64
	}{
		{[]byte{0x51}, 1},
		{[]byte{0x60, 7}, 16},
		{[]byte{1, 17}, 17},
		{[]byte{2, 0x00, 0x01}, 256},
		{[]byte{3, 0x40, 0x0d, 0x03, 9, 9}, 200_000},
		{[]byte{3, 0x40, 0x0d}, 0}, // it ends before
		{[]byte{0}, 0},
		{[]byte{0x4c, 1, 1}, 0},
		{[]byte{9, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 0},
		{nil, 0},
	} {
		if got := heightOf(blockWith(t, test.script...)); got != test.want {
			t.Errorf("% x: %d, want %d", test.script, got, test.want)
		}
	}
	if got := heightOf([]byte("no block")); got != 0 {
		t.Error(got)
	}
}

// The scheduler finds out what became of a block whose proxy is gone, from whatever node:
// btcd does not tell the height of a block beside its chain.
func TestFateOfABlock(t *testing.T) {
	block := blockWith(t, 1, 100)
	hash := chainhash.DoubleHashH(block[:wire.MaxBlockHeaderPayload])
	const btcd = `{"result":null,"error":{"code":-32603,"message":"Failed to obtain block height: block 00ff is not in the main chain"}}`
	const unknown = `{"result":null,"error":{"code":-5,"message":"Block not found"}}`
	core := fmt.Sprintf(`{"result":{"hash":"%s","confirmations":%%d,"height":100,"bits":"207fffff","version":2,"time":7}}`, hash)
	for name, test := range map[string]struct {
		header string
		top    int64
		at100  chainhash.Hash
		want   scheduler.BlockFate
	}{
		"btcd, beside the chain":    {btcd, 105, chainhash.Hash{1}, scheduler.BlockFate{State: "orphaned", Confirmations: 6}},
		"btcd, undecided":           {btcd, 104, chainhash.Hash{1}, scheduler.BlockFate{State: "submitted"}},
		"btcd, a chain that fell":   {btcd, 90, chainhash.Hash{}, scheduler.BlockFate{State: "submitted"}},
		"btcd, in the chain by now": {btcd, 120, hash, scheduler.BlockFate{State: "submitted"}},
		"not known, and undecided":  {unknown, 104, chainhash.Hash{1}, scheduler.BlockFate{State: "submitted"}},
		"not known":                 {unknown, 105, chainhash.Hash{1}, scheduler.BlockFate{State: "orphaned", Confirmations: 6}},
		"Core, beside the chain":    {fmt.Sprintf(core, -1), 200, chainhash.Hash{1}, scheduler.BlockFate{State: "orphaned", Confirmations: 101}},
		"Core, in the chain":        {fmt.Sprintf(core, 3), 102, hash, scheduler.BlockFate{State: "confirmed", Confirmations: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var request struct{ Method string }
				if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
					t.Error(err)
				}
				switch request.Method {
				case "submitblock":
					fmt.Fprint(w, `{"result":"duplicate"}`)
				case "getblockheader":
					fmt.Fprint(w, test.header)
				case "getblockcount":
					fmt.Fprintf(w, `{"result":%d}`, test.top)
				case "getblockhash":
					fmt.Fprintf(w, `{"result":"%s"}`, test.at100)
				default:
					t.Errorf("asked for %s", request.Method)
				}
			}))
			defer server.Close()
			s, err := newBlockSubmitter([]scheduler.Upstream{{URL: "node:" + server.URL}}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if got, err := s.SubmitBlock(t.Context(), block); err != nil || got != test.want {
				t.Errorf("%+v, %v, want %+v", got, err, test.want)
			}
			if got, err := s.BlockFate(t.Context(), hash.String(), 100); err != nil || got != test.want {
				t.Errorf("without the block: %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}
