package blocks_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/blocks"
	"lode/pool/journal"
	"lode/pool/node"
)

// stuckNode hangs in what it is told to, until ctx ends.
type stuckNode struct {
	*fakeNode
	submits, polls bool
}

func (n *stuckNode) Submit(ctx context.Context, raw []byte, workID string) (node.Verdict, string, error) {
	if n.submits {
		<-ctx.Done()
		return 0, "", ctx.Err()
	}
	return n.fakeNode.Submit(ctx, raw, workID)
}

func (n *stuckNode) Height(ctx context.Context) (int64, error) {
	if n.polls {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return n.fakeNode.Height(ctx)
}

// pickyNode hangs in the submission of one block, or fails in it.
type pickyNode struct {
	*fakeNode
	block int
	fail  error // nil: it hangs
}

func (n *pickyNode) Submit(ctx context.Context, raw []byte, workID string) (node.Verdict, string, error) {
	if string(raw) != hashString(n.block) {
		return n.fakeNode.Submit(ctx, raw, workID)
	}
	if n.fail != nil {
		return 0, "", n.fail
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	<-ctx.Done()
	return 0, "", ctx.Err()
}

// TestOneBlockHoldsUpNoOther: what a node makes of one block – it hangs, or something on the
// way there refuses one that is so long – is no matter for the next, whether the first is of
// now or of before a restart.
func TestOneBlockHoldsUpNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		fail   error
		before bool // it is of before a restart
	}{
		"hangs":                      {},
		"fails":                      {fail: errors.New("HTTP status 413")},
		"hangs, of before a restart": {before: true},
		"fails, of before a restart": {fail: errors.New("HTTP status 413"), before: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j, n := new(sickJournal), &pickyNode{fakeNode: newNode("picky"), block: 1, fail: c.fail}
				if c.before {
					j.left = []journal.Entry{entryAt(1, 1)}
				}
				run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}}, func(k *blocks.Keeper) {
					if !c.before {
						k.Found(entryAt(1, 1))
					}
					for i := 2; i < 5; i++ {
						time.Sleep(1700 * time.Millisecond)
						before := time.Now()
						k.Found(entryAt(i, int64(i)))
						synctest.Wait()
						if took := time.Since(before); took > 0 || n.times(i) != 1 {
							t.Errorf("after %v the node got block %d %d times", took, i, n.times(i))
						}
					}
					// And what a hanging one is beside is tried again.
					time.Sleep(3 * time.Minute)
					for i := 2; i < 5; i++ {
						if n.times(i) != 1 {
							t.Errorf("the node got block %d %d times", i, n.times(i))
						}
					}
				})
			})
		})
	}
}

// hungLog is a log whose reader is stuck: a terminal that was told to stop, a pipe that
// nobody reads, a file on the disk that hangs.
type hungLog struct{ until chan struct{} }

func (hungLog) Enabled(context.Context, slog.Level) bool    { return true }
func (l hungLog) Handle(context.Context, slog.Record) error { <-l.until; return nil }
func (l hungLog) WithAttrs([]slog.Attr) slog.Handler        { return l }
func (l hungLog) WithGroup(string) slog.Handler             { return l }

// TestHungLog: who cannot log holds up nobody else.
func TestHungLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		first, second := newNode("first"), newNode("second")
		o := blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{first, second}, Logger: slog.New(hungLog{until})}
		run(t, o, func(k *blocks.Keeper) {
			go k.Found(entryAt(1, 1))
			synctest.Wait()
			time.Sleep(5 * time.Second)
			if first.times(1) != 1 || second.times(1) != 1 {
				t.Errorf("the nodes got the block %d and %d times", first.times(1), second.times(1))
			}
			if list := k.Blocks(); len(list) != 1 || list[0].State != blocks.Confirmed {
				t.Errorf("%+v", list)
			}
			close(until)
		})
	})
}

// TestHungListener: the end comes though he who is told of blocks hangs.
func TestHungListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := make(chan struct{})
		before := time.Now()
		o := blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{newNode("n")}, OnChange: func(blocks.Block) { <-until }}
		run(t, o, func(k *blocks.Keeper) {
			k.Found(entryAt(1, 1))
			time.Sleep(time.Second)
		})
		if took := time.Since(before); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		close(until)
	})
}

