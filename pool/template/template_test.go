package template_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/pool/template"
	"lode/stratum"
)

var payout = append([]byte{0, 20}, bytes.Repeat([]byte{7}, 20)...)

func options() template.Options {
	return template.Options{PayoutScript: payout, ExtranonceSize: 12, Tag: []byte("/lode/"), Instance: []byte{1, 2, 3, 4, 5, 6, 7, 8}}
}

// assemble mines a block for the template as a miner and a proxy do together.
func assemble(t testing.TB, tpl *template.Template, o template.Options) *btcutil.Block {
	t.Helper()
	w, err := template.New(tpl, o)
	if err != nil {
		t.Fatal(err)
	}
	j := stratum.Job{PrevBlock: tpl.PreviousHash, MerkleBranch: w.Branch(), Version: tpl.Version, Bits: tpl.Bits}
	j.Coinbase1, j.Coinbase2 = w.Coinbase()
	extranonce := bytes.Repeat([]byte{0xab}, o.ExtranonceSize)
	header, _ := j.HeaderBytes(nil, extranonce, nil, tpl.Version, tpl.CurrentTime, 0)
	target, err := stratum.TargetFromBits(tpl.Bits)
	if err != nil {
		t.Fatal(err)
	}
	for nonce := uint32(0); ; nonce++ {
		binary.LittleEndian.PutUint32(header[76:], nonce)
		hash := chainhash.DoubleHashH(header[:])
		if target.MetBy(&hash) {
			break
		}
		if nonce > 100 && tpl.Bits != 0x207fffff {
			break // the checks below do without proof of work
		}
	}
	raw := w.Solve(header, extranonce)
	block, err := btcutil.NewBlockFromBytes(raw)
	if err != nil {
		t.Fatalf("btcd cannot read the block: %v", err)
	}
	var again bytes.Buffer
	if err := block.MsgBlock().Serialize(&again); err != nil || !bytes.Equal(again.Bytes(), raw) {
		t.Fatalf("btcd serializes the block differently (%v)", err)
	}
	return block
}

// judge lets btcd's own rules judge a block.
func judge(t testing.TB, block *btcutil.Block, tpl *template.Template) {
	t.Helper()
	if tpl.Bits == 0x207fffff {
		if err := blockchain.CheckBlockSanity(block, chaincfg.RegressionNetParams.PowLimit, blockchain.NewMedianTime()); err != nil {
			t.Errorf("CheckBlockSanity: %v", err)
		}
	}
	root := blockchain.CalcMerkleRoot(block.Transactions(), false)
	if root != block.MsgBlock().Header.MerkleRoot {
		t.Errorf("merkle root %v, btcd says %v", block.MsgBlock().Header.MerkleRoot, root)
	}
	coinbase := block.Transactions()[0]
	height, err := blockchain.ExtractCoinbaseHeight(coinbase)
	if err != nil || int64(height) != tpl.Height {
		t.Errorf("height %d (%v), want %d", height, err, tpl.Height)
	}
	if err := blockchain.ValidateWitnessCommitment(block); err != nil {
		t.Errorf("witness commitment: %v", err)
	}
	var value int64
	for _, out := range coinbase.MsgTx().TxOut {
		value += out.Value
	}
	if value != tpl.CoinbaseValue || !bytes.Equal(coinbase.MsgTx().TxOut[0].PkScript, payout) {
		t.Errorf("coinbase pays %d, want %d to the payout script", value, tpl.CoinbaseValue)
	}
	if n := len(coinbase.MsgTx().TxIn[0].SignatureScript); n < 2 || n > template.MaxScriptSig {
		t.Errorf("coinbase script of %d bytes", n)
	}
	if (tpl.Commitment != nil) != coinbase.MsgTx().HasWitness() {
		t.Errorf("commitment %x, but coinbase witness: %v", tpl.Commitment, coinbase.MsgTx().HasWitness())
	}
}

