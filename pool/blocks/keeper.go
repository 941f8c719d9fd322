// Package blocks sees to it that no found block is lost: it journals blocks, submits
// them to every node until each has answered, and watches over them until they are
// deep in the chain, submitting again what a crashed node forgot.
//
// Call New, then Keeper.Run in a goroutine; Keeper.Found hands in a block.
package blocks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/journal"
	"lode/pool/node"
)

// Node is what a Keeper needs of a node.
type Node interface {
	URL() string
	Submit(ctx context.Context, raw []byte) (node.Verdict, string, error)
	Header(ctx context.Context, hash chainhash.Hash) (node.Header, error)
	BlockAt(ctx context.Context, height int64) (chainhash.Hash, error)
	Height(ctx context.Context) (int64, error)
}

// State is what is known of a block.
type State string

// States.
const (
	Submitted State = "submitted" // no node has it in its main chain yet
	Confirmed State = "confirmed" // a node has it in its main chain
	Orphaned  State = "orphaned"  // the nodes have another block in its place, or all refuse it
)

// Block is a found block and what became of it.
type Block struct {
	journal.Entry
	State         State
	Confirmations int64
	Detail        string // the last word of a node that did not just take it
}

// Options of a Keeper.
type Options struct {
	Journal *journal.Journal
	Nodes   []Node
	// Confirmations and KeepFor: a block is cared for until it is so deep and so
	// old. Nodes write their chain to disk seldom (Core: hourly), and a killed node
	// forgets what it had not written. 0: 20, 70 min.
	Confirmations int64
	KeepFor       time.Duration
	// OrphanDepth: a block counts as orphaned when another one in its place is so
	// deep. 0: 6.
	OrphanDepth int64
	// OnChange is called at journal time and at each change of state, one call at a
	// time. Raw is set at journal time alone.
	OnChange func(Block)
	Logger   *slog.Logger
}

// Pace of the Keeper.
const (
	busyInterval  = 500 * time.Millisecond // while a block waits for its confirmation
	quietInterval = 2 * time.Second
	sweepInterval = time.Minute // confirmed blocks are looked at again
	retryMax      = 5 * time.Second
	// Between submissions of a block to a node that cannot place it yet.
	submitRetry    = time.Second
	submitRetryMax = 16 * time.Second
	journalRetry   = 5 * time.Second
	// history is how many blocks Blocks can tell of.
	history = 1000
	// poolPatience is for how long nodes are asked about a pool's block.
	poolPatience = 24 * time.Hour
	// nobody is the index of no node.
	nobody = -1
)

// Keeper looks after found blocks.
type Keeper struct {
	o     Options
	wakes []chan struct{} // one for each node

	tellMu sync.Mutex // orders calls of OnChange; held before mu

	mu      sync.Mutex // guards the rest
	blocks  map[string]*tracked
	order   []string // hashes, oldest first
	unsaved bool     // the journal failed: blocks are in memory alone
}

type tracked struct {
	Block
	hash    chainhash.Hash
	nodes   []opinion
	settled bool
}

// opinion is what one node thinks of a block.
type opinion struct {
	submitted     bool // it answered, and need not be asked again
	invalid       bool
	inMain        bool
	buried        int64         // depth of the other block in its place, 0: none
	confirmations int64         // where inMain
	checked       time.Time     // when the header was last asked for
	next          time.Time     // not to be bothered before
	patience      time.Duration // until next
	said          string        // its last answer to a submission
}

// wait puts off the next attempt: a node that is far behind has to fetch much before it
// can take the block.
func (o *opinion) wait() {
	o.patience = min(max(2*o.patience, submitRetry), submitRetryMax)
	o.next = time.Now().Add(o.patience)
}

