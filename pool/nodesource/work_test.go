package nodesource

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/node"
	"lode/pool/space"
	"lode/pool/template"
	"lode/stratum"
)

// templateReply is a node's reply for a full block: count transactions of 150 to 650
// bytes, whose hashes and whose commitment (BIP 141) are right.
func templateReply(count int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	hashes := make([]chainhash.Hash, 1, count+1) // the coinbase's is all zero
	b := []byte(`{"result":{"capabilities":["proposal"],"version":536870912,"rules":["csv","!segwit","taproot"],"vbavailable":{},"vbrequired":0,` +
		`"previousblockhash":"00000000000000000001de5a1ad1a2da1f0f3c22e1d6c1c2a5a4a4a0a1a2a3a4","transactions":[`)
	for i := range count {
		if i > 0 {
			b = append(b, ',')
		}
		data := append([]byte{2, 0, 0, 0, 0, 1}, random(144+r.IntN(500))...)
		hashes = append(hashes, chainhash.DoubleHashH(data))
		b = fmt.Appendf(b, `{"data":"%x","txid":"%x","hash":"%v","depends":[],"fee":%d,"sigops":%d,"weight":%d}`,
			data, random(32), hashes[i+1], 200+r.IntN(10000), 1+r.IntN(4), 600+r.IntN(2000))
	}
	for len(hashes) > 1 {
		if len(hashes)%2 != 0 {
			hashes = append(hashes, hashes[len(hashes)-1])
		}
		for i := range len(hashes) / 2 {
			hashes[i] = chainhash.DoubleHashH(append(hashes[2*i][:], hashes[2*i+1][:]...))
		}
		hashes = hashes[:len(hashes)/2]
	}
	return fmt.Appendf(b, `],"coinbaseaux":{},"coinbasevalue":%d,"longpollid":"00000000000000000001de5a1ad1a2da1f0f3c22e1d6c1c2a5a4a4a0a1a2a3a41234",`+
		`"target":"0000000000000000000355f000000000000000000000000000000000000000000","mintime":1699990000,"mutable":["time","transactions","prevblock"],`+
		`"noncerange":"00000000ffffffff","sigoplimit":80000,"sizelimit":4000000,"weightlimit":4000000,"curtime":1700000000,"bits":"170355f0",`+
		`"height":840000,"default_witness_commitment":"6a24aa21a9ed%x"},"error":null,"id":1}`+"\n", 350_000_000,
		chainhash.DoubleHashB(append(hashes[0][:], make([]byte, 32)...)))
}

// bench is a source whose node was never asked, on a network.
func bench(t testing.TB) *Source {
	t.Helper()
	home, err := space.New([]byte{0}, 3, 8, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{
		Tag: "/lode/", Instance: []byte{0, 1, 2, 3}, Mask: stratum.WideVersionMask, Space: home,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	s.script = append([]byte{0, 20}, make([]byte, 20)...)
	s.network = node.Networks()[0]
	return s
}

// notify goes the way of a template from the node's reply to the line for the miners.
func notify(t testing.TB, s *Source, table *jobs.Table, now time.Time, reply []byte, clean bool) []byte {
	t.Helper()
	tpl, err := template.ParseReply(reply)
	if err != nil || tpl == nil {
		t.Fatal(tpl, err)
	}
	w, err := s.work(tpl, now)
	if err != nil {
		t.Fatal(err)
	}
	v, err := table.Add(now, w, clean).Variant(ExtranonceSize, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v.Line(true).Line()
}

// TestTransactionsOfFullBlock: those of a block that is too large for a reply are not made.
func TestTransactionsOfFullBlock(t *testing.T) {
	s, table := bench(t), jobs.NewTable(0, 0)
	notify(t, s, table, time.Now(), templateReply(400), true)
	w := table.Latest().Origin.(jobs.Lister)
	size := 0
	list, ok := w.Transactions(1 << 20)
	for _, tx := range list {
		size += len(tx)
	}
	if !ok || len(list) != 400 {
		t.Fatalf("%d transactions (%v)", len(list), ok)
	}
	if list, ok := w.Transactions(size); !ok || len(list) != 400 {
		t.Errorf("%d transactions that fit (%v)", len(list), ok)
	}
	if n := testing.AllocsPerRun(10, func() { list, ok = w.Transactions(size - 1) }); n != 0 || ok || list != nil {
		t.Errorf("%v allocations for %d transactions too many (%v)", n, len(list), ok)
	}
}

// BenchmarkTemplateToNotify is from the reply to getblocktemplate in memory to the
// mining.notify line, for a block of 4,000 transactions. Each job is kept, as they are
// for ten minutes.
func BenchmarkTemplateToNotify(b *testing.B) {
	for _, count := range []int{0, 4000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			s, table, now := bench(b), jobs.NewTable(0, 0), time.Unix(1_700_000_000, 0)
			reply := templateReply(count)
			b.SetBytes(int64(len(reply)))
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(30 * time.Second)
				notify(b, s, table, now, reply, true)
			}
		})
	}
}