// sickJournal is a disk that hangs, or is full.
type sickJournal struct {
	hang chan struct{} // nil: it does not
	full bool
	left []journal.Entry // of before

	mu      sync.Mutex
	memory  []journal.Entry
	settled []string
	retried int
}

var errFull = errors.New("no space left on device")

func (j *sickJournal) Add(e journal.Entry) (bool, error) {
	if j.hang != nil {
		<-j.hang
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.memory = append(j.memory, e)
	if j.full {
		return true, errFull
	}
	return true, nil
}

func (j *sickJournal) Settle(hash string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settled = append(j.settled, hash)
	return nil
}

func (j *sickJournal) Retry() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.retried++; j.full {
		return errFull
	}
	return nil
}

func (j *sickJournal) Pending() []journal.Entry { return j.left }

func (j *sickJournal) do(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

// journalIn opens a journal in a folder, for the time of the test.
func journalIn(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(filepath.Join(dir, "j"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// run has a Keeper work with what is given, in virtual time.
func run(t *testing.T, o blocks.Options, f func(k *blocks.Keeper)) {
	ctx, cancel := context.WithCancel(t.Context())
	k := blocks.New(o)
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	f(k)
	cancel()
	<-done
}

// TestNothingIsWaitedFor: whatever hangs – the disk, another node, the question where a
// node stands, him who is told –, a block is with the other nodes within a moment.
func TestNothingIsWaitedFor(t *testing.T) {
	for name, change := range map[string]func(o *blocks.Options, j *sickJournal, first, second *stuckNode){
		"disk":            func(_ *blocks.Options, j *sickJournal, _, _ *stuckNode) { j.hang = make(chan struct{}) },
		"full disk":       func(_ *blocks.Options, j *sickJournal, _, _ *stuckNode) { j.full = true },
		"another node":    func(_ *blocks.Options, _ *sickJournal, first, _ *stuckNode) { first.submits = true },
		"another's polls": func(_ *blocks.Options, _ *sickJournal, first, _ *stuckNode) { first.polls = true },
		"its own polls":   func(_ *blocks.Options, _ *sickJournal, _, second *stuckNode) { second.polls = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := new(sickJournal)
				first, second := &stuckNode{fakeNode: newNode("first")}, &stuckNode{fakeNode: newNode("second")}
				told := make(chan blocks.Block, 100)
				o := blocks.Options{Journal: j, Nodes: []blocks.Node{first, second}, OnChange: func(b blocks.Block) { told <- b }}
				change(&o, j, first, second)
				run(t, o, func(k *blocks.Keeper) {
					k.Found(entryAt(1, 1))
					time.Sleep(3 * time.Second) // polls are under way
					before := time.Now()
					if !k.Found(entryAt(2, 2)) {
						t.Error("the block was not taken")
					}
					synctest.Wait()
					if took := time.Since(before); took > 0 {
						t.Errorf("it took %v", took)
					}
					if n := second.times(2); n != 1 {
						t.Errorf("the node got the second block %d times", n)
					}
					raw := 0
					for len(told) > 0 {
						if b := <-told; b.Raw != nil {
							raw++
						}
					}
					if raw != 2 {
						t.Errorf("told of %d blocks with their contents, want 2", raw)
					}
					if j.hang != nil {
						defer close(j.hang)
					}
				})
			})
		})
	}
}

// TestToldAtOnce: who is told of blocks can hand one in by himself, and hears of it when it is
// found, though no node answers.
func TestToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, told := newNode("n"), make(chan blocks.Block, 10)
		n.down = true
		o := blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{n}, OnChange: func(b blocks.Block) { told <- b }}
		run(t, o, func(k *blocks.Keeper) {
			time.Sleep(time.Second) // nothing is to be told
			k.Found(entryAt(1, 1))
			synctest.Wait()
			if len(told) != 1 || (<-told).Raw == nil {
				t.Error("nobody has heard of it, or not all")
			}
		})
	})
}