// randomTx is a transaction that parses and is unique, with a witness or without.
func randomTx(r *rand.Rand, witness bool) *wire.MsgTx {
	tx := wire.NewMsgTx(2)
	in := wire.NewTxIn(&wire.OutPoint{Index: r.Uint32()}, nil, nil)
	for i := range in.PreviousOutPoint.Hash {
		in.PreviousOutPoint.Hash[i] = byte(r.Uint32())
	}
	if witness {
		in.Witness = wire.TxWitness{{byte(r.Uint32()), byte(r.Uint32())}}
	}
	tx.AddTxIn(in)
	tx.AddTxOut(wire.NewTxOut(int64(r.Uint32N(1e6)), []byte{0x51}))
	return tx
}

// reply makes a getblocktemplate reply. commitment is core (76 digits always), btcd
// (64 digits if there is a witness), or none.
func reply(t testing.TB, height int64, txs []*wire.MsgTx, commitment string) []byte {
	t.Helper()
	list := []map[string]any{}
	witness := false
	block := []*btcutil.Tx{btcutil.NewTx(wire.NewMsgTx(1))}
	for _, tx := range txs {
		var raw bytes.Buffer
		if err := tx.Serialize(&raw); err != nil {
			t.Fatal(err)
		}
		list = append(list, map[string]any{
			"data": hex.EncodeToString(raw.Bytes()), "txid": tx.TxHash().String(), "hash": tx.WitnessHash().String(), "fee": 10,
		})
		witness = witness || tx.HasWitness()
		block = append(block, btcutil.NewTx(tx))
	}
	r := map[string]any{
		"version": 0x20000000, "previousblockhash": strings.Repeat("0a", 32), "transactions": list,
		"coinbasevalue": 5_000_000_000 + 10*int64(len(txs)), "bits": "207fffff", "height": height,
		"curtime": time.Now().Unix(), "mintime": 1, "coinbaseaux": map[string]string{"flags": "0b2f503253482f627463642f"},
	}
	root := blockchain.CalcMerkleRoot(block, true)
	digest := chainhash.DoubleHashB(append(root[:], make([]byte, 32)...))
	switch {
	case commitment == "core":
		r["rules"] = []string{"csv", "!segwit", "taproot"}
		r["default_witness_commitment"] = "6a24aa21a9ed" + hex.EncodeToString(digest)
	case commitment == "btcd" && witness:
		r["default_witness_commitment"] = hex.EncodeToString(digest)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestBlocks makes blocks of all shapes and lets btcd judge them.
func TestBlocks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, count := range []int{0, 1, 2, 3, 4, 7, 8, 100, 251, 252, 16384} { // from 253 on, the coinbase included, their number has three bytes
		for _, dialect := range []string{"core", "btcd", "none"} {
			for _, witness := range []bool{false, true} {
				if count == 16384 && (dialect == "none" || !witness) {
					continue
				}
				t.Run(fmt.Sprintf("%d txs, %s, witness %v", count, dialect, witness), func(t *testing.T) {
					var txs []*wire.MsgTx
					for i := range count {
						txs = append(txs, randomTx(r, witness && i%2 == 0))
					}
					tpl, err := template.Parse(reply(t, 500, txs, dialect))
					if err != nil {
						t.Fatal(err)
					}
					if wanted := dialect == "core" || witness && count > 0; wanted != (tpl.Commitment != nil) {
						t.Errorf("commitment %x, wanted: %v", tpl.Commitment, wanted)
					}
					judge(t, assemble(t, tpl, options()), tpl)
					compact, err := (&template.Store{Strict: true}).Compact(tpl)
					if err != nil {
						t.Fatal(err)
					}
					judge(t, assemble(t, compact, options()), tpl)
					empty := tpl.Next(chainhash.Hash{1}, 501, 5_000_000_000, 7, tpl.CurrentTime)
					judge(t, assemble(t, empty, options()), empty)
				})
			}
		}
	}
}

// TestMoreThanFullBlocks: chains with greater blocks have more transactions than two bytes count.
func TestMoreThanFullBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var txs []*wire.MsgTx
	for range 1<<16 - 1 {
		txs = append(txs, randomTx(r, false))
	}
	for _, count := range []int{1<<16 - 2, 1<<16 - 1} {
		tpl, err := template.Parse(reply(t, 500, txs[:count], "core"))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(assemble(t, tpl, options()).Transactions()); got != count+1 {
			t.Errorf("%d transactions, want %d", got, count+1)
		}
	}
}

