package blocks_test

import (
	"testing"
	"testing/synctest"
	"time"

	"lode/pool/blocks"
)

// TestSafe: a block outlives proxy and nodes when it is on disk, and not before: a node
// that is killed with the proxy forgets what it took a moment ago. Where the disk fails, a
// node that has the block is what there is.
func TestSafe(t *testing.T) {
	isSafe := func(k *blocks.Keeper, hash string) bool {
		synctest.Wait()
		select {
		case <-k.Safe(hash):
			return true
		default:
			return false
		}
	}
	for name, c := range map[string]struct {
		diskHangs, diskFull, nodeHangs bool
		behind                         bool // the node does not know the block's parent
		before, after                  bool // whether it is safe, at first and when disk and node go on
	}{
		"all is well":                           {before: true, after: true},
		"a slow disk":                           {diskHangs: true, before: false, after: true},
		"a slow node":                           {nodeHangs: true, before: true, after: true},
		"a full disk":                           {diskFull: true, before: true, after: true},
		"a full disk, no node":                  {diskFull: true, nodeHangs: true, before: false, after: true},
		"a full disk, a node that cannot judge": {diskFull: true, behind: true, before: false, after: true},
		"a slow disk, no node":                  {diskHangs: true, nodeHangs: true, before: false, after: true},
		"a slow disk that fails":                {diskHangs: true, diskFull: true, before: false, after: true},
		"a slow one, and no node":               {diskHangs: true, diskFull: true, nodeHangs: true, before: false, after: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, n := &sickJournal{full: c.diskFull}, newNode("node")
				if c.diskHangs {
					j.hang = make(chan struct{})
				}
				n.down, n.behind = c.nodeHangs, c.behind
				run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
					b := entryAt(1, 1)
					k.Found(b)
					time.Sleep(time.Second)
					if got := isSafe(k, b.Hash); got != c.before {
						t.Errorf("at first it is safe: %v, want %v", got, c.before)
					}
					n.do(func() { n.down, n.behind = false, false })
					if c.diskHangs {
						close(j.hang)
					}
					time.Sleep(time.Minute)
					if got := isSafe(k, b.Hash); got != c.after {
						t.Errorf("later on it is safe: %v, want %v", got, c.after)
					}
					if !isSafe(k, "forgotten") {
						t.Error("one that is long settled is not")
					}
				})
			})
		})
	}
}
