package nodesource

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/node"
	"lode/pool/space"
	"lode/pool/template"
	"lode/pool/upstream"
	"lode/stratum"
)

const regtestAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"

// fake is a node on regtest. What it says of a block is in headers, by hash.
type fake struct {
	height  atomic.Int64
	verdict atomic.Value // string: of a proposed block
	// moving is how often another block comes while one is judged.
	moving atomic.Int64
	// transactions is the list of a template's; "": none.
	transactions atomic.Value
	headers      map[string]string
	proposed     atomic.Int64
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Method string
		Params []json.RawMessage
	}
	_ = json.NewDecoder(r.Body).Decode(&call)
	result := "null"
	switch call.Method {
	case "getblockhash":
		result = fmt.Sprintf("%q", chaincfg.RegressionNetParams.GenesisHash)
	case "getnetworkinfo":
		result = `{"subversion":"/Satoshi:28.1.0/"}`
	case "getbestblockhash":
		result = fmt.Sprintf(`"%064x"`, 7)
	case "getblockheader":
		var hash string
		_ = json.Unmarshal(call.Params[0], &hash)
		header, ok := f.headers[hash]
		if !ok {
			fmt.Fprint(w, `{"result":null,"error":{"code":-5,"message":"Block not found"},"id":1}`)
			return
		}
		result = header
	case "getblocktemplate":
		if strings.Contains(string(call.Params[0]), "proposal") {
			f.proposed.Add(1)
			if f.moving.Add(-1) >= 0 {
				f.height.Add(1)
				result = `"bad-prevblk"`
				break
			}
			if verdict, _ := f.verdict.Load().(string); verdict != "" {
				result = fmt.Sprintf("%q", verdict)
			}
			break
		}
		if strings.Contains(string(call.Params[0]), "longpollid") {
			<-r.Context().Done()
			return
		}
		transactions, _ := f.transactions.Load().(string)
		result = fmt.Sprintf(`{"version":536870912,"previousblockhash":"%064x","transactions":%s,"coinbasevalue":%d,"bits":"207fffff",`+
			`"height":%d,"curtime":%d,"mintime":1600000000,"longpollid":"x","rules":["csv","!segwit"]}`, f.height.Load(), cmp.Or(transactions, "[]"), 5_000_000_000+f.height.Load(), f.height.Load(), time.Now().Unix())
	}
	fmt.Fprintf(w, `{"result":%s,"error":null,"id":1}`, result)
}