// TestStore: templates share what they have in common, and that alone.
func TestStore(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var txs []*wire.MsgTx
	for i := range 10 {
		txs = append(txs, randomTx(r, i%2 == 0))
	}
	var store template.Store
	compact := func() (*template.Template, uint64) {
		tpl, err := template.Parse(reply(t, 500, txs, "core"))
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		kept, err := store.Compact(tpl)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		for i := range txs {
			a, b := &tpl.Transactions[i], &kept.Transactions[i]
			if a.TxID != b.TxID || a.WTxID() != b.WTxID() || a.Size() != b.Size() || !bytes.Equal(a.Append(nil), b.Append(nil)) {
				t.Errorf("transaction %d is another one now", i)
			}
		}
		judge(t, assemble(t, kept, options()), tpl)
		return kept, after.Mallocs - before.Mallocs
	}
	_, first := compact()
	_, second := compact()
	if second >= first {
		t.Errorf("%d allocations for a template, %d for the same one again", first, second)
	}
	// The same transaction with another witness, and a new one.
	for _, tx := range txs {
		if tx.HasWitness() {
			tx.TxIn[0].Witness[0] = append([]byte{1}, tx.TxIn[0].Witness[0]...)
			break
		}
	}
	txs[3] = randomTx(r, true)
	compact()
	tpl, err := template.Parse(reply(t, 500, nil, "core"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Compact(tpl)
	if err != nil {
		t.Fatal(err)
	}
	judge(t, assemble(t, kept, options()), tpl)
	if _, again := compact(); again >= first {
		t.Errorf("%d allocations after an empty block", again)
	}
}

// TestStoreShares: what a template has in common with the one before is in memory once, over an
// empty block, too, and what it takes is told.
func TestStoreShares(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var txs []*wire.MsgTx
	for range 50 {
		txs = append(txs, randomTx(r, true))
	}
	var store template.Store
	compact := func(txs []*wire.MsgTx) int64 {
		tpl, err := template.Parse(reply(t, 500, txs, "core"))
		if err != nil {
			t.Fatal(err)
		}
		kept, err := store.Compact(tpl)
		if err != nil {
			t.Fatal(err)
		}
		return kept.Memory
	}
	size := func(txs []*wire.MsgTx) (sum int64) {
		for _, tx := range txs {
			sum += int64(tx.SerializeSize())
		}
		return sum
	}
	first, list := compact(txs), compact(txs)
	if first-list != size(txs) || list < 50*chainhash.HashSize || list > 50*10*chainhash.HashSize {
		t.Errorf("%d bytes, and %d for the same again; the transactions have %d", first, list, size(txs))
	}
	if got := compact(nil); got != 0 {
		t.Errorf("%d bytes for an empty block", got)
	}
	for i := range 5 {
		txs[i] = randomTx(r, true)
	}
	if got := compact(txs); got != list+size(txs[:5]) {
		t.Errorf("%d bytes, want %d for the list and %d for five new transactions", got, list, size(txs[:5]))
	}
}

// TestStoreStrict: transactions that are not those of the merkle root, or that no node could
// read, are found where it is known how they look.
func TestStoreStrict(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var txs []*wire.MsgTx
	for i := range 6 {
		txs = append(txs, randomTx(r, i%2 == 0))
	}
	for name, c := range map[string]struct {
		change func(list []any) []any
		err    string
	}{
		"none": {func(list []any) []any { return list }, ""},
		"wrong txid": {func(list []any) []any {
			list[3].(map[string]any)["txid"] = list[4].(map[string]any)["hash"]
			return list
		}, "transaction 4: txid is"},
		"wrong hash": {func(list []any) []any {
			list[2].(map[string]any)["hash"] = list[3].(map[string]any)["hash"]
			return list
		}, "transaction 3: hash is"},
		"without hashes": {func(list []any) []any {
			for _, tx := range list {
				delete(tx.(map[string]any), "hash")
			}
			return list
		}, ""},
		"cut off": {func(list []any) []any {
			tx := list[1].(map[string]any)
			tx["data"] = tx["data"].(string)[:len(tx["data"].(string))-2]
			return list
		}, "transaction 2: data cannot be read"},
		"something behind": {func(list []any) []any {
			tx := list[1].(map[string]any)
			tx["data"] = tx["data"].(string) + "00"
			return list
		}, "transaction 2: 1 bytes follow"},
		"scripts longer than there is data": {func(list []any) []any {
			const spent = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
			list[1].(map[string]any)["data"] = "0200000002" + spent + "fe00000400" + strings.Repeat("00", 1<<18) + "00000000" + spent + "fe00093d00" + "00"
			return list
		}, "transaction 2: data cannot be read"},
		"one twice": {func(list []any) []any { return append(list, list[0]) }, "1 of 7 transactions are there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			var members map[string]any
			if err := json.Unmarshal(reply(t, 500, txs, "none"), &members); err != nil {
				t.Fatal(err)
			}
			members["transactions"] = c.change(members["transactions"].([]any))
			data, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			tpl, err := template.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			store := template.Store{Strict: true}
			for range 2 { // it stays as wrong as it was
				compact, err := store.Compact(tpl)
				if err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err)) || (err != nil) != (c.err != "") {
					t.Errorf("%v, want %q", err, c.err)
				}
				if len(compact.Transactions) != len(tpl.Transactions) {
					t.Errorf("%d transactions, want %d", len(compact.Transactions), len(tpl.Transactions))
				}
			}
			store = template.Store{}
			if _, err = store.Compact(tpl); (err != nil) != (name == "one twice") {
				t.Errorf("where transactions may look otherwise: %v", err)
			}
		})
	}
}

