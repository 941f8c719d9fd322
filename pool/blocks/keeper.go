// Package blocks sees to it that no found block is lost: it journals blocks, submits
// them to every node until each has answered, and watches over them until they are
// deep in the chain, submitting again what a crashed node forgot.
//
// Call New, then Keeper.Run in a goroutine; Keeper.Found hands in a block.
package blocks

import (
	"context"
	"errors"
	"log/slog"
	"sort"
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
	journalRetry  = 5 * time.Second
	// history is how many blocks Blocks can tell of.
	history = 1000
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
	buried        int64     // depth of the other block in its place, 0: none
	confirmations int64     // where inMain
	checked       time.Time // when the header was last asked for
	next          time.Time // not to be bothered before
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

// Run submits and watches until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var loops sync.WaitGroup
	for i := range k.o.Nodes {
		loops.Go(func() { k.serve(ctx, i) })
	}
	loops.Go(func() { k.saveLoop(ctx) })
	loops.Wait()
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
		top  int64 // height that the node had
		down = true
		fail time.Duration
	)
	for ctx.Err() == nil {
		height, err := k.visit(ctx, i, &top, &down)
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
func (k *Keeper) visit(ctx context.Context, i int, top *int64, down *bool) (height int64, err error) {
	if len(k.pending(i, false)) == 0 && !*down && !k.cares() {
		return *top, nil
	}
	// New blocks first: nothing stands before them.
	for _, b := range k.pending(i, false) {
		if _, err := k.submit(ctx, i, b); err != nil {
			return 0, err
		}
	}
	if !k.cares() {
		*down = false
		return *top, nil
	}
	n := k.o.Nodes[i]
	if height, err = n.Height(ctx); err != nil {
		return 0, err
	}
	if *down || height < *top {
		// It was away or its chain fell: it may have forgotten blocks.
		k.doubt(i)
	}
	*down = false
	for _, b := range k.pending(i, true) {
		if err := k.check(ctx, i, b, height); err != nil {
			return 0, err
		}
	}
	k.judge(i, height)
	return height, nil
}

// cares reports whether any block is not settled.
func (k *Keeper) cares() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if !b.settled {
			return true
		}
	}
	return false
}

// waiting reports whether the node's word on some block is still open.
func (k *Keeper) waiting(i int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled && !op.inMain && !op.invalid && op.buried < k.o.OrphanDepth {
			return true
		}
	}
	return false
}

// pending lists blocks, lowest first, that are to be submitted to the node, or (for
// check) to be asked for.
func (k *Keeper) pending(i int, check bool) []*tracked {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	var list []*tracked
	for _, hash := range k.order {
		b := k.blocks[hash]
		op := &b.nodes[i]
		if b.settled || now.Before(op.next) {
			continue
		}
		switch {
		case !check && !op.submitted,
			check && op.submitted && !op.invalid && (!op.inMain || now.Sub(op.checked) > sweepInterval):
			list = append(list, b)
		}
	}
	sort.SliceStable(list, func(a, b int) bool { return list[a].Height < list[b].Height })
	return list
}

func (k *Keeper) submit(ctx context.Context, i int, b *tracked) (node.Verdict, error) {
	n := k.o.Nodes[i]
	verdict, reason, err := n.Submit(ctx, b.Raw)
	if err != nil {
		return verdict, err
	}
	k.o.Logger.Info("submitted a block", "node", n.URL(), "hash", b.Hash, "height", b.Height, "verdict", verdict.String(), "reason", reason)
	k.mu.Lock()
	defer k.mu.Unlock()
	op := &b.nodes[i]
	if reason != "" {
		b.Detail = n.URL() + ": " + reason
	}
	switch verdict {
	case node.Later:
		op.next = time.Now().Add(time.Second)
	case node.Invalid:
		op.submitted, op.invalid = true, true
	default:
		op.submitted, op.invalid = true, false
	}
	return verdict, nil
}

