package blocks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/blocks"
	"lode/pool/journal"
	"lode/pool/node"
)

// fakeNode is a node with a chain of hashes, and faults.
type fakeNode struct {
	name string

	mu       sync.Mutex
	down     bool
	chain    []chainhash.Hash // index is the height
	sides    map[chainhash.Hash]int64
	refuse   string         // submitblock's word for everything
	byRaw    map[string]int // submissions
	behind   bool           // knows no block's parent yet
	asOrphan bool           // takes blocks without putting them anywhere, as btcd does with orphans
}

var errDown = errors.New("connection refused")

func newNode(name string) *fakeNode {
	return &fakeNode{name: name, chain: []chainhash.Hash{{}}, sides: map[chainhash.Hash]int64{}, byRaw: map[string]int{}}
}

func (n *fakeNode) URL() string { return n.name }

func hashOf(i int) chainhash.Hash { return chainhash.Hash{byte(i), byte(i >> 8), 1} }

func entryAt(i int, height int64) journal.Entry {
	h := hashOf(i)
	return journal.Entry{Hash: h.String(), Height: height, Finder: "rig", FoundAt: time.Now(), Raw: []byte(h.String())}
}

func (n *fakeNode) Submit(_ context.Context, raw []byte, workID string) (node.Verdict, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return 0, "", errDown
	}
	n.byRaw[string(raw)]++
	if n.refuse != "" {
		return node.Invalid, n.refuse, nil
	}
	if n.behind {
		return node.Later, "prev-blk-not-found", nil
	}
	hash, err := chainhash.NewHashFromStr(string(raw))
	if err != nil {
		return node.Invalid, "garbage", nil
	}
	for _, h := range n.chain {
		if h == *hash {
			return node.Known, "duplicate", nil
		}
	}
	if n.asOrphan {
		return node.Taken, "", nil
	}
	height := int64(hash[3]) // set by the test where it matters
	if height == 0 || height == int64(len(n.chain)) {
		n.chain = append(n.chain, *hash)
	} else {
		n.sides[*hash] = height
	}
	return node.Taken, "", nil
}

func (n *fakeNode) Header(_ context.Context, hash chainhash.Hash) (node.Header, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return node.Header{}, errDown
	}
	for i, h := range n.chain {
		if h == hash {
			return node.Header{Confirmations: int64(len(n.chain) - i), Height: int64(i)}, nil
		}
	}
	if height, ok := n.sides[hash]; ok {
		return node.Header{Confirmations: -1, Height: height}, nil
	}
	return node.Header{}, node.ErrUnknownBlock
}

func (n *fakeNode) BlockAt(_ context.Context, height int64) (chainhash.Hash, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || height >= int64(len(n.chain)) {
		return chainhash.Hash{}, errDown
	}
	return n.chain[height], nil
}

func (n *fakeNode) Height(context.Context) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return 0, errDown
	}
	return int64(len(n.chain) - 1), nil
}

func (n *fakeNode) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// times is how often a block was submitted.
func (n *fakeNode) times(block int) (count int) {
	n.do(func() { count = n.byRaw[hashString(block)] })
	return count
}

// grow adds blocks of others.
func (n *fakeNode) grow(count int) {
	n.do(func() {
		for range count {
			n.chain = append(n.chain, chainhash.Hash{byte(len(n.chain)), byte(len(n.chain) >> 8), 2})
		}
	})
}

type world struct {
	t       *testing.T
	path    string
	journal *journal.Journal
	keeper  *blocks.Keeper
	nodes   []*fakeNode
	asked   []blocks.Node // the same, with what a test has put around them
	stop    func()

	log lockedBuffer

	mu   sync.Mutex
	told []string
}

// lockedBuffer can be written to and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a Keeper on the world's journal.
func (w *world) start() {
	w.t.Helper()
	j, err := journal.Open(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.journal = j
	o := blocks.Options{Journal: j, Nodes: w.asked, KeepFor: time.Hour, Logger: slog.New(slog.NewTextHandler(&w.log, nil)), OnChange: func(b blocks.Block) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, fmt.Sprintf("%d %s", b.Height, b.State))
	}}
	w.keeper = blocks.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.keeper.Run(ctx) }()
	w.stop = func() {
		cancel()
		<-done
		_ = j.Close()
	}
}