// TestCommitmentWithoutHashes: where the node leaves out the commitment and the hashes
// that it is made of, they are computed.
func TestCommitmentWithoutHashes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	txs := []*wire.MsgTx{randomTx(r, false), randomTx(r, true), randomTx(r, true)}
	var members map[string]any
	if err := json.Unmarshal(reply(t, 500, txs, "none"), &members); err != nil {
		t.Fatal(err)
	}
	for _, tx := range members["transactions"].([]any) {
		delete(tx.(map[string]any), "hash")
	}
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := template.Parse(data)
	if err != nil || tpl.Commitment == nil {
		t.Fatalf("commitment %x, %v", tpl.Commitment, err)
	}
	judge(t, assemble(t, tpl, options()), tpl)
}

// TestWrongCommitment: a node's commitment is not believed. One that does not fit the
// transactions is replaced; where a hash is not that of its transaction, none is right.
func TestWrongCommitment(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	txs := []*wire.MsgTx{randomTx(r, false), randomTx(r, true), randomTx(r, true)}
	for name, c := range map[string]struct {
		dialect string
		change  func(members map[string]any)
		refused bool
	}{
		"another script": {"core", func(m map[string]any) { m["default_witness_commitment"] = "6a24aa21a9ed" + strings.Repeat("ab", 32) }, false},
		"another hash":   {"btcd", func(m map[string]any) { m["default_witness_commitment"] = strings.Repeat("ab", 32) }, false},
		"something behind it": {"core", func(m map[string]any) {
			m["default_witness_commitment"] = m["default_witness_commitment"].(string) + "04aabbccdd"
		}, false},
		"a wrong hash of a transaction": {"core", func(m map[string]any) {
			m["transactions"].([]any)[1].(map[string]any)["hash"] = strings.Repeat("cd", 32)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var members map[string]any
			if err := json.Unmarshal(reply(t, 500, txs, c.dialect), &members); err != nil {
				t.Fatal(err)
			}
			c.change(members)
			data, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			tpl, err := template.Parse(data)
			if (err != nil) != c.refused {
				t.Fatalf("refused: %v", err)
			}
			if err == nil {
				judge(t, assemble(t, tpl, options()), tpl)
			}
		})
	}
}