// TestHungDiskIsGivenUp: the end comes though the disk hangs.
func TestHungDiskIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &sickJournal{hang: make(chan struct{})}
		before := time.Now()
		run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{newNode("n")}}, func(k *blocks.Keeper) {
			k.Found(entryAt(1, 1))
			time.Sleep(time.Second)
		})
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		close(j.hang)
	})
}

// TestDiskRecovers: a block that did not fit on the disk is written when there is room.
func TestDiskRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &sickJournal{full: true}
		run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{newNode("n")}}, func(k *blocks.Keeper) {
			time.Sleep(time.Second) // the disk has nothing to do
			k.Found(entryAt(1, 1))
			time.Sleep(time.Minute)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if k.Flush(ctx) {
				t.Error("the block counts as saved")
			}
			if n, err := k.Unsaved(); n != 1 || !errors.Is(err, errFull) {
				t.Errorf("%d blocks are not on disk: %v", n, err)
			}
			j.do(func() { j.full = false })
			time.Sleep(10 * time.Second)
			if !k.Flush(t.Context()) || j.retried < 2 {
				t.Errorf("not saved after %d retries", j.retried)
			}
			if n, err := k.Unsaved(); n != 0 || err != nil {
				t.Errorf("%d blocks are not on disk: %v", n, err)
			}
			tries := j.retried
			time.Sleep(time.Minute)
			if j.retried != tries {
				t.Error("the journal is written over and over")
			}
			k.Found(entryAt(2, 2))
			time.Sleep(time.Minute)
			if n, _ := k.Unsaved(); n != 0 || j.retried != tries {
				t.Errorf("the whole journal was written %d times for one more block", j.retried-tries)
			}
		})
	})
}

// TestFlush waits for a node that takes the block, and for all nodes to have been asked.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode("a"), newNode("b")
		a.down, b.down = true, true
		run(t, blocks.Options{Journal: new(sickJournal), Nodes: []blocks.Node{a, b}}, func(k *blocks.Keeper) {
			if !k.Flush(t.Context()) {
				t.Error("there is nothing to wait for")
			}
			k.Found(entryAt(1, 1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if k.Flush(ctx) {
				t.Error("no node has the block")
			}
			a.do(func() { a.down = false })
			if !k.Flush(t.Context()) || a.times(1) == 0 {
				t.Error("a node took it, the other was asked")
			}
		})
	})
}

// TestSettledWhenDeep: a block is cared for until it is as deep as it is to be, however
// old it is, and no longer.
func TestSettledWhenDeep(t *testing.T) {
	for _, c := range []struct {
		name                string
		confirmations       int64 // option
		lacking, deepEnough int   // blocks on top of ours
	}{{"20 by default", 0, 18, 1}, {"as asked for", 3, 1, 1}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				j := journalIn(t, dir)
				n := newNode("n")
				run(t, blocks.Options{Journal: j, Nodes: []blocks.Node{n}, Confirmations: c.confirmations}, func(k *blocks.Keeper) {
					k.Found(entryAt(1, 1))
					time.Sleep(time.Second)
					n.grow(c.lacking)
					time.Sleep(3 * time.Hour)
					if got := k.Blocks()[0].Confirmations; got != int64(c.lacking)+1 || len(j.Pending()) != 1 {
						t.Errorf("%d confirmations, %d blocks are cared for; want %d and one", got, len(j.Pending()), c.lacking+1)
					}
					// A node that loses the block now gets it again.
					n.do(func() { n.chain = append(n.chain[:1:1], make([]chainhash.Hash, 0)...) })
					time.Sleep(10 * time.Second)
					if n.times(1) != 2 {
						t.Errorf("the forgetful node got the block %d times, want 2", n.times(1))
					}
					n.grow(c.lacking + c.deepEnough)
					time.Sleep(3 * time.Minute)
					if len(j.Pending()) != 0 {
						t.Errorf("still cared for with %d confirmations", k.Blocks()[0].Confirmations)
					}
				})
			})
		})
	}
}