// New takes over the blocks that the journal holds.
func New(o Options) *Keeper {
	if o.Confirmations <= 0 {
		o.Confirmations = 20
	}
	if o.KeepFor <= 0 {
		o.KeepFor = 70 * time.Minute
	}
	if o.OrphanDepth <= 0 {
		o.OrphanDepth = 6
	}
	if o.OnChange == nil {
		o.OnChange = func(Block) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{o: o, blocks: make(map[string]*tracked)}
	for range o.Nodes {
		k.wakes = append(k.wakes, make(chan struct{}, 1))
	}
	for _, e := range o.Journal.Pending() {
		k.track(e)
	}
	return k
}

func (k *Keeper) track(e journal.Entry) *tracked {
	b := &tracked{Block: Block{Entry: e, State: Submitted}, nodes: make([]opinion, len(k.o.Nodes))}
	if e.Pool != "" {
		for i := range b.nodes {
			b.nodes[i].submitted = true // there is nothing to submit: nodes are asked about it
		}
	}
	// The hash comes from this program or its journal, whose records are checked.
	if err := chainhash.Decode(&b.hash, e.Hash); err != nil {
		k.o.Logger.Error("journal holds an impossible block hash", "hash", e.Hash, "error", err)
	}
	k.blocks[e.Hash] = b
	k.order = append(k.order, e.Hash)
	k.prune()
	return b
}

// prune drops the oldest settled blocks beyond history.
func (k *Keeper) prune() {
	for len(k.order) > history {
		at := -1
		for i, hash := range k.order {
			if k.blocks[hash].settled {
				at = i
				break
			}
		}
		if at < 0 {
			return
		}
		delete(k.blocks, k.order[at])
		k.order = append(k.order[:at], k.order[at+1:]...)
	}
}

// Found journals a block and starts its submission. It returns when the block is
// durable, or could not be made so: then it is submitted all the same. A block that
// is known already is not taken twice.
func (k *Keeper) Found(e journal.Entry) (isNew bool) {
	k.mu.Lock()
	if _, known := k.blocks[e.Hash]; known {
		k.mu.Unlock()
		return false
	}
	k.mu.Unlock()
	isNew, err := k.o.Journal.Add(e)
	if !isNew {
		return false
	}
	if err != nil {
		k.o.Logger.Error("found block is not on disk, submitting it all the same", "hash", e.Hash, "height", e.Height, "error", err)
	}
	// Nodes may confirm the block before OnChange has heard of it: hold them back
	// there, not in the submission.
	k.tellMu.Lock()
	defer k.tellMu.Unlock()
	k.mu.Lock()
	b := k.track(e)
	k.unsaved = k.unsaved || err != nil
	told := b.Block
	k.mu.Unlock()
	k.o.Logger.Info("found a block", "hash", e.Hash, "height", e.Height, "finder", e.Finder)
	for i := range k.wakes {
		k.wake(i)
	}
	k.o.OnChange(told)
	return true
}

func (k *Keeper) wake(i int) {
	select {
	case k.wakes[i] <- struct{}{}:
	default:
	}
}

func (k *Keeper) tell(blocks ...Block) {
	k.tellMu.Lock()
	defer k.tellMu.Unlock()
	for _, b := range blocks {
		k.o.OnChange(b)
	}
}

// Blocks are the known blocks, newest first, without Raw.
func (k *Keeper) Blocks() []Block {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]Block, 0, len(k.order))
	for i := len(k.order) - 1; i >= 0; i-- {
		b := k.blocks[k.order[i]].Block
		b.Raw = nil
		list = append(list, b)
	}
	return list
}

// Note enters what a pool said about a block of its own.
func (k *Keeper) Note(hash, detail string) {
	k.mu.Lock()
	b := k.blocks[hash]
	if b == nil {
		k.mu.Unlock()
		return
	}
	b.Detail = detail
	told := b.Block
	told.Raw = nil
	k.mu.Unlock()
	k.o.Logger.Info("pool answered to a block", "pool", told.Pool, "hash", hash, "height", told.Height, "detail", detail)
	k.tell(told)
}

// Run submits and watches until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var loops sync.WaitGroup
	if len(k.o.Nodes) == 0 {
		loops.Go(func() { k.settleLoop(ctx) })
	}
	for i := range k.o.Nodes {
		loops.Go(func() { k.serve(ctx, i) })
	}
	loops.Go(func() { k.saveLoop(ctx) })
	loops.Wait()
}

// settleLoop lets go of old blocks where no node is there to ask.
func (k *Keeper) settleLoop(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			k.judge(nobody, 0)
		}
	}
}

// saveLoop writes blocks to the journal that it could not take at first.
func (k *Keeper) saveLoop(ctx context.Context) {
	ticker := time.NewTicker(journalRetry)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		k.mu.Lock()
		unsaved := k.unsaved
		k.unsaved = false
		k.mu.Unlock()
		if !unsaved {
			continue
		}
		if err := k.o.Journal.Retry(); err != nil {
			k.o.Logger.Error("found blocks are still not on disk", "error", err)
			k.mu.Lock()
			k.unsaved = true
			k.mu.Unlock()
		}
	}
}

// serve is the loop for one node.
func (k *Keeper) serve(ctx context.Context, i int) {
	n := k.o.Nodes[i]
	var (
		top  int64          // height that the node had
		tip  chainhash.Hash // its block there
		down = true
		fail time.Duration
	)
	for ctx.Err() == nil {
		height, err := k.visit(ctx, i, top, &tip, &down)
		wait := quietInterval
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !down {
				k.o.Logger.Warn("node does not take or confirm blocks", "node", n.URL(), "error", err)
			}
			down = true
			fail = min(max(2*fail, 250*time.Millisecond), retryMax)
			wait = fail
		default:
			fail, top = 0, height
			if k.waiting(i) {
				wait = busyInterval
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-k.wakes[i]:
		}
		timer.Stop()
	}
}

// visit submits what the node has not got and asks about what it has.
func (k *Keeper) visit(ctx context.Context, i int, top int64, tip *chainhash.Hash, down *bool) (height int64, err error) {
	if len(k.pending(i, false)) == 0 && !*down && !k.cares() {
		return top, nil
	}
	// New blocks first: nothing stands before them.
	for _, b := range k.pending(i, false) {
		if _, err := k.submit(ctx, i, b); err != nil {
			return 0, err
		}
	}
	if !k.cares() {
		*down = false
		return top, nil
	}
	n := k.o.Nodes[i]
	if height, err = n.Height(ctx); err != nil {
		return 0, err
	}
	newest, err := n.BlockAt(ctx, height)
	if err != nil {
		return 0, err
	}
	before := newest
	if height > top {
		if before, err = n.BlockAt(ctx, top); err != nil {
			return 0, err
		}
	}
	if *down || height < top || before != *tip {
		// It was away, or its chain fell or is another one: what it said of blocks may
		// not hold any more.
		k.doubt(i)
	}
	*down, *tip = false, newest
	for _, b := range k.pending(i, true) {
		if err := k.check(ctx, i, b, height); err != nil {
			return 0, err
		}
	}
	k.judge(i, height)
	return height, nil
}