// TestCommitmentAndRules: there is a commitment where a transaction has a witness, whatever the
// node says of rules, and where it speaks of none and gives one.
func TestCommitmentAndRules(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for name, c := range map[string]struct {
		witness bool
		rules   any // nil: no such member
		want    bool
	}{
		"a witness, segwit is no rule":      {true, []string{"csv"}, true},
		"a witness, no rules":               {true, nil, true},
		"no witness, no rules":              {false, nil, true},
		"no witness, an empty list":         {false, []string{}, true},
		"no witness, segwit is a rule":      {false, []string{"csv", "!segwit"}, true},
		"no witness, segwit is no rule":     {false, []string{"csv"}, false},
		"no witness, a rule that sounds so": {false, []string{"segwitness"}, false},
	} {
		var members map[string]any
		if err := json.Unmarshal(reply(t, 500, []*wire.MsgTx{randomTx(r, false), randomTx(r, c.witness)}, "core"), &members); err != nil {
			t.Fatal(err)
		}
		if members["rules"] = c.rules; c.rules == nil {
			delete(members, "rules")
		}
		data, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		tpl, err := template.Parse(data)
		if err != nil || (tpl.Commitment != nil) != c.want {
			t.Errorf("%s: %v", name, err)
			continue
		}
		judge(t, assemble(t, tpl, options()), tpl)
	}
}

// TestBombs: what is no template costs no more memory than a few times its length.
func TestBombs(t *testing.T) {
	const size = 4 << 20
	whole := string(reply(t, 500, nil, "core"))
	list := func(element string) string {
		return strings.Replace(whole, `"transactions":[]`, `"transactions":[`+strings.Repeat(element+",", size/len(element))+element+"]", 1)
	}
	member := func(name, value string) string {
		return strings.TrimSuffix(whole, "}") + `,"` + name + `":` + value + "}"
	}
	for name, text := range map[string]string{
		"empty transactions":   list("{}"),
		"numbers":              list("1"),
		"small transactions":   list(`{"data":"` + strings.Repeat("00", 10) + `","txid":"` + strings.Repeat("0", 64) + `"}`),
		"rules":                member("rules", `[`+strings.Repeat(`"",`, size/3)+`""]`),
		"mutable":              member("mutable", `[`+strings.Repeat(`"",`, size/3)+`""]`),
		"longpollid":           member("longpollid", `"`+strings.Repeat("x", size)+`"`),
		"workid":               member("workid", `"`+strings.Repeat("x", size)+`"`),
		"commitment":           member("default_witness_commitment", `"`+strings.Repeat("00", size/2)+`"`),
		"previous block":       member("previousblockhash", `"`+strings.Repeat("00", size/2)+`"`),
		"aux":                  member("coinbaseaux", `{`+strings.Repeat(`"a":"",`, size/7)+`"b":""}`),
		"deep":                 member("x", strings.Repeat("[", size)),
		"all names, each long": member(strings.Repeat("n", size), "1"),
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := template.Parse(data)
			runtime.ReadMemStats(&after)
			if valid := name == "all names, each long" || name == "small transactions"; (err == nil) != valid {
				t.Errorf("refused: %v", err)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 6*uint64(len(data)) {
				t.Errorf("%d bytes cost %d of memory (%.100v)", len(data), cost, err)
			}
		})
	}
}

// TestHeights has the vectors of BIP 34's push at the borders of its lengths.
func TestHeights(t *testing.T) {
	for height, want := range map[int64]string{
		1: "51", 16: "60", 17: "0111", 127: "017f", 128: "028000", 255: "02ff00", 256: "020001",
		32767: "02ff7f", 32768: "03008000", 65535: "03ffff00", 840000: "0340d10c", 8388607: "03ffff7f", 8388608: "0400008000",
		1<<31 - 1: "04ffffff7f",
	} {
		tpl, err := template.Parse(reply(t, height, nil, "core"))
		if err != nil {
			t.Fatal(err)
		}
		block := assemble(t, tpl, options())
		judge(t, block, tpl)
		if script := hex.EncodeToString(block.Transactions()[0].MsgTx().TxIn[0].SignatureScript); !strings.HasPrefix(script, want+"0c") {
			t.Errorf("height %d: script %s, want it to begin with %s and the push of the extranonce", height, script, want)
		}
	}
}