// source is a Source of the fake node, with a clock in hand.
func (f *fake) source(t *testing.T, change func(*Options)) (s *Source, now *time.Time) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	n, err := node.New(node.Options{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	home, err := space.New([]byte{0}, 3, 8, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	o := Options{
		Node: n, Payout: regtestAddress, Tag: "/lode/", Instance: []byte{0, 1, 2, 3}, Mask: stratum.WideVersionMask, Space: home,
		Join: func(string) error { return nil }, Now: func() time.Time { return at }, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	s = New(o)
	t.Cleanup(s.Close)
	return s, &at
}

// TestCheck: what would keep a block from being taken is said beforehand.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Options)
		verdict string
		want    string // in what is found; "!": in the error
	}{
		"all is well":       {nil, "", "trial block would be accepted"},
		"refused":           {nil, "bad-cb-amount", "!bad-cb-amount"},
		"no address":        {func(o *Options) { o.Payout = "" }, "", "!--payout-address"},
		"another network's": {func(o *Options) { o.Payout = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4" }, "", "!mainnet"},
		"another network":   {func(o *Options) { o.Join = func(name string) error { return errors.New("not " + name) } }, "", "!not regtest"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			f.height.Store(7)
			f.verdict.Store(c.verdict)
			s, _ := f.source(t, c.change)
			found, err := s.Check(t.Context())
			want, fails := strings.CutPrefix(c.want, "!")
			if (err != nil) != fails || !strings.Contains(found+fmt.Sprint(err), want) {
				t.Errorf("found %q, %v; want %q", found, err, c.want)
			}
		})
	}
}

// TestCheckWhileBlocksCome: a trial block on one that is no more the last says nothing of the
// node; but a node that is never still is told of, too.
func TestCheckWhileBlocksCome(t *testing.T) {
	for moving, want := range map[int64]string{2: "next block 9 ", 1000: "!bad-prevblk"} {
		f := &fake{}
		f.height.Store(7)
		f.moving.Store(moving)
		s, _ := f.source(t, nil)
		found, err := s.Check(t.Context())
		want, fails := strings.CutPrefix(want, "!")
		if (err != nil) != fails || !strings.Contains(found+fmt.Sprint(err), want) || f.proposed.Load() > 10 {
			t.Errorf("%d blocks come: found %q, %v after %d trials; want %q", moving, found, err, f.proposed.Load(), want)
		}
	}
}

// TestRestore: a node is given our blocks when it was away or its chain has become shorter,
// but not again and again where two nodes take turns.
func TestRestore(t *testing.T) {
	f := &fake{}
	f.height.Store(42)
	given := []int64{}
	took, fault := 0, error(nil)
	s, now := f.source(t, func(o *Options) {
		o.Restore = func(_ context.Context, height int64) (int, error) {
			given = append(given, height)
			return took, fault
		}
	})
	template := func(height int64) *template.Template { return &template.Template{Height: height} }
	for i, step := range []struct {
		height int64
		after  time.Duration // time since the step before
		lost   bool
		took   int
		fault  error
		given  bool
		want   int64 // height of what is mined then
	}{
		{100, 0, false, 0, nil, true, 100},
		{101, time.Second, false, 0, nil, false, 101},
		{101, time.Second, false, 0, nil, false, 101},
		{100, time.Second, false, 0, nil, false, 100}, // it was just asked
		{101, time.Minute, false, 0, nil, false, 101},
		{100, time.Second, false, 1, nil, true, 42}, // the node makes a new template
		{99, time.Hour, false, 0, errors.New("shut"), false, 99},
		{98, time.Hour, false, 0, errors.New("shut"), true, 98},
		{98, time.Second, true, 0, nil, true, 98}, // it was away
	} {
		if step.lost {
			s.top = 0
		}
		*now = now.Add(step.after)
		took, fault, given = step.took, step.fault, given[:0]
		got := s.restore(t.Context(), template(step.height))
		if (len(given) == 1 && given[0] == step.height) != step.given || got.Height != step.want || s.top != step.want {
			t.Errorf("step %d: given blocks below %d, mined is %d (top %d); want %v, %d", i+1, given, got.Height, s.top, step.given, step.want)
		}
	}
}

// TestAsk: what a node says of a block.
func TestAsk(t *testing.T) {
	f := &fake{headers: map[string]string{
		chainhash.Hash{1}.String(): `{"confirmations":3,"height":7,"time":1,"mediantime":1,"bits":"207fffff"}`,
		chainhash.Hash{2}.String(): `{"confirmations":-1,"height":8,"time":1,"mediantime":1,"bits":"207fffff"}`,
	}}
	s, _ := f.source(t, nil)
	for block, want := range map[byte]struct {
		answer upstream.Answer
		height int64
	}{1: {upstream.Main, 7}, 2: {upstream.Side, 8}, 3: {upstream.Unknown, 0}} {
		if answer, height := s.Ask(t.Context(), chainhash.Hash{block}); answer != want.answer || height != want.height {
			t.Errorf("block %d: %v at %d, want %v at %d", block, answer, height, want.answer, want.height)
		}
	}
	gone, end := context.WithCancel(t.Context())
	end()
	if answer, _ := s.Ask(gone, chainhash.Hash{1}); answer != upstream.Silent {
		t.Errorf("without an answer: %v", answer)
	}
}

// TestTimes: without a mintime the node's clock is the least.
func TestTimes(t *testing.T) {
	for name, c := range map[string]struct {
		current, least uint32
		time, minTime  uint32
	}{
		"as Core does":          {1000, 900, 1000, 900},
		"no mintime":            {1000, 0, 1000, 1000},
		"mintime is in advance": {1000, 1100, 1100, 1100},
	} {
		w, err := bench(t).work(&template.Template{Bits: 0x207fffff, CurrentTime: c.current, MinTime: c.least}, time.Now())
		if err != nil || w.Time != c.time || w.MinTime != c.minTime {
			t.Errorf("%s: time %d from %d on, %v; want %d from %d on", name, w.Time, w.MinTime, err, c.time, c.minTime)
		}
	}
}

// TestOtherNetwork: a node that was away may come back on another network.
func TestOtherNetwork(t *testing.T) {
	f := &fake{}
	f.height.Store(7)
	networks := 0
	s, _ := f.source(t, func(o *Options) {
		o.Join = func(string) error {
			networks++
			return nil
		}
	})
	for i := range 3 {
		tpl, err := s.node.Template(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.make(t.Context(), tpl, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		made, err := w.Origin.Make(12, 1)
		if err != nil {
			t.Fatal(err)
		}
		// The work stays what it is, whatever becomes of the node.
		s.forget()
		if again, err := w.Origin.Make(12, 1); err != nil || fmt.Sprint(again.Coinbase()) != fmt.Sprint(made.Coinbase()) {
			t.Errorf("template %d: another coinbase after the node was lost (%v)", i, err)
		}
		if networks != i+1 {
			t.Errorf("template %d: the network was asked for %d times", i, networks)
		}
	}
}

// events are what a source reports.
type events struct{ said chan string }

func (e *events) Work(w *jobs.Work) { e.said <- fmt.Sprint("work of ", w.Height) }
func (e *events) Lost(err error)    { e.said <- err.Error() }
func (e *events) Condemned(error)   {}
func (e *events) Share(bool)        {}

// TestWrongTransactions: people are told, once, of templates whose transactions do not have the
// hashes that the merkle root is made of. They are mined all the same.
func TestWrongTransactions(t *testing.T) {
	data := "02000000" + "01" + strings.Repeat("aa", 32) + "00000000" + "0151" + "ffffffff" + "01" + "0100000000000000" + "0151" + "00000000"
	f := &fake{}
	f.height.Store(7)
	f.transactions.Store("[]")
	log, written := io.Pipe()
	defer log.Close()
	s, _ := f.source(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(written, nil)) })
	e := &events{said: make(chan string, 16)}
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if strings.Contains(lines.Text(), "will hardly take") {
				e.said <- lines.Text()
			}
		}
	}()
	ctx, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	next := func(height int64, wrong bool, want ...string) {
		t.Helper()
		tx := `[{"data":"` + data + `","txid":"` + strings.Repeat("12", 32) + `","fee":1}]`
		if !wrong {
			tx = "[]"
		}
		f.transactions.Store(tx)
		f.height.Store(height)
		s.Notify()
		for _, w := range want {
			select {
			case got := <-e.said:
				if !strings.Contains(got, w) {
					t.Errorf("height %d: %s, want %s", height, got, w)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("height %d: nothing is reported, want %s", height, w)
			}
		}
	}
	go func() { s.Run(ctx, e); close(done) }()
	next(7, false, "work of 7")
	next(8, true, "work of 8", "transaction 1: txid is 1212")
	next(9, true, "work of 9")
	next(10, false, "work of 10")
	next(11, true, "work of 11", "txid is 1212")
	end()
	<-done
	if len(e.said) > 0 {
		t.Errorf("reported in the end: %s", <-e.said)
	}
}
