// Package blocks sees to it that no found block is lost: it hands a block to every node
// and to the journal at the same time, and watches over it until it is deep in the
// chain, handing in again what a crashed node forgot.
//
// Call New, then Keeper.Run in a goroutine; Keeper.Found hands in a block, and waits for
// nothing. Each node has a submitter of its own, another one for what was found just now,
// and a watcher; the disk has a writer: what is slow or hangs holds up nobody else.
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
	Submit(ctx context.Context, raw []byte, workID string) (node.Verdict, string, error)
	Header(ctx context.Context, hash chainhash.Hash) (node.Header, error)
	BlockAt(ctx context.Context, height int64) (chainhash.Hash, error)
	Height(ctx context.Context) (int64, error)
}

// Journal is what a Keeper needs of a journal.Journal.
type Journal interface {
	Add(e journal.Entry) (isNew bool, err error)
	Settle(hash string) error
	Retry() error
	Pending() []journal.Entry
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
	Journal Journal
	Nodes   []Node
	// Confirmations and KeepFor: a block is cared for until it is so deep and so
	// old. Nodes write their chain to disk seldom (Core: hourly), and a killed node
	// forgets what it had not written. 0: 20, 70 min.
	Confirmations int64
	KeepFor       time.Duration
	// OrphanDepth: a block counts as orphaned when another one in its place is so
	// deep. 0: 6.
	OrphanDepth int64
	// OnChange is called when a block was found and at each change of its state, one
	// call at a time, in order. Raw is set in the first call alone.
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
	// lastWrite is how long the end waits for the disk, and then for who is told of blocks.
	lastWrite = 3 * time.Second
	// history is how many blocks Blocks can tell of.
	history = 1000
	// poolPatience is for how long nodes are asked about a pool's block, and poolMost is
	// how many of those are cared for at a time: a pool with a chain of its own, on which
	// each share is a block, must not fill memory and disk.
	poolPatience = 24 * time.Hour
	poolMost     = 100
	// laterInterval is how often a node that was offered a block, but cannot judge it yet or
	// gives no answer, is asked what it has in its place.
	laterInterval = 30 * time.Second
	// nobody is the index of no node.
	nobody = -1
)

// Keeper looks after found blocks.
type Keeper struct {
	o Options
	// Each of these wakes one goroutine of Run; the first three have one for each node.
	first, submit, watch []chan struct{}
	write, tell          chan struct{}

	mu     sync.Mutex // guards the rest
	blocks map[string]*tracked
	order  []string // hashes, oldest first
	news   []Block  // that OnChange has not heard yet
	disk   error    // what the journal said last of a block that it was given
}

type tracked struct {
	Block
	hash    chainhash.Hash
	since   time.Time // when it was found, by a clock that nobody sets
	nodes   []opinion
	fresh   bool // it was found by this process
	given   bool // the journal has it, perhaps in memory only
	saved   bool // it is on disk
	held    bool // a node has it
	settled bool // it needs no more care
	dropped bool // the journal knows that
	safe    chan struct{}
	closed  bool // safe is
}

// secure closes safe if it is time. The caller holds mu.
func (b *tracked) secure() {
	// A node writes its chain to disk seldom. It is relied on where there is no better.
	if (b.saved || b.given && b.held) && !b.closed {
		b.closed = true
		close(b.safe)
	}
}

// opinion is what one node thinks of a block.
type opinion struct {
	submitted     bool // it answered, and need not be asked again
	tried, taken  bool // it was offered the block, whatever came of that; it answered once
	busy          bool // it is being offered the block
	failures      int  // offers since its last answer
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
	k := &Keeper{
		o: o, blocks: make(map[string]*tracked),
		write: make(chan struct{}, 1), tell: make(chan struct{}, 1),
	}
	for range o.Nodes {
		k.first = append(k.first, make(chan struct{}, 1))
		k.submit, k.watch = append(k.submit, make(chan struct{}, 1)), append(k.watch, make(chan struct{}, 1))
	}
	for _, e := range o.Journal.Pending() {
		b := k.track(e)
		if e.FoundAt.Before(b.since) { // else the clock was set back
			b.since = e.FoundAt
		}
		b.given, b.saved = true, true
		b.secure()
	}
	return k
}

func (k *Keeper) track(e journal.Entry) *tracked {
	b := &tracked{Block: Block{Entry: e, State: Submitted}, since: time.Now(), nodes: make([]opinion, len(k.o.Nodes)), safe: make(chan struct{})}
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
	return b
}