// check asks the node where the block stands.
func (k *Keeper) check(ctx context.Context, i int, b *tracked, height int64) error {
	n := k.o.Nodes[i]
	h, err := n.Header(ctx, b.hash)
	if errors.Is(err, node.ErrUnknownBlock) {
		k.mu.Lock()
		defer k.mu.Unlock()
		op := &b.nodes[i]
		// Forgotten, or (btcd) kept aside for want of its parent: hand it in again.
		op.submitted, op.inMain, op.next = false, false, time.Now().Add(time.Second)
		return nil
	}
	if err != nil {
		return err
	}
	var buried int64
	if h.Confirmations < 1 && height >= b.Height {
		other, err := n.BlockAt(ctx, b.Height)
		if err != nil {
			return err
		}
		if other != b.hash {
			buried = height - b.Height + 1
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	op := &b.nodes[i]
	op.checked = time.Now()
	op.inMain = h.Confirmations >= 1
	op.confirmations = max(h.Confirmations, 0)
	op.buried = buried
	return nil
}

// Restore hands node i the blocks that belong at or above a height, lowest first,
// and tells how many it took. It is for a node whose next block is at that height:
// one that was killed has forgotten blocks of the last minutes, and must have them
// again before anybody builds on what it has left.
func (k *Keeper) Restore(ctx context.Context, i int, height int64) (took int, err error) {
	k.mu.Lock()
	var list []*tracked
	for _, hash := range k.order {
		if b := k.blocks[hash]; !b.settled && !b.nodes[i].invalid && b.Height >= height {
			list = append(list, b)
		}
	}
	k.mu.Unlock()
	sort.SliceStable(list, func(a, b int) bool { return list[a].Height < list[b].Height })
	for _, b := range list {
		verdict, err := k.submit(ctx, i, b)
		if err != nil {
			return took, err
		}
		if verdict == node.Taken {
			took++
		}
	}
	return took, nil
}

// doubt makes the node be asked about every block again.
func (k *Keeper) doubt(i int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if op := &b.nodes[i]; !b.settled {
			op.checked = time.Time{}
		}
	}
}

// judge draws the conclusions from all nodes' opinions.
func (k *Keeper) judge(i int, height int64) {
	k.mu.Lock()
	var changed []Block
	var settle []*tracked
	for _, hash := range k.order {
		b := k.blocks[hash]
		if b.settled {
			continue
		}
		if op := &b.nodes[i]; op.inMain {
			op.confirmations = height - b.Height + 1
		}
		if k.conclude(b) {
			told := b.Block
			told.Raw = nil
			changed = append(changed, told)
		}
		if k.done(b) {
			settle = append(settle, b)
		}
	}
	k.mu.Unlock()
	for _, b := range changed {
		k.o.Logger.Info("block changed its state", "hash", b.Hash, "height", b.Height, "state", string(b.State), "detail", b.Detail)
	}
	k.tell(changed...)
	for _, b := range settle {
		if err := k.o.Journal.Settle(b.Hash); err != nil {
			k.o.Logger.Error("cannot write to the block journal", "error", err)
			continue
		}
		k.mu.Lock()
		b.settled, b.Raw = true, nil
		k.prune()
		k.mu.Unlock()
	}
}

// conclude sets state and confirmations; true if the state is another one.
func (k *Keeper) conclude(b *tracked) bool {
	was := b.State
	var best int64
	lost, voices := true, 0
	for i := range b.nodes {
		op := &b.nodes[i]
		if op.inMain {
			best = max(best, op.confirmations)
		}
		if op.submitted {
			voices++
			lost = lost && (op.invalid || op.buried >= k.o.OrphanDepth)
		}
	}
	b.Confirmations = best
	switch {
	case best > 0:
		b.State = Confirmed
	case voices > 0 && lost:
		b.State = Orphaned
	case b.State == Confirmed || voices > 0:
		b.State = Submitted
	}
	return b.State != was
}

// done reports whether the block needs no more care.
func (k *Keeper) done(b *tracked) bool {
	if time.Since(b.FoundAt) < k.o.KeepFor {
		return false
	}
	if b.Confirmations >= k.o.Confirmations {
		return true
	}
	if b.State != Orphaned {
		return false
	}
	for i := range b.nodes {
		if op := &b.nodes[i]; !op.invalid && op.buried < k.o.Confirmations {
			return false
		}
	}
	return true
}