func (w *world) state(i int) (blocks.State, int64) {
	h := hashOf(i)
	for _, b := range w.keeper.Blocks() {
		if b.Hash == h.String() {
			return b.State, b.Confirmations
		}
	}
	return "", 0
}

func (w *world) expect(i int, want blocks.State) {
	w.t.Helper()
	if got, _ := w.state(i); got != want {
		w.t.Errorf("block %d is %q, want %q (told: %v)", i, got, want, w.told)
	}
}

// simulate runs f with virtual time.
func simulate(t *testing.T, nodes int, f func(w *world)) {
	simulateWith(t, func(w *world) (list []blocks.Node) {
		for i := range nodes {
			w.nodes = append(w.nodes, newNode(fmt.Sprint("node", i)))
			list = append(list, w.nodes[i])
		}
		return list
	}, f)
}

// simulateWith does so with nodes that have more to them than w.nodes, which make sets.
func simulateWith(t *testing.T, make func(w *world) []blocks.Node, f func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, path: filepath.Join(dir, "j")}
		w.asked = make(w)
		w.start()
		defer func() { w.stop() }()
		f(w)
	})
}

func TestConfirmed(t *testing.T) {
	simulate(t, 2, func(w *world) {
		if !w.keeper.Found(entryAt(1, 1)) || w.keeper.Found(entryAt(1, 1)) {
			t.Error("Found does not know new from old")
		}
		time.Sleep(time.Second)
		w.expect(1, blocks.Confirmed)
		for i, n := range w.nodes {
			if got := n.times(1); got != 1 {
				t.Errorf("node %d got the block %d times", i, got)
			}
		}
		w.nodes[0].grow(30)
		time.Sleep(2 * time.Minute)
		if _, n := w.state(1); n != 31 {
			t.Errorf("%d confirmations, want 31", n)
		}
		if len(w.journal.Pending()) != 1 {
			t.Error("settled too early: nodes write to disk once an hour")
		}
		time.Sleep(2 * time.Hour)
		if len(w.journal.Pending()) != 0 {
			t.Error("not settled")
		}
		w.expect(1, blocks.Confirmed)
		if want := []string{"1 submitted", "1 confirmed"}; fmt.Sprint(w.told) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", w.told, want)
		}
	})
}

func hashString(i int) string { h := hashOf(i); return h.String() }

func TestNodesDown(t *testing.T) {
	simulate(t, 2, func(w *world) {
		for _, n := range w.nodes {
			n.do(func() { n.down = true })
		}
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(10 * time.Minute)
		w.expect(1, blocks.Submitted)
		time.Sleep(48 * time.Hour) // a block is never too old to be handed in
		w.nodes[1].do(func() { w.nodes[1].down = false })
		time.Sleep(6 * time.Second)
		w.expect(1, blocks.Confirmed)
		w.nodes[0].do(func() { w.nodes[0].down = false })
		time.Sleep(6 * time.Second)
		if w.nodes[0].times(1) != 1 {
			t.Error("the other node did not get the block when it came back")
		}
	})
}

// TestNodeBehind is a node that is catching up for minutes: it is asked again, ever more
// seldom, and the log tells of it once.
func TestNodeBehind(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		n.do(func() { n.behind = true })
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(5 * time.Minute)
		w.expect(1, blocks.Submitted)
		if tries := n.times(1); tries < 15 || tries > 25 {
			t.Errorf("asked %d times in five minutes", tries)
		}
		if lines := strings.Count(w.log.String(), "submitted a block"); lines != 1 {
			t.Errorf("%d lines in the log:\n%s", lines, w.log.String())
		}
		n.do(func() { n.behind = false })
		time.Sleep(20 * time.Second)
		w.expect(1, blocks.Confirmed)
	})
}

// TestKilledBeforeSubmit: the journal has the block, no node has seen it.
func TestKilledBeforeSubmit(t *testing.T) {
	simulate(t, 1, func(w *world) {
		w.nodes[0].do(func() { w.nodes[0].down = true })
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(time.Second)
		w.stop() // as good as killed: nothing more is written
		w.nodes[0].do(func() { w.nodes[0].down = false })
		w.start()
		time.Sleep(time.Second)
		w.expect(1, blocks.Confirmed)
	})
}

