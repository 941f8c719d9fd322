package blocks_test

import (
	"errors"
	"testing"
	"time"

	"lode/pool/blocks"
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
				alone.do(func() { alone.down = dies })
				other.grow(5)
				time.Sleep(5 * time.Second)
				w.expect(1, blocks.Confirmed) // five deep: it may still win
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
			simulateWith(t, func(w *world) []blocks.Node {
				w.nodes = []*fakeNode{newNode("picky")}
				return []blocks.Node{&pickyNode{fakeNode: w.nodes[0], block: 1, fail: errors.New("HTTP status 413")}}
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
				time.Sleep(2 * time.Hour)
				w.expect(1, want)
				if len(w.journal.Pending()) != 0 {
					t.Error("still cared for")
				}
			})
		})
	}
}
