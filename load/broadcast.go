package load

import (
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// Broadcast is one clean job on its way to all miners.
type Broadcast struct {
	At       time.Duration // of the first arrival, since the measuring began
	Expected int           // miners that were mining then
	Reached  int
	// Spread is from the first miner's receipt to each one's; Last is its greatest.
	Spread Latency
	Last   time.Duration
	// FromOrigin is from what made the pool send the job to each receipt, where that
	// is known: see Options.Origin.
	FromOrigin *Latency
}

// broadcastKey names a clean job over all connections. A job on a new block has no
// id here: pools may name, and build, it differently for each miner.
type broadcastKey struct {
	prev chainhash.Hash
	id   string
}

// arrivals is a broadcast while it is under way. Times are unix nanoseconds.
type arrivals struct {
	seq         uint64
	key         broadcastKey
	job         *stratum.Job // as the first miner got it
	measured    bool
	expected    int
	first, last int64
	at          []int64
}

const (
	// quiet is how long nobody must have received a broadcast before it counts as done.
	quiet = 2 * time.Second
	// maxRemembered bounds the broadcasts that a late miner can still be counted for,
	// maxListed those that the report lists, maxCandidates the blocks of ours.
	maxRemembered = 256
	maxListed     = 2000
	maxCandidates = 1 << 14
)

// broadcasts finds out which clean jobs of which connections are the same.
type broadcasts struct {
	origin      func(*stratum.Job) (time.Time, bool)
	spread      *histogram // all receipts of all broadcasts, against the first of each
	last        histogram  // the last receipt of each complete broadcast
	fromOrigin  histogram  // all receipts, against what caused the broadcast
	originTotal histogram  // the last receipt of each complete broadcast, against the same

	mu         sync.Mutex // guards what follows
	start      int64      // of the measuring; 0: not yet
	seq        uint64
	recent     []*arrivals // oldest first
	open       []*arrivals // not yet done
	done       []Broadcast
	count      int // measured and done
	incomplete int
	candidates map[chainhash.Hash]int64 // blocks of our shares, and when they were sent
	order      []chainhash.Hash
}

func newBroadcasts(origin func(*stratum.Job) (time.Time, bool), spread *histogram) *broadcasts {
	return &broadcasts{origin: origin, spread: spread, candidates: map[chainhash.Hash]int64{}}
}

// begin starts the measuring: broadcasts from now on count.
func (b *broadcasts) begin(now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start = now
}

// joined is what a miner that got its first job remembers: the broadcast that
// it is part of, so that it is not counted for it.
func (b *broadcasts) joined(j *stratum.Job) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.recent) - 1; i >= 0; i-- {
		r := b.recent[i]
		if r.key.prev == j.PrevBlock && (r.key.id == "" || r.key.id == j.ID) {
			return r.seq
		}
	}
	return 0
}

// arrive counts a clean job's receipt by a miner whose last broadcast was after;
// the result is its last one now. newBlock: the miner's former job was on another
// block. mining is the number of miners that have a job.
func (b *broadcasts) arrive(after uint64, j *stratum.Job, newBlock bool, at int64, mining int) uint64 {
	key := broadcastKey{prev: j.PrevBlock}
	if !newBlock {
		key.id = j.ID
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.recent {
		if r.seq > after && r.key == key {
			r.add(at)
			return r.seq
		}
	}
	b.seq++
	r := &arrivals{seq: b.seq, key: key, job: j, measured: b.start != 0, expected: mining, first: at, at: make([]int64, 0, mining)}
	r.add(at)
	if len(b.recent) == maxRemembered {
		b.recent = slices.Delete(b.recent, 0, 1)
	}
	b.recent = append(b.recent, r)
	b.open = append(b.open, r)
	return r.seq
}

func (r *arrivals) add(at int64) {
	r.first, r.last = min(r.first, at), max(r.last, at)
	r.at = append(r.at, at)
}

// found notes a share of ours that is a block: jobs on top of it come from it.
func (b *broadcasts) found(hash chainhash.Hash, sent int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.order) == maxCandidates {
		delete(b.candidates, b.order[0])
		b.order = b.order[1:]
	}
	b.candidates[hash] = sent
	b.order = append(b.order, hash)
}

// settle evaluates the broadcasts that nobody has received for a while; all: every
// one.
func (b *broadcasts) settle(now int64, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open = slices.DeleteFunc(b.open, func(r *arrivals) bool {
		if !all && now-r.last < int64(quiet) {
			return false
		}
		b.evaluate(r)
		r.at = nil
		return true
	})
}

func (b *broadcasts) evaluate(r *arrivals) {
	if !r.measured {
		return
	}
	origin := b.originOf(r)
	var spread, fromOrigin histogram
	for _, at := range r.at {
		spread.record(time.Duration(at - r.first))
		b.spread.record(time.Duration(at - r.first))
		if origin != 0 {
			fromOrigin.record(time.Duration(at - origin))
			b.fromOrigin.record(time.Duration(at - origin))
		}
	}
	b.count++
	if len(r.at) < r.expected {
		b.incomplete++
	} else {
		b.last.record(time.Duration(r.last - r.first))
		if origin != 0 {
			b.originTotal.record(time.Duration(r.last - origin))
		}
	}
	if len(b.done) < maxListed {
		d := Broadcast{
			At: time.Duration(r.first - b.start), Expected: r.expected, Reached: len(r.at),
			Spread: spread.latency(), Last: time.Duration(r.last - r.first),
		}
		if origin != 0 {
			l := fromOrigin.latency()
			d.FromOrigin = &l
		}
		b.done = append(b.done, d)
	}
}

// originOf is when the cause of a broadcast was; 0: unknown.
func (b *broadcasts) originOf(r *arrivals) int64 {
	if b.origin != nil {
		if t, ok := b.origin(r.job); ok {
			return t.UnixNano()
		}
	}
	if r.key.id == "" {
		return b.candidates[r.key.prev]
	}
	return 0
}

// arriving reports whether miners are still waited for.
func (b *broadcasts) arriving(now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.open, func(r *arrivals) bool {
		return r.measured && len(r.at) < r.expected && now-r.last < int64(quiet)
	})
}
