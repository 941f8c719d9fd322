package poolsource

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/template"
	"lode/stratum"
)

// work is the part of work that a pool gave. It implements jobs.Origin and jobs.Taker.
type work struct {
	from       *Source
	assignment atomic.Pointer[stratum.Assignment] // the last one that brought it
	difficulty float64
	target     stratum.Target // strict: what the pool surely takes
}

const (
	// timeRoom is how far strict pools let a share be ahead of its job, in seconds.
	timeRoom = 600
	// maxHaste is how much more shares than vardiff aims at a pool's low difficulty may
	// make a miner send.
	maxHaste = 16
)

// repeats reports whether an assignment says nothing new but the id of its job.
func (w *work) repeats(a *stratum.Assignment) bool {
	last := w.assignment.Load()
	j, before := a.Job, last.Job
	return j.PrevBlock == before.PrevBlock && j.Version == before.Version && j.Bits == before.Bits && j.Time == before.Time &&
		bytes.Equal(j.Coinbase1, before.Coinbase1) && bytes.Equal(j.Coinbase2, before.Coinbase2) && slices.Equal(j.MerkleBranch, before.MerkleBranch) &&
		a.Difficulty == last.Difficulty && a.VersionMask == last.VersionMask &&
		a.Extranonce2Size == last.Extranonce2Size && bytes.Equal(a.Extranonce1, last.Extranonce1)
}

// CapDifficulty lowers a difficulty to what the pool asks for, so that no share that it
// would take is withheld; but not to where miners would drown in their shares.
func (w *work) CapDifficulty(d float64) float64 {
	return min(d, max(w.difficulty, d/maxHaste))
}

// Make implements jobs.Origin: it is the pool's, whatever the key.
func (w *work) Make(size int, _ jobs.Key) (template.Work, error) {
	a := w.assignment.Load()
	if want := len(a.Extranonce1) + a.Extranonce2Size; size != want {
		return nil, fmt.Errorf("the miner has %d bytes of extranonce, the pool's job %d", size, want)
	}
	return searched{a.Job}, nil
}

// OwnCoinbase implements jobs.Origin.
func (w *work) OwnCoinbase() bool { return false }

// searched is a pool's job: it alone has the transactions. It implements template.Work.
type searched struct{ job *stratum.Job }

func (s searched) Coinbase() (before, after []byte) { return s.job.Coinbase1, s.job.Coinbase2 }
func (s searched) Branch() []chainhash.Hash         { return s.job.MerkleBranch }
func (s searched) Solve([80]byte, []byte) []byte    { return nil }

// Take implements jobs.Taker.
func (w *work) Take(in *stratum.Share, version uint32, extranonce1 []byte, hash *chainhash.Hash) {
	if w.target.MetBy(hash) {
		w.from.submit(w.flight(in, version, extranonce1))
	}
}

// TakeBlock implements jobs.Taker: the pool alone can make a block of it, so it gets the
// share however hard its shares are.
func (w *work) TakeBlock(in *stratum.Share, version uint32, extranonce1 []byte, hash string, record func(pool string) bool) {
	f := w.flight(in, version, extranonce1)
	if record(w.from.url) {
		f.block = hash
	}
	w.from.submit(f)
}

// flight is a share on its way to the pool.
type flight struct {
	assignment   stratum.Assignment
	extranonce2  []byte
	ntime, nonce uint32
	version      uint32
	block        string // hash, if it is a block; "": it is not
	since        time.Time
	again        bool // it was sent once already, perhaps in vain
}

// flight makes one. extranonce1 is the miner's: the pool's own with the miner's prefix
// behind it.
func (w *work) flight(in *stratum.Share, version uint32, extranonce1 []byte) *flight {
	a := w.assignment.Load()
	prefix := extranonce1[len(a.Extranonce1):]
	return &flight{
		assignment: *a, extranonce2: append(append(make([]byte, 0, a.Extranonce2Size), prefix...), in.Extranonce2...),
		ntime: in.Time, nonce: in.Nonce, version: version, since: w.from.o.Now(),
	}
}
