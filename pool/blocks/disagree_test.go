package blocks_test

import (
	"context"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/blocks"
	"lode/pool/node"
)

// TestNodesDisagree: where one node has a block in its chain and another one has another
// block in its place, the longer chain tells: the first may be cut off from all others, or
// be gone for good since it said so.
func TestNodesDisagree(t *testing.T) {
	for name, dies := range map[string]bool{"it is cut off": false, "it is gone": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 2, func(w *world) {
				alone, other := w.nodes[0], w.nodes[1]
				other.do(func() { other.sides[hashOf(1)] = 1; other.asOrphan = true })
				w.keeper.Found(entryAt(1, 1))
				time.Sleep(3 * time.Second)
				alone.grow(2)
				time.Sleep(3 * time.Second)
				w.expect(1, blocks.Confirmed)
				other.grow(5)
				time.Sleep(5 * time.Second)
				w.expect(1, blocks.Confirmed) // five deep: it may still win
				alone.grow(3)
				time.Sleep(5 * time.Second)
				alone.do(func() { alone.down = dies })
				other.grow(1)
				time.Sleep(5 * time.Second)
				w.expect(1, blocks.Confirmed) // as deep as ours
				other.grow(1)
				time.Sleep(5 * time.Second)
				w.expect(1, blocks.Orphaned)
				if _, n := w.state(1); n != 0 {
					t.Errorf("%d confirmations of an orphan", n)
				}
				alone.grow(25)
				other.grow(60)
				time.Sleep(3 * time.Hour)
				w.expect(1, blocks.Orphaned)
				if len(w.journal.Pending()) != 1 {
					t.Error("let go of, with a node that has it in its chain")
				}
				alone.do(func() { alone.down = false })
				alone.grow(40)
				time.Sleep(5 * time.Second)
				w.expect(1, blocks.Confirmed)
			})
		})
	}
}

// TestNeverTaken: a node whose answers to a block nobody understands, or on whose way
// something refuses it, tells by its chain what became of it.
func TestNeverTaken(t *testing.T) {
	for name, inChain := range map[string]bool{"another is in its place": false, "it came there by another way": true} {
		t.Run(name, func(t *testing.T) {
			var picky *slowNode
			simulateWith(t, func(w *world) []blocks.Node {
				w.nodes = []*fakeNode{newNode("picky")}
				picky = &slowNode{fakeNode: w.nodes[0], fails: map[int]time.Time{1: time.Now().Add(1000 * time.Hour)}}
				return []blocks.Node{picky}
			}, func(w *world) {
				n, want := w.nodes[0], blocks.Orphaned
				w.keeper.Found(entryAt(1, 1))
				if inChain {
					want = blocks.Confirmed
					n.do(func() { n.chain = append(n.chain, hashOf(1)) })
				}
				n.grow(30)
				time.Sleep(5 * time.Minute)
				w.expect(1, want)
				offered := 0
				n.do(func() { offered = len(picky.order) })
				time.Sleep(2 * time.Hour)
				w.expect(1, want)
				if inChain && len(picky.order) > offered {
					t.Error("still offered")
				}
				if len(w.journal.Pending()) != 0 {
					t.Error("still cared for")
				}
			})
		})
	}
}

// muteNode does not say where a block stands.
type muteNode struct {
	*fakeNode
	block int
}

func (n *muteNode) Header(ctx context.Context, hash chainhash.Hash) (node.Header, error) {
	if hash == hashOf(n.block) {
		return node.Header{}, &node.RPCError{Code: -32603, Message: "Internal error"}
	}
	return n.fakeNode.Header(ctx, hash)
}

// TestNoHeader: what a node answers when it is asked for one block's header is no matter for
// the others; and where that block stands its chain tells.
func TestNoHeader(t *testing.T) {
	simulateWith(t, func(w *world) []blocks.Node {
		w.nodes = []*fakeNode{newNode("mute")}
		return []blocks.Node{&muteNode{w.nodes[0], 1}}
	}, func(w *world) {
		n := w.nodes[0]
		w.keeper.Found(entryAt(1, 1))
		w.keeper.Found(entryAt(2, 2))
		time.Sleep(3 * time.Second)
		w.expect(1, blocks.Confirmed)
		w.expect(2, blocks.Confirmed)
		if _, deep := w.state(1); deep != 2 {
			t.Errorf("%d confirmations, want 2", deep)
		}
		n.do(func() { n.chain = n.chain[:1] })
		n.do(func() { n.asOrphan = true })
		time.Sleep(3 * time.Second)
		w.expect(2, blocks.Submitted)
		n.grow(7)
		time.Sleep(3 * time.Second)
		w.expect(1, blocks.Orphaned)
		w.expect(2, blocks.Orphaned)
	})
}

// TestForgotten: a block that its node has forgotten, and does not take again, is not
// confirmed.
func TestForgotten(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n := w.nodes[0]
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(3 * time.Second)
		w.expect(1, blocks.Confirmed)
		n.do(func() { n.chain, n.behind = n.chain[:1], true })
		time.Sleep(5 * time.Second)
		w.expect(1, blocks.Submitted)
		if _, deep := w.state(1); deep != 0 {
			t.Errorf("%d confirmations", deep)
		}
	})
}

// TestOneRefusal: what one node calls broken is no orphan while another one keeps it beside
// its chain, in whatever order they are.
func TestOneRefusal(t *testing.T) {
	for refuses := range 2 {
		simulate(t, 2, func(w *world) {
			keeps, other := w.nodes[1-refuses], w.nodes[refuses]
			keeps.do(func() { keeps.sides[hashOf(1)], keeps.asOrphan = 1, true })
			other.do(func() { other.refuse = "bad-txns-inputs-missingorspent" })
			keeps.grow(1)
			w.keeper.Found(entryAt(1, 1))
			time.Sleep(5 * time.Second)
			w.expect(1, blocks.Submitted)
		})
	}
}

// TestFirstOfferFails: a node that is busy when it is offered what was found just now is
// offered it again within a moment, without anything else that happens.
func TestFirstOfferFails(t *testing.T) {
	simulateWith(t, func(w *world) []blocks.Node {
		w.nodes = []*fakeNode{newNode("busy")}
		return []blocks.Node{&slowNode{fakeNode: w.nodes[0], fails: map[int]time.Time{1: time.Now().Add(10 * time.Second)}}}
	}, func(w *world) {
		time.Sleep(5 * time.Second)
		w.keeper.Found(entryAt(1, 1))
		time.Sleep(10 * time.Second)
		if n := w.nodes[0].times(1); n != 1 {
			t.Errorf("the node has it %d times", n)
		}
	})
}