// BenchmarkTemplateOverHTTP adds the way from the node: request, reply and its parsing.
func BenchmarkTemplateOverHTTP(b *testing.B) {
	full := templateReply(4000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct{ Method string }
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			b.Error(err)
		}
		reply := full
		switch call.Method {
		case "getblockhash":
			reply = fmt.Appendf(nil, `{"result":"%s","error":null,"id":1}`, chaincfg.RegressionNetParams.GenesisHash)
		case "getnetworkinfo":
			reply = []byte(`{"result":{"subversion":"/Satoshi:28.1.0/"},"error":null,"id":1}`)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(reply))) // as Core does
		_, _ = w.Write(reply)
	}))
	defer server.Close()
	n, err := node.New(node.Options{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	b.SetBytes(int64(len(full)))
	for b.Loop() {
		if _, err := n.Template(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFixedTime: a node that lets nobody change the time gets blocks with its own.
func TestFixedTime(t *testing.T) {
	for fixed, want := range map[bool][3]bool{true: {true, false, true}, false: {false, false, false}} {
		tpl := &template.Template{Bits: 0x207fffff, CurrentTime: 100, MinTime: 50, FixedTime: fixed}
		w, err := bench(t).work(tpl, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for i, ntime := range []uint32{99, 100, 101} {
			if err := w.TimeError(ntime); (err != nil) != want[i] {
				t.Errorf("time %d, fixed %v: %v", ntime, fixed, err)
			}
		}
	}
}

// TestWideMask: BIP 323's bits are rolled, except for those that the node signals with.
func TestWideMask(t *testing.T) {
	for version, want := range map[uint32]uint32{
		0x20000000: 0x1fffffe0, 0x20000020: 0x1fffffc0, 0x20001fe0: 0x1fffe000, 0x2000e01f: 0x1fffffe0,
	} {
		w, err := bench(t).work(&template.Template{Version: version, Bits: 0x207fffff, CurrentTime: 7}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if w.Mask != want || w.Version != version&^want {
			t.Errorf("node's version %08x: mask %08x, version %08x; want mask %08x", version, w.Mask, w.Version, want)
		}
	}
}

// TestUnknownVersion: bits that the version of a chain has set that nobody knows may be its
// id among chains that are mined together: none is rolled then.
func TestUnknownVersion(t *testing.T) {
	for version, mask := range map[uint32]uint32{
		0x20000000: stratum.WideVersionMask, 4: stratum.WideVersionMask, 0x20240000: 0, 0x00080002: 0, 0x00010001: 0,
	} {
		s := bench(t)
		var err error
		if s.node, err = node.New(node.Options{URL: "http://127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
		s.network = node.Network{Name: "chain-12"}
		w, err := s.work(&template.Template{Version: version, Bits: 0x207fffff, CurrentTime: 7}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if w.Mask != mask || w.Version != version {
			t.Errorf("node's version %08x: mask %08x, version %08x; want mask %08x", version, w.Mask, w.Version, mask)
		}
	}
}

// TestRequiredBits: bits that the node insists on are not rolled.
func TestRequiredBits(t *testing.T) {
	tpl := &template.Template{Version: 0x20406000, RequiredBits: 0x00404000, Bits: 0x207fffff, CurrentTime: 7}
	s := bench(t)
	s.o.Mask = stratum.DefaultVersionMask
	w, err := s.work(tpl, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if want := stratum.DefaultVersionMask &^ tpl.RequiredBits; w.Mask != want || w.Version != 0x20404000 {
		t.Errorf("mask %08x, version %08x; want mask %08x, version 20404000", w.Mask, w.Version, want)
	}
}

// TestManyAlgorithms: where the version tells which proof of work a block has, those bits
// are left alone; templates for another one are refused.
func TestManyAlgorithms(t *testing.T) {
	s := bench(t)
	reply := func(algorithm string) []byte {
		return fmt.Appendf(nil, `{"version":536871426,"previousblockhash":"%064x","transactions":[],"coinbasevalue":1,"bits":"1d00ffff","height":500,"curtime":1700000000%s}`, 7, algorithm)
	}
	tpl, err := template.Parse(reply(`,"pow_algo_id":0,"pow_algo":"sha256d"`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.work(tpl, time.Time{})
	if err != nil || w.Mask != stratum.DefaultVersionMask || w.Version != 0x20000202 {
		t.Errorf("mask %08x, version %08x, %v", w.Mask, w.Version, err)
	}
	if _, err := template.Parse(reply(`,"pow_algo":"scrypt"`)); err == nil || !strings.Contains(err.Error(), `by "scrypt"`) {
		t.Error(err)
	}
}

// TestMemoryOfWork: what is kept of a template counts, without what it shares with the one
// before it.
func TestMemoryOfWork(t *testing.T) {
	var store template.Store
	memory := func(count int) int64 {
		tpl, err := template.ParseReply(templateReply(count))
		if err != nil {
			t.Fatal(err)
		}
		w, err := bench(t).work(tpl, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var origin jobs.Keeper = w.Origin.(*work)
		w.Origin.(*work).compact(&store)
		return origin.Memory()
	}
	const least = 100 * 56 // a hash, and where the bytes are
	first, same, more := memory(100), memory(100), memory(200)
	if first < least+100*150 || same < least || same > first/2 || more < same+100*150 {
		t.Errorf("a template keeps %d bytes, the same again %d, and one that has twice as many transactions %d", first, same, more)
	}
}
