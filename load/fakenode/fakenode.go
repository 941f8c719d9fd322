// Package fakenode answers like a Bitcoin Core on regtest whose blocks are full, as far
// as a pool asks: templates of thousands of transactions, which change from time to
// time, and blocks at a pace of its own. It validates nothing. It is for load on a pool:
// a real node fills its blocks with real transactions only, and takes a day to get them.
package fakenode

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"
)

// Options say what blocks are like. Zero values are the defaults that the fields name.
type Options struct {
	Transactions int           // in a template; 0: 4,000, negative: none
	Bytes        int           // of a template, about; 0: 4,000,000
	Refresh      time.Duration // until other transactions are in it; 0: 30 s
	Replaced     float64       // share of them that are others then; 0: 0.1
	Block        time.Duration // between two blocks of the network; 0: 30 min
	Bits         uint32        // 0: 1d00ffff, difficulty 1
}

// Node is an http.Handler.
type Node struct {
	opts Options

	mu      sync.Mutex // guards the rest
	rng     *rand.Rand
	tip     chainhash.Hash
	height  int64 // of the tip
	seen    map[chainhash.Hash]int64
	txs     []transaction
	version int           // counts templates
	changed chan struct{} // closed when version has changed
	next    time.Time     // of the refresh
	block   time.Time     // of the next block
	taken   int
	asked   int
}

// transaction is its part of a template, and its id.
type transaction struct {
	json []byte
	id   chainhash.Hash
}

// New makes a node; it lives by being asked.
func New(opts Options) *Node {
	set(&opts.Transactions, 4000)
	set(&opts.Bytes, 4_000_000)
	set(&opts.Refresh, 30*time.Second)
	set(&opts.Replaced, 0.1)
	set(&opts.Block, 30*time.Minute)
	set(&opts.Bits, 0x1d00ffff)
	now := time.Now()
	n := &Node{
		opts: opts, rng: rand.New(rand.NewPCG(1, 2)), height: 1000, seen: map[chainhash.Hash]int64{},
		changed: make(chan struct{}), next: now.Add(opts.Refresh), block: now.Add(opts.Block),
	}
	n.tip = sha256.Sum256([]byte("lode"))
	n.seen[n.tip] = n.height
	for range max(opts.Transactions, 0) {
		n.txs = append(n.txs, n.newTransaction())
	}
	return n
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Asked is how many templates were asked for, Taken how many blocks were handed in.
func (n *Node) Asked() int { n.mu.Lock(); defer n.mu.Unlock(); return n.asked }

// Taken is how many blocks were handed in.
func (n *Node) Taken() int { n.mu.Lock(); defer n.mu.Unlock(); return n.taken }

// newTransaction makes one with an output of data that brings it to its length. Its
// inputs do not exist.
func (n *Node) newTransaction() transaction {
	const rest = 330 // of the JSON around twice the transaction's length, and its own fixed part
	tx := wire.NewMsgTx(2)
	var from chainhash.Hash
	for i := range 4 {
		binary.LittleEndian.PutUint64(from[8*i:], n.rng.Uint64())
	}
	tx.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&from, 0), nil, nil))
	data := make([]byte, max((n.opts.Bytes/max(n.opts.Transactions, 1)-rest)/2, 1))
	for i := range data {
		data[i] = byte(n.rng.Uint32())
	}
	tx.AddTxOut(wire.NewTxOut(1000, data))
	var raw strings.Builder
	_ = tx.Serialize(hex.NewEncoder(&raw)) // into memory
	id := tx.TxHash()
	return transaction{fmt.Appendf(nil, `{"data":"%s","txid":"%s","hash":"%s","depends":[],"fee":%d,"sigops":4,"weight":%d}`,
		raw.String(), id, id, 1000, 4*tx.SerializeSize()), id}
}

// age brings the node to a time: a refresh or a block may have been due.
func (n *Node) age(now time.Time) {
	switch {
	case !now.Before(n.block):
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n.rng.Uint64())
		n.extend(sha256.Sum256(b[:]), now)
	case !now.Before(n.next):
		n.replace(n.opts.Replaced)
		n.renew(now)
	}
}

// extend makes a block the tip: half of the transactions were in it.
func (n *Node) extend(hash chainhash.Hash, now time.Time) {
	n.tip = hash
	n.height++
	n.seen[hash] = n.height
	n.block = now.Add(n.opts.Block)
	n.replace(0.5)
	n.renew(now)
}

func (n *Node) replace(part float64) {
	for range int(part * float64(len(n.txs))) {
		n.txs[n.rng.IntN(len(n.txs))] = n.newTransaction()
	}
}

func (n *Node) renew(now time.Time) {
	n.next = now.Add(n.opts.Refresh)
	n.version++
	close(n.changed)
	n.changed = make(chan struct{})
}