// TestRecorded parses the replies that btcd and Bitcoin Core really gave, and makes
// blocks of them.
func TestRecorded(t *testing.T) {
	for _, name := range []string{"rt-gbt-h0.json", "sn-gbt-h0.json", "sn-gbt-h300.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ Result json.RawMessage }
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { checkRecorded(t, r.Result) })
	}
	file, err := os.Open("testdata/core.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var r struct {
			Note   string
			Result json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		t.Run(r.Note, func(t *testing.T) { checkRecorded(t, r.Result) })
	}
	if n < 10 {
		t.Errorf("%d recordings of Core", n)
	}
}

func checkRecorded(t *testing.T, result []byte) {
	tpl, err := template.Parse(result)
	if err != nil {
		t.Fatal(err)
	}
	if target, err := stratum.TargetFromBits(tpl.Bits); err != nil || !strings.Contains(string(result), target.String()) {
		t.Errorf("bits %08x make target %v (%v), the node has another", tpl.Bits, target, err)
	}
	for i := range tpl.Transactions {
		var tx wire.MsgTx
		if err := tx.Deserialize(bytes.NewReader(tpl.Transactions[i].Append(nil))); err != nil {
			t.Fatal(err)
		}
		if tx.TxHash() != tpl.Transactions[i].TxID || tx.WitnessHash() != tpl.Transactions[i].WTxID() {
			t.Errorf("transaction %d: ids differ", i+1)
		}
	}
	judge(t, assemble(t, tpl, options()), tpl)
}

func TestScriptLength(t *testing.T) {
	tpl, err := template.Parse(reply(t, 840000, nil, "core"))
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.ExtranonceSize, o.Tag = 40, bytes.Repeat([]byte("t"), 40)
	// 4 height, 1+40 extranonce, 1+40 tag, 1+8 instance: 95, and no room for the
	// node's flags of 12 bytes, which are a wish only.
	judge(t, assemble(t, tpl, o), tpl)
	// Blobs of the node that fill the script to its last byte are taken, one byte more
	// is not: the limit is the consensus rule's (bad-cb-length).
	for size, want := range map[int]int{5: 100, 6: 95} {
		var members map[string]any
		if err := json.Unmarshal(reply(t, 840000, nil, "core"), &members); err != nil {
			t.Fatal(err)
		}
		members["coinbaseaux"] = map[string]string{"flags": strings.Repeat("ab", size)}
		data, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		full, err := template.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		block := assemble(t, full, o)
		judge(t, block, full)
		if got := len(block.Transactions()[0].MsgTx().TxIn[0].SignatureScript); got != want {
			t.Errorf("blobs of %d bytes: a script of %d bytes, want %d", size, got, want)
		}
	}
	// The longest height leaves room too, with all that the options allow.
	last, err := template.Parse(reply(t, 1<<31-1, nil, "core"))
	if err != nil {
		t.Fatal(err)
	}
	judge(t, assemble(t, last, o), last)
	o.Tag = bytes.Repeat([]byte("t"), 41)
	if _, err := template.New(tpl, o); err == nil {
		t.Error("a tag of 41 bytes was taken")
	}
	o.Tag, o.PayoutScript = nil, nil
	if _, err := template.New(tpl, o); err == nil {
		t.Error("a reward for nobody was taken")
	}
	o.PayoutScript = options().PayoutScript
	for _, size := range []int{0, 41} {
		o.ExtranonceSize = size
		if _, err := template.New(tpl, o); err == nil {
			t.Errorf("%d bytes of extranonce were taken", size)
		}
	}
}