// TestForgetfulNode is a node that was killed and lost its last blocks: it gets all
// of them again, the lowest first.
func TestForgetfulNode(t *testing.T) {
	simulate(t, 1, func(w *world) {
		for i := 1; i <= 5; i++ {
			w.keeper.Found(entryAt(i, int64(i)))
			time.Sleep(time.Second)
		}
		n := w.nodes[0]
		n.do(func() { n.chain = n.chain[:2] })
		time.Sleep(30 * time.Second)
		var got string
		n.do(func() { got = fmt.Sprint(n.chain[1:]) })
		if want := fmt.Sprint([]chainhash.Hash{hashOf(1), hashOf(2), hashOf(3), hashOf(4), hashOf(5)}); got != want {
			t.Errorf("chain %v, want %v", got, want)
		}
		for i := 1; i <= 5; i++ {
			w.expect(i, blocks.Confirmed)
		}
	})
}

func TestOrphan(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		n.grow(1)
		n.do(func() { n.sides[hashOf(1)] = 1 }) // a rival was first
		n.do(func() { n.asOrphan = true })
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Submitted)
		n.grow(4)
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Submitted) // five deep: it may still win
		n.grow(1)
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Orphaned)
		// A reorganisation makes it the main chain after all.
		n.do(func() { n.chain[1] = hashOf(1) })
		time.Sleep(2 * time.Minute)
		w.expect(1, blocks.Confirmed)
	})
}

// TestOrphanUntilDeep: a block that lost is cared for until the other one is as deep as ours
// would have to be: until then it may win after all.
func TestOrphanUntilDeep(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		n.grow(1)
		n.do(func() { n.sides[hashOf(1)] = 1 })
		n.do(func() { n.asOrphan = true })
		w.keeper.Found(entryAt(1, 1))
		n.grow(18) // the rival is 19 deep
		time.Sleep(3 * time.Hour)
		w.expect(1, blocks.Orphaned)
		if len(w.journal.Pending()) != 1 {
			t.Fatal("let go of, with a rival 19 deep")
		}
		n.grow(1)
		time.Sleep(5 * time.Minute)
		w.expect(1, blocks.Orphaned)
		if len(w.journal.Pending()) != 0 {
			t.Error("still cared for, with a rival 20 deep")
		}
	})
}

// TestOrphanPool: btcd answers null for a block whose parent it does not know, and
// then does not know the block.
func TestOrphanPool(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		n.do(func() { n.asOrphan = true })
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Submitted)
		n.do(func() { n.asOrphan = false })
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Confirmed)
	})
}

func TestRefused(t *testing.T) {
	simulate(t, 2, func(w *world) {
		w.nodes[0].do(func() { w.nodes[0].refuse = "bad-cb-amount" })
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Confirmed) // one node takes it
		for _, n := range w.nodes {
			n.do(func() { n.refuse = "bad-cb-amount" })
		}
		w.keeper.Found(entryAt(2, 2))
		time.Sleep(5 * time.Second)
		w.expect(2, blocks.Orphaned)
		for _, b := range w.keeper.Blocks() {
			if b.Hash == hashString(2) && b.Detail == "" {
				t.Error("the reason is not told")
			}
		}
		if w.nodes[0].times(2) != 1 {
			t.Error("a refused block is submitted over and over")
		}
		w.nodes[1].grow(30)
		time.Sleep(3 * time.Hour)
		if p := w.journal.Pending(); len(p) != 0 {
			t.Errorf("%d blocks are cared for, one of them refused by all", len(p))
		}
	})
}

// TestFullDisk: the block cannot be written, and is submitted all the same.
func TestFullDisk(t *testing.T) {
	simulate(t, 1, func(w *world) {
		_ = w.journal.Close()
		if !w.keeper.Found(entryAt(1, 1)) {
			t.Error("the block was not taken")
		}
		time.Sleep(time.Second)
		w.expect(1, blocks.Confirmed)
	})
}