// ServeHTTP answers a JSON-RPC request.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Method string
		Params []json.RawMessage
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	param := func(i int, to any) {
		if i < len(request.Params) {
			_ = json.Unmarshal(request.Params[i], to) // what is no value of the kind is as if it were absent
		}
	}
	if request.Method == "getblocktemplate" {
		var options struct{ Mode, LongPollID string }
		param(0, &options)
		if options.Mode != "proposal" {
			n.wait(r, options.LongPollID)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(n.template()) // the pool is gone
			return
		}
	}
	n.mu.Lock()
	n.age(time.Now())
	var result any
	var refused string
	switch request.Method {
	case "getblockhash":
		height := n.height
		param(0, &height)
		result, refused = n.hashAt(height), ""
		if result == "" {
			refused = "Block height out of range"
		}
	case "getnetworkinfo":
		result = map[string]any{"subversion": "/Satoshi:28.1.0/"}
	case "getbestblockhash":
		result = n.tip.String()
	case "getblockcount":
		result = n.height
	case "getblockheader":
		var text string
		param(0, &text)
		hash, err := chainhash.NewHashFromStr(text)
		height, known := int64(0), false
		if err == nil {
			height, known = n.seen[*hash]
		}
		if refused = "Block not found"; known {
			refused = ""
			result = map[string]any{
				"hash": text, "confirmations": n.height - height + 1, "height": height, "bits": fmt.Sprintf("%08x", n.opts.Bits), "version": 0x20000000,
				"time": time.Now().Unix() - 60, "mediantime": time.Now().Unix() - 3600,
			}
		}
	case "getblocktemplate": // a proposal: it is taken
	case "submitblock":
		var text string
		param(0, &text)
		n.submit(text)
	default:
		refused = "Method not found"
	}
	n.mu.Unlock()
	if refused != "" {
		_ = json.NewEncoder(w).Encode(map[string]any{"id": 1, "result": nil, "error": map[string]any{"code": -5, "message": refused}})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": 1, "result": result, "error": nil}) // the pool is gone
}

// wait lets a longpoll wait until there is another template than the one it names.
func (n *Node) wait(r *http.Request, id string) {
	for {
		n.mu.Lock()
		n.age(time.Now())
		current, changed := n.longPollID() == id, n.changed
		due := n.next
		if n.block.Before(due) {
			due = n.block
		}
		n.mu.Unlock()
		if !current {
			return
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-changed:
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

func (n *Node) longPollID() string { return n.tip.String() + strconv.Itoa(n.version) }

func (n *Node) hashAt(height int64) string {
	if height == 0 {
		return chaincfg.RegressionNetParams.GenesisHash.String()
	}
	for hash, h := range n.seen {
		if h == height {
			return hash.String()
		}
	}
	return ""
}

// template is the reply to getblocktemplate.
func (n *Node) template() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	size := 1000
	for i := range n.txs {
		size += len(n.txs[i].json) + 1
	}
	now := time.Now().Unix()
	b := make([]byte, 0, size)
	b = fmt.Appendf(b, `{"result":{"capabilities":["proposal"],"version":536870912,"rules":["csv","!segwit","taproot"],"vbavailable":{},"vbrequired":0,"previousblockhash":"%s","transactions":[`, n.tip)
	for i := range n.txs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, n.txs[i].json...)
	}
	return fmt.Appendf(b, `],"coinbaseaux":{},"coinbasevalue":%d,"longpollid":"%s","target":"%064x","mintime":%d,"mutable":["time","transactions","prevblock"],`+
		`"noncerange":"00000000ffffffff","sigoplimit":80000,"sizelimit":4000000,"weightlimit":4000000,"curtime":%d,"bits":"%08x","height":%d,`+
		`"default_witness_commitment":"6a24aa21a9ed%x"},"error":null,"id":1}`+"\n",
		5_000_000_000+1000*len(n.txs), n.longPollID(), 0, now-3600, now, n.opts.Bits, n.height+1, n.commitment())
}

// commitment is that of BIP 141: no transaction has a witness, so their ids are those of
// their witnesses, and the coinbase's is zero.
func (n *Node) commitment() chainhash.Hash {
	level := make([]chainhash.Hash, 1, len(n.txs)+2)
	for i := range n.txs {
		level = append(level, n.txs[i].id)
	}
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level, level[len(level)-1])
		}
		for i := range len(level) / 2 {
			level[i] = chainhash.DoubleHashH(slices.Concat(level[2*i][:], level[2*i+1][:]))
		}
		level = level[:len(level)/2]
	}
	return chainhash.DoubleHashH(slices.Concat(level[0][:], make([]byte, chainhash.HashSize)))
}

// submit takes a block if it is on the tip.
func (n *Node) submit(block string) {
	header, err := hex.DecodeString(block[:min(len(block), 160)])
	if err != nil || len(header) != 80 || !strings.EqualFold(hex.EncodeToString(header[4:36]), hex.EncodeToString(n.tip[:])) {
		return
	}
	n.taken++
	n.extend(chainhash.DoubleHashH(header), time.Now())
}