// transaction is a member of a reply's transactions, with one member changed.
func transaction(name string, value any) map[string]any {
	tx := map[string]any{
		"data": strings.Repeat("00", 60), "txid": strings.Repeat("1", 64), "hash": strings.Repeat("2", 64), "fee": 1,
	}
	tx[name] = value
	return tx
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"no height":     func(r map[string]any) { delete(r, "height") },
		"height 0":      func(r map[string]any) { r["height"] = 0 },
		"height 2^31":   func(r map[string]any) { r["height"] = 1 << 31 },
		"height a text": func(r map[string]any) { r["height"] = "seven" },
		"no value":      func(r map[string]any) { delete(r, "coinbasevalue") },
		"coinbasetxn":   func(r map[string]any) { delete(r, "coinbasevalue"); r["coinbasetxn"] = map[string]any{"data": "00"} },
		"others to be paid": func(r map[string]any) {
			r["coinbasetxn"] = map[string]any{"minerfund": map[string]any{"minimumvalue": 1}}
		},
		"a masternode": func(r map[string]any) {
			r["masternode"] = map[string]any{"payee": "Xa", "script": "76a9", "amount": 5}
		},
		"masternodes": func(r map[string]any) {
			r["masternode"] = []any{map[string]any{"payee": "Xa", "amount": 0}, map[string]any{"payee": "Xb", "amount": 5}}
		},
		"an amount that is none": func(r map[string]any) { r["foundation"] = map[string]any{"amount": "5.0"} },
		"a payee of old":         func(r map[string]any) { r["payee"] = "Xa" },
		"a payload":              func(r map[string]any) { r["coinbase_payload"] = "0200" },
		"value negative":         func(r map[string]any) { r["coinbasevalue"] = -1 },
		"more than all coins":    func(r map[string]any) { r["coinbasevalue"] = int64(2_100_000_000_000_001) },
		"no previous block":      func(r map[string]any) { delete(r, "previousblockhash") },
		"short previous block":   func(r map[string]any) { r["previousblockhash"] = "00ff" },
		"no bits":                func(r map[string]any) { delete(r, "bits") },
		"bits negative":          func(r map[string]any) { r["bits"] = "1d80ffff" },
		"bits zero":              func(r map[string]any) { r["bits"] = "1d000000" },
		"bits too large":         func(r map[string]any) { r["bits"] = "ff7fffff" },
		"no time":                func(r map[string]any) { delete(r, "curtime") },
		"time beyond 2106":       func(r map[string]any) { r["curtime"] = int64(1) << 32 },
		"no version":             func(r map[string]any) { delete(r, "version") },
		"unknown rule":           func(r map[string]any) { r["rules"] = []string{"!segwit", "!newthing"} },
		"broken commitment":      func(r map[string]any) { r["default_witness_commitment"] = "6a24" },
		"broken aux":             func(r map[string]any) { r["coinbaseaux"] = map[string]string{"flags": "zz"} },
		"broken transaction":     func(r map[string]any) { r["transactions"] = []any{map[string]any{"data": "zz"}} },
		"tx without id":          func(r map[string]any) { r["transactions"] = []any{map[string]any{"data": strings.Repeat("00", 60)}} },
		"maxtime in the past":    func(r map[string]any) { r["maxtime"] = 7 },
		"no transactions":        func(r map[string]any) { delete(r, "transactions") },
		"null transactions":      func(r map[string]any) { r["transactions"] = nil },
		"transactions a map":     func(r map[string]any) { r["transactions"] = map[string]any{} },
		"transaction a text":     func(r map[string]any) { r["transactions"] = []any{"00"} },
		"odd digits":             func(r map[string]any) { r["transactions"] = []any{transaction("data", strings.Repeat("0", 61))} },
		"short data":             func(r map[string]any) { r["transactions"] = []any{transaction("data", strings.Repeat("0", 18))} },
		"data a number":          func(r map[string]any) { r["transactions"] = []any{transaction("data", 7)} },
		"txid not hex":           func(r map[string]any) { r["transactions"] = []any{transaction("txid", strings.Repeat("g", 64))} },
		"txid of 31 bytes":       func(r map[string]any) { r["transactions"] = []any{transaction("txid", strings.Repeat("0", 62))} },
		"hash of 33 bytes":       func(r map[string]any) { r["transactions"] = []any{transaction("hash", strings.Repeat("0", 66))} },
		"hash of 31 bytes":       func(r map[string]any) { r["transactions"] = []any{transaction("hash", strings.Repeat("0", 62))} },
		"odd digits, no hash": func(r map[string]any) {
			delete(r, "default_witness_commitment")
			tx := transaction("data", strings.Repeat("0", 121))
			delete(tx, "hash")
			r["transactions"] = []any{tx}
		},
		"fee a fraction":        func(r map[string]any) { r["transactions"] = []any{transaction("fee", 1.5)} },
		"fee negative":          func(r map[string]any) { r["transactions"] = []any{transaction("fee", -1)} },
		"fees above the value":  func(r map[string]any) { r["transactions"] = []any{transaction("fee", int64(6_000_000_000))} },
		"height a fraction":     func(r map[string]any) { r["height"] = 7.5 },
		"height null":           func(r map[string]any) { r["height"] = nil },
		"another proof of work": func(r map[string]any) { r["pow_algo"] = "scrypt" },
		"rules a text":          func(r map[string]any) { r["rules"] = "segwit" },
	} {
		var r map[string]any
		if err := json.Unmarshal(reply(t, 5, nil, "core"), &r); err != nil {
			t.Fatal(err)
		}
		change(r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := template.Parse(data); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.ContainsAny(err.Error(), "\n\r") {
			t.Errorf("%s: error of several lines: %v", name, err)
		}
	}
}