// prune drops the oldest settled blocks beyond history. The caller holds mu.
func (k *Keeper) prune() {
	for len(k.order) > history {
		at := -1
		for i, hash := range k.order {
			if k.blocks[hash].dropped {
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

// Found takes care of a block from now on, and returns at once. A block that is known
// already is not taken twice.
func (k *Keeper) Found(e journal.Entry) (isNew bool) {
	k.mu.Lock()
	if _, known := k.blocks[e.Hash]; known {
		k.mu.Unlock()
		return false
	}
	if e.Pool != "" {
		k.makeRoom()
	}
	b := k.track(e)
	k.prune()
	b.fresh = true
	k.news = append(k.news, b.Block)
	k.mu.Unlock()
	for i := range k.first {
		wake(k.first[i])
		wake(k.submit[i])
	}
	wake(k.write)
	wake(k.tell)
	k.o.Logger.Info("found a block", "hash", e.Hash, "height", e.Height, "finder", e.Finder)
	return true
}

// makeRoom lets go of a pool's oldest block where there are many. The caller holds mu.
func (k *Keeper) makeRoom() {
	var first *tracked
	n := 0
	for _, hash := range k.order {
		if b := k.blocks[hash]; b.Pool != "" && !b.settled {
			if n++; first == nil {
				first = b
			}
		}
	}
	if n >= poolMost {
		first.settled = true
	}
}

// Safe is closed when a block outlives this process, however that ends, and the nodes: it
// is on disk. If the disk does not take it then a node that has it is enough. Who waits for
// it should not do so for long: a disk may hang.
func (k *Keeper) Safe(hash string) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.blocks[hash]; b != nil {
		return b.safe
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// Unsaved is how many blocks are not on disk, and why, as far as the disk says so: it may
// hang.
func (k *Keeper) Unsaved() (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if !b.settled && !b.saved {
			n++
		}
	}
	return n, k.disk
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// report has OnChange hear of a block. The caller holds mu.
func (k *Keeper) report(b *tracked) {
	told := b.Block
	told.Raw = nil
	k.news = append(k.news, told)
	wake(k.tell)
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
	k.report(b)
	pool, height := b.Pool, b.Height
	k.mu.Unlock()
	k.o.Logger.Info("pool answered to a block", "pool", pool, "hash", hash, "height", height, "detail", detail)
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var loops sync.WaitGroup
	if len(k.o.Nodes) == 0 {
		loops.Go(func() { k.settleLoop(ctx) })
	}
	for i := range k.o.Nodes {
		loops.Go(func() { k.firstLoop(ctx, i) })
		loops.Go(func() { k.submitLoop(ctx, i) })
		loops.Go(func() { k.watchLoop(ctx, i) })
	}
	telling, silence := context.WithCancel(context.WithoutCancel(ctx))
	defer silence()
	told, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		k.tellLoop(telling)
	}()
	go func() {
		defer close(written)
		k.writeLoop(ctx)
	}()
	loops.Wait()
	select {
	case <-written:
	case <-time.After(lastWrite):
		k.o.Logger.Error("the disk hangs: the block journal is given up")
	}
	silence()
	select {
	case <-told:
	case <-time.After(lastWrite):
		k.o.Logger.Error("who is told of blocks hangs: it may not have heard of all")
	}
}

// Flush waits until every block is on disk and has been offered to all nodes, one of
// which took it, or ctx ends: false.
func (k *Keeper) Flush(ctx context.Context) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !k.flushed() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

func (k *Keeper) flushed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.blocks {
		if b.settled {
			continue
		}
		offered, taken := true, len(b.nodes) == 0
		for _, op := range b.nodes {
			offered = offered && (op.submitted || op.tried)
			taken = taken || op.submitted || op.taken
		}
		if !b.saved || !offered || !taken {
			return false
		}
	}
	return true
}

// tellLoop calls OnChange. It ends when ctx has ended and all is told.
func (k *Keeper) tellLoop(ctx context.Context) {
	for {
		k.mu.Lock()
		news := k.news
		k.news = nil
		k.mu.Unlock()
		for _, b := range news {
			k.o.OnChange(b)
		}
		if len(news) > 0 {
			continue
		}
		select {
		case <-k.tell:
		case <-ctx.Done():
			return
		}
	}
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
