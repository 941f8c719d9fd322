package blocks_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lode/pool/blocks"
	"lode/pool/journal"
	"lode/pool/node"
)

// slowNode takes a second to take a block, and fails in some until a time.
type slowNode struct {
	*fakeNode
	fails map[int]time.Time // by block: until when

	order      []string // blocks as they came
	busy, most int      // submissions at a time
}

func (n *slowNode) Submit(ctx context.Context, raw []byte, workID string) (node.Verdict, string, error) {
	n.do(func() {
		n.order = append(n.order, string(raw))
		n.busy++
		n.most = max(n.most, n.busy)
	})
	defer n.do(func() { n.busy-- })
	time.Sleep(time.Second)
	for block, until := range n.fails {
		if string(raw) == hashString(block) && time.Now().Before(until) {
			return 0, "", errors.New("HTTP status 413")
		}
	}
	return n.fakeNode.Submit(ctx, raw, workID)
}

// first is the order in which blocks came first.
func (n *slowNode) first() (blocks []string) {
	n.do(func() {
		for _, hash := range n.order {
			if !slices.Contains(blocks, hash) {
				blocks = append(blocks, hash)
			}
		}
	})
	return blocks
}

// TestBlocksOfBefore: after a restart a node gets the blocks of before one after the other,
// the lowest first: each may be the parent of the next.
func TestBlocksOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &slowNode{fakeNode: newNode("slow")}
		j := &sickJournal{left: []journal.Entry{entryAt(3, 3), entryAt(1, 1), entryAt(2, 2)}}
		run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
			if unsaved, err := k.Unsaved(); unsaved != 0 || err != nil {
				t.Errorf("%d blocks of the journal are not on disk: %v", unsaved, err)
			}
			time.Sleep(10 * time.Second)
		})
		if want := []string{hashString(1), hashString(2), hashString(3)}; !slices.Equal(n.order, want) || n.most != 1 {
			t.Errorf("it got %v, %d at a time", n.order, n.most)
		}
	})
}

// TestFailuresComeLast: of several that wait for a node, the one that it fails in keeps none
// of the others from it, and is tried again soon, for ever.
func TestFailuresComeLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well := time.Now().Add(time.Hour)
		n := &slowNode{fakeNode: newNode("slow"), fails: map[int]time.Time{1: well}}
		j := &sickJournal{left: []journal.Entry{entryAt(1, 1), entryAt(2, 2), entryAt(3, 3)}}
		run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(*blocks.Keeper) {
			time.Sleep(20 * time.Second)
			if n.times(2) != 1 || n.times(3) != 1 || !slices.Equal(n.first(), []string{hashString(1), hashString(2), hashString(3)}) {
				t.Errorf("the others came %d and %d times, in the order %v", n.times(2), n.times(3), n.first())
			}
			time.Sleep(time.Until(well) + 7*time.Second)
			if n.times(1) != 1 {
				t.Errorf("the node is well, and got the block %d times", n.times(1))
			}
		})
	})
}

// TestOnceAtATime: nobody hands a node a block that somebody is handing it.
func TestOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &slowNode{fakeNode: newNode("slow")}
		run(t, blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
			for i := 1; i < 6; i++ {
				k.Found(entryAt(i, int64(i)))
				time.Sleep(5 * time.Second)
			}
		})
		if len(n.order) != 5 {
			t.Errorf("%d submissions of 5 blocks", len(n.order))
		}
	})
}

// TestFlushAsksAll: a node that hangs may take the block yet, whichever of them it is.
func TestFlushAsksAll(t *testing.T) {
	for hangs := range 2 {
		synctest.Test(t, func(t *testing.T) {
			a := newNode("a")
			nodes := []blocks.Node{a, a}
			nodes[hangs] = &stuckNode{fakeNode: newNode("b"), submits: true}
			run(t, blocks.Options{Journal: new(sickJournal), Nodes: nodes}, func(k *blocks.Keeper) {
				k.Found(entryAt(1, 1))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if k.Flush(ctx) || a.times(1) != 1 {
					t.Error("one node was not asked")
				}
			})
		})
	}
}

// TestKeptForLong: a node that is killed forgets what it had not written, however deep that
// was. What is settled is remembered for a while, what is not in any case.
func TestKeptForLong(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		j := journalIn(t, dir)
		n := newNode("n")
		run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
			k.Found(entryAt(1, 1))
			time.Sleep(time.Second)
			n.grow(30)
			time.Sleep(69 * time.Minute)
			if len(j.Pending()) != 1 {
				t.Error("let go of within 70 minutes")
			}
			time.Sleep(5 * time.Minute)
			if len(j.Pending()) != 0 {
				t.Error("kept for more than 70 minutes")
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		n := &pickyNode{fakeNode: newNode("n"), block: 1}
		o := blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{n}, KeepFor: 1, Confirmations: 1}
		run(t, o, func(k *blocks.Keeper) {
			k.Found(entryAt(1, 5000)) // nothing is in its place
			for i := 1; i < 1100; i++ {
				k.Found(entryAt(1+i, int64(1+i)))
				time.Sleep(time.Second)
			}
			time.Sleep(10 * time.Minute)
			list := k.Blocks()
			if len(list) != 1000 || list[999].Hash != hashString(1) || list[0].Hash != hashString(1100) {
				t.Errorf("%d blocks are remembered, the oldest is %+v", len(list), list[len(list)-1])
			}
		})
	})
}