// TestNothingDemanded: members of chains that know others to be paid, who are paid nothing.
func TestNothingDemanded(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"a fund of a test network": func(r map[string]any) {
			r["coinbasetxn"] = map[string]any{"minerfund": map[string]any{"addresses": []any{}, "minimumvalue": 0}}
		},
		"no masternodes": func(r map[string]any) {
			r["masternode"], r["superblock"], r["masternode_payments_enforced"] = []any{}, []any{}, false
			r["payee"], r["coinbase_payload"] = "", ""
		},
		"a masternode that gets nothing": func(r map[string]any) { r["masternode"] = map[string]any{"payee": "", "amount": 0} },
		"objects of other kinds":         func(r map[string]any) { r["vbavailable"], r["x"] = map[string]any{"testdummy": 28}, []any{7, "y", nil} },
	} {
		var r map[string]any
		if err := json.Unmarshal(reply(t, 5, nil, "core"), &r); err != nil {
			t.Fatal(err)
		}
		change(r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := template.Parse(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(reply(f, 1, nil, "core"))
	f.Add(reply(f, 840000, []*wire.MsgTx{randomTx(rand.New(rand.NewPCG(1, 1)), true)}, "btcd"))
	f.Add([]byte(`{"height":1,"coinbasevalue":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tpl, err := template.Parse(data)
		if err != nil {
			return
		}
		w, err := template.New(tpl, options())
		if err != nil {
			t.Fatalf("a template that parses makes no work: %v", err)
		}
		extranonce := make([]byte, 12)
		before, after := w.Coinbase()
		coinbase := slices.Concat(before, extranonce, after)
		var tx wire.MsgTx
		if err := tx.DeserializeNoWitness(bytes.NewReader(coinbase)); err != nil {
			t.Fatalf("coinbase %x: %v", coinbase, err)
		}
		if n := len(tx.TxIn[0].SignatureScript); n > template.MaxScriptSig {
			t.Fatalf("coinbase script of %d bytes", n)
		}
		_ = w.Solve([80]byte{}, extranonce)
	})
}

func BenchmarkNew(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var txs []*wire.MsgTx
	for range 4000 {
		txs = append(txs, randomTx(r, true))
	}
	data := reply(b, 840000, txs, "core")
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := template.Parse(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	tpl, err := template.Parse(data)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("work", func(b *testing.B) {
		for b.Loop() {
			if _, err := template.New(tpl, options()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
