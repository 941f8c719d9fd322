package blocks_test

import (
	"fmt"
	"testing"
	"time"

	"lode/pool/blocks"
)

// TestPoolsOwnChain: a pool on whose chain each share is a block, its own or that of a
// forger, fills neither memory nor disk; blocks of our nodes are kept beside it.
func TestPoolsOwnChain(t *testing.T) {
	simulate(t, 1, func(w *world) {
		w.nodes[0].do(func() { w.nodes[0].down = true })
		ours := entryAt(1, 1)
		w.keeper.Found(ours)
		for i := range 300 {
			e := entryAt(2+i, 1)
			e.Pool, e.Raw, e.Coinbase = "stratum+tcp://pool", nil, make([]byte, 10)
			w.keeper.Found(e)
			time.Sleep(50 * time.Millisecond)
		}
		pending := w.journal.Pending()
		if len(pending) > 101 || len(pending) < 50 || pending[0].Hash != ours.Hash {
			t.Errorf("%d blocks are pending", len(pending))
		}
		kept := 0
		for _, b := range w.keeper.Blocks() {
			kept += len(b.Coinbase)
		}
		if kept > 101*10 {
			t.Errorf("%d bytes of coinbases are kept", kept)
		}
	})
}

// TestNeverPlaced: a node that never knows a block's parent – it is on another chain now –
// does not have the block offered for ever.
func TestNeverPlaced(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		n.do(func() { n.behind = true })
		n.grow(3)
		w.keeper.Found(entryAt(1, 2))
		time.Sleep(5 * time.Minute)
		w.expect(1, blocks.Submitted) // the node may be on the wrong one
		n.grow(5)
		time.Sleep(5 * time.Minute)
		w.expect(1, blocks.Orphaned)
		n.grow(30)
		time.Sleep(2 * time.Hour)
		if p := w.journal.Pending(); len(p) != 0 {
			t.Errorf("still pending: %+v", p)
		}
		tries := n.times(1)
		time.Sleep(time.Hour)
		if n.times(1) != tries {
			t.Error("still offered")
		}
		if want := []string{"2 submitted", "2 orphaned"}; fmt.Sprint(w.told) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", w.told, want)
		}
	})
}

// TestHeightUnknown: a pool's coinbase need not tell the height. Then a block is as deep as
// the node says, and not as the chain is long.
func TestHeightUnknown(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n, h := w.nodes[0], hashOf(1)
		n.grow(40)
		n.do(func() { n.chain = append(n.chain, h) })
		e := entryAt(1, 0)
		e.Pool, e.Raw = "stratum+tcp://pool", nil
		w.keeper.Found(e)
		time.Sleep(10 * time.Second)
		n.grow(2)
		time.Sleep(2 * time.Minute)
		if state, deep := w.state(1); state != blocks.Confirmed || deep != 3 {
			t.Errorf("%s with %d confirmations, want 3", state, deep)
		}
	})
}