// TestClockWasSet: a block whose time is still to come, since the clock was ahead when it was
// found, is not cared for until then, nor one of long ago for too short.
func TestClockWasSet(t *testing.T) {
	for _, off := range []time.Duration{-10 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		for _, before := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				e := entryAt(1, 1)
				e.FoundAt = e.FoundAt.Add(off)
				n, j := newNode("n"), new(sickJournal)
				if before {
					j.left = []journal.Entry{e}
				}
				run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
					if !before {
						k.Found(e)
					}
					time.Sleep(time.Second)
					n.grow(30)
					time.Sleep(time.Hour)
					j.do(func() {
						if early := before && off < 0; len(j.settled) > 0 != early {
							t.Errorf("off by %v, of before %v: settled %v", off, before, j.settled)
						}
					})
					time.Sleep(time.Hour)
					j.do(func() {
						if len(j.settled) != 1 {
							t.Errorf("off by %v, of before %v: it is not settled", off, before)
						}
					})
				})
			})
		}
	}
}

// TestRestore: a node that comes back gets the blocks that belong above what it has left, the
// lowest first, but for one that it calls broken; one that it fails in keeps none from it.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &slowNode{fakeNode: newNode("n"), fails: map[int]time.Time{3: time.Now().Add(time.Minute)}}
		var left []journal.Entry
		for i := 5; i > 0; i-- {
			left = append(left, entryAt(i, int64(i)))
		}
		ofPool := entryAt(6, 6)
		ofPool.Pool, ofPool.Raw = "stratum+tcp://pool", nil // there is nothing to hand in
		left = append(left, ofPool)
		k := blocks.New(blocks.Options{Journal: &sickJournal{left: left}, Nodes: []blocks.Node{n}})
		restore := func(height int64, took int, failed bool, want ...int) {
			t.Helper()
			n.do(func() { n.order = nil })
			got, err := k.Restore(t.Context(), 0, height)
			var order []string
			for _, i := range want {
				order = append(order, hashString(i))
			}
			if got != took || (err != nil) != failed || !slices.Equal(n.order, order) {
				t.Errorf("from %d on: took %d (%v), it got %v", height, got, err, n.order)
			}
		}
		restore(3, 2, true, 3, 4, 5)
		n.do(func() { n.chain, n.refuse = n.chain[:1], "bad-cb-amount" })
		restore(5, 0, false, 5)
		n.do(func() { n.refuse = "" })
		time.Sleep(time.Minute)
		restore(1, 4, false, 1, 2, 3, 4)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if n.order = nil; n.fails != nil {
			n.fails[1] = time.Now().Add(time.Hour)
		}
		if took, err := k.Restore(ended, 0, 1); took != 0 || err == nil || len(n.order) != 1 {
			t.Errorf("with no time left: %d, %v, %v", took, err, n.order)
		}
	})
}

// TestNoOrphanAnyMore: the chain that had displaced a block is displaced itself; nobody knows
// yet what comes of the block.
func TestNoOrphanAnyMore(t *testing.T) {
	simulate(t, 1, func(w *world) {
		n, h := w.nodes[0], hashOf(1)
		h[3] = 2 // its height, for the node
		n.grow(8)
		e := entryAt(1, 2)
		e.Hash, e.Raw = h.String(), []byte(h.String())
		w.keeper.Found(e)
		time.Sleep(10 * time.Second)
		state := func() blocks.State { return w.keeper.Blocks()[0].State }
		if got := state(); got != blocks.Orphaned {
			t.Fatalf("%s, with another block in its place and 6 on that", got)
		}
		n.do(func() { n.chain = n.chain[:4] })
		time.Sleep(10 * time.Second)
		if got := state(); got != blocks.Submitted {
			t.Errorf("%s, with another block in its place and one on that", got)
		}
	})
}

// TestFoundAtTheEnd: a block that is found in the moment of the end is on disk after it.
func TestFoundAtTheEnd(t *testing.T) {
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			j, n := new(sickJournal), newNode("n")
			n.down = true
			run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
				synctest.Wait()
				k.Found(entryAt(1, 1))
			})
			if len(j.memory) != 1 {
				t.Fatal("it was not written")
			}
		})
	}
}

// TestFoundBeforeTheEnd: so is one that is found while the disk is busy with another.
func TestFoundBeforeTheEnd(t *testing.T) {
	for range 30 {
		synctest.Test(t, func(t *testing.T) {
			j, n := &sickJournal{hang: make(chan struct{})}, newNode("n")
			n.down = true
			run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
				k.Found(entryAt(1, 1))
				synctest.Wait()
				k.Found(entryAt(2, 2))
				time.AfterFunc(time.Second, func() { close(j.hang) })
			})
			if len(j.memory) != 2 {
				t.Fatalf("%d blocks of 2 were written", len(j.memory))
			}
		})
	}
}