// TestPoolBlock: of a pool's block there is nothing to submit. It outlives a restart,
// nodes are asked about it, and it is let go of when nobody can say more.
func TestPoolBlock(t *testing.T) {
	found := func(i int, height int64) journal.Entry {
		e := entryAt(i, height)
		e.Raw, e.Pool, e.Header = nil, "stratum+tcp://pool:3333", []byte("header")
		return e
	}
	for name, c := range map[string]struct {
		nodes  int
		height int64
		then   func(w *world)
		want   blocks.State
		keep   time.Duration // until it is settled
	}{
		"in the chain": {1, 1, func(w *world) {
			w.nodes[0].do(func() { w.nodes[0].chain = append(w.nodes[0].chain, hashOf(1)) })
			w.nodes[0].grow(30)
		}, blocks.Confirmed, time.Hour},
		"another in its place": {1, 1, func(w *world) { w.nodes[0].grow(30) }, blocks.Orphaned, time.Hour},
		"height unknown":       {1, 0, func(w *world) { w.nodes[0].grow(30) }, blocks.Submitted, time.Hour},
		"no node":              {0, 1, func(*world) {}, blocks.Submitted, time.Hour},
		"node is stuck":        {1, 1, func(*world) {}, blocks.Submitted, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, c.nodes, func(w *world) {
				w.keeper.Found(found(1, c.height))
				w.keeper.Note(hashString(1), "pool: accepted")
				w.stop()
				w.start()
				c.then(w)
				time.Sleep(2 * time.Minute)
				w.expect(1, c.want)
				if c.nodes > 0 && w.nodes[0].times(1)+len(w.nodes[0].byRaw) > 0 {
					t.Error("it was submitted to a node")
				}
				if len(w.journal.Pending()) != 1 {
					t.Error("it was let go of at once")
				}
				if got := w.journal.Pending()[0]; string(got.Header) != "header" || got.Pool == "" {
					t.Errorf("the journal has %+v", got)
				}
				time.Sleep(c.keep - 10*time.Minute)
				if len(w.journal.Pending()) != 1 {
					t.Errorf("it was let go of before %v", c.keep)
				}
				time.Sleep(10 * time.Minute)
				if len(w.journal.Pending()) != 0 {
					t.Errorf("still in the journal after %v", c.keep)
				}
			})
		})
	}
}

// TestReorganised: a confirmed block that a longer chain displaced is noticed with the
// next block, not with the next look at all of them.
func TestReorganised(t *testing.T) {
	simulate(t, 1, func(w *world) {
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Confirmed)
		n := w.nodes[0]
		n.do(func() {
			n.chain = n.chain[:1]
			n.sides[hashOf(1)] = 1
		})
		n.grow(2)
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Submitted)
		n.grow(5)
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Orphaned)
		// And back again.
		n.do(func() { n.chain = append(n.chain[:1], hashOf(1)) })
		n.grow(10)
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Confirmed)
	})
}

// TestInvalidated has a node leave a block that it had confirmed, refuse it from then
// on, and return to it, as Bitcoin Core does after invalidateblock and reconsiderblock.
func TestInvalidated(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(3 * time.Second)
		w.expect(1, blocks.Confirmed)

		var left []chainhash.Hash
		n.do(func() {
			left, n.chain = n.chain, n.chain[:1:1]
			n.sides[hashOf(1)] = 1
			n.refuse = "duplicate-invalid"
		})
		// The proxy sees that the node's template fell, and hands in what belongs there.
		if _, err := w.keeper.Restore(w.t.Context(), 0, 1); err != nil {
			w.t.Fatal(err)
		}
		n.grow(1)
		time.Sleep(3 * time.Second)
		w.expect(1, blocks.Submitted)
		if _, confirmations := w.state(1); confirmations != 0 {
			w.t.Errorf("%d confirmations of a block that the node has left", confirmations)
		}
		n.grow(6)
		time.Sleep(2 * time.Minute)
		w.expect(1, blocks.Orphaned)

		n.do(func() {
			n.chain, n.refuse = left, ""
			delete(n.sides, hashOf(1))
		})
		n.grow(10)
		time.Sleep(2 * time.Minute)
		w.expect(1, blocks.Confirmed)
	})
}
