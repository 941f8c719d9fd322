package pool

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/journal"
	"lode/pool/share"
	"lode/stratum"
	"lode/stratum/merkle"
)

// Refusals. They are made once: a flood of bad shares costs no memory.
var (
	errUnknownJob    = &stratum.Error{Code: stratum.CodeStale, Text: "Job not found"}
	errStale         = &stratum.Error{Code: stratum.CodeStale, Text: "Stale share"}
	errDuplicate     = &stratum.Error{Code: stratum.CodeDuplicate, Text: "Duplicate share"}
	errLowDifficulty = &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "Low difficulty share"}
	errNotSubscribed = &stratum.Error{Code: stratum.CodeNotSubscribed, Text: "Not subscribed"}
	errExtranonce    = &stratum.Error{Code: stratum.CodeOther, Text: "Wrong length of extranonce2"}
	errTimeTooOld    = &stratum.Error{Code: stratum.CodeOther, Text: "Time too old"}
	errTimeTooNew    = &stratum.Error{Code: stratum.CodeOther, Text: "Time too new"}
)

// candidatesPerTip bounds the blocks that are journalled on one previous block: on a
// test network every share may be one, and all but the first are side chains.
const candidatesPerTip = 8

// scratch is what the judgement of a share needs, kept for the next one.
type scratch struct {
	coinbase []byte
	header   [80]byte
	hash     chainhash.Hash
}

var scratches = sync.Pool{New: func() any { return &scratch{coinbase: make([]byte, 0, 512)} }}

// Submit implements stratum.Handler: it judges a share. The network's target comes
// first: a block is a block even if the share is stale, a duplicate or too easy.
func (p *Proxy) Submit(c *stratum.Conn, in *stratum.Share) error {
	s := sessionOf(c)
	now := p.now()
	j := p.jobs.get(in.JobID)
	// Calls for one connection come one after another: what is read here changes
	// under our feet only if the upstream changes, and then the share is stale.
	s.mu.Lock()
	w := s.workers[in.Worker]
	place, extranonce1, e2size := s.place, s.lease.Extranonce, s.e2size
	difficulty := s.vardiff.Difficulty()
	if j != nil {
		place, extranonce1, e2size = s.space(j.number)
		if d := s.book.Difficulty(j.number); d > 0 {
			difficulty = d
		}
	}
	s.mu.Unlock()

	outcome, reached, refusal := accounts.Accepted, 0.0, error(nil)
	switch {
	case w == nil:
		return errNotAllowed
	case place == nil:
		return errNotSubscribed
	case j == nil:
		outcome, refusal = accounts.Stale, errUnknownJob
	case len(in.Extranonce2) != e2size:
		outcome, refusal = accounts.Malformed, errExtranonce
	case j.pool != nil && place != j.place:
		outcome, refusal = accounts.Stale, errStale // made before the miner moved to another space
	default:
		outcome, reached, refusal = p.judge(now, j, in, w, extranonce1, len(extranonce1)+e2size, difficulty)
	}
	w.Share(outcome, difficulty, reached)
	if refusal != nil {
		return refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, changed := s.vardiff.Share(p.vardiff, now, difficulty); changed {
		p.changeDifficulty(s)
	}
	return nil
}

// judge hashes a share and says what it is worth.
func (p *Proxy) judge(now time.Time, j *job, in *stratum.Share, w *accounts.Worker, extranonce1 []byte, size int, difficulty float64) (accounts.Outcome, float64, error) {
	v, err := j.variant(size)
	if err != nil {
		return accounts.Stale, 0, errStale
	}
	version, err := v.job.ShareVersion(j.mask, in)
	if err != nil {
		return accounts.Malformed, 0, err
	}
	if err := j.timeError(in.Time); err != nil {
		return accounts.Malformed, 0, err
	}
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	p.header(tmp, j, v, extranonce1, in, version)
	hash := &tmp.hash
	reached := share.Difficulty(hash)

	isBlock := j.network.MetBy(hash)
	if isBlock {
		p.candidate(w, j, v, in, version, extranonce1, tmp)
	}
	if !p.working.Load() {
		return accounts.Stale, reached, errStale // no upstream is left to take it
	}
	if retired := j.retired.Load(); retired != 0 && now.Sub(time.Unix(0, retired)) >= p.config.StaleGrace {
		return accounts.Stale, reached, errStale
	}
	// Exact arithmetic is left to the border: only a hash within a few parts in
	// 10^5 of the target needs it.
	if !isBlock && reached < difficulty*1.001 && !p.target(difficulty).MetBy(hash) {
		return accounts.LowDifficulty, reached, errLowDifficulty
	}
	if !j.seen.Add(hash) {
		return accounts.Duplicate, reached, errDuplicate
	}
	if j.pool != nil && !isBlock {
		j.pool.forward(in, version, extranonce1, hash)
	}
	return accounts.Accepted, reached, nil
}

// header rebuilds and hashes the header of a share. The merkle root, which is most of
// the work, is taken from earlier shares with the same extranonce where there are any.
func (p *Proxy) header(tmp *scratch, j *job, v *variant, extranonce1 []byte, in *stratum.Share, version uint32) {
	root, ok := p.roots.Get(j.number, extranonce1, in.Extranonce2)
	if !ok {
		root, tmp.coinbase = v.roots.Root(tmp.coinbase, extranonce1, in.Extranonce2)
		p.roots.Put(j.number, extranonce1, in.Extranonce2, root)
	}
	h := &tmp.header
	binary.LittleEndian.PutUint32(h[0:], version)
	copy(h[4:], j.prev[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], in.Time)
	binary.LittleEndian.PutUint32(h[72:], j.bits)
	binary.LittleEndian.PutUint32(h[76:], in.Nonce)
	tmp.hash = merkle.Double(h[:])
}

// target is the largest that any miner takes for the difficulty.
func (p *Proxy) target(difficulty float64) *stratum.Target {
	if known, ok := p.targets.Load(difficulty); ok {
		return known.(*stratum.Target)
	}
	t := stratum.Difficulty(difficulty).LooseTarget()
	if p.nTargets.Add(1) > 100_000 {
		p.targets.Clear()
		p.nTargets.Store(0)
	}
	p.targets.Store(difficulty, &t)
	return &t
}

// candidate takes a hash that meets the network's target to the journal and to the
// nodes.
func (p *Proxy) candidate(w *accounts.Worker, j *job, v *variant, in *stratum.Share, version uint32, extranonce1 []byte, found *scratch) {
	if j.pool != nil {
		p.poolCandidate(w, j, v, in, version, extranonce1, found)
		return
	}
	if !p.mayFind(j.prev) {
		return
	}
	extranonce := append(append(make([]byte, 0, 64), extranonce1...), in.Extranonce2...)
	isNew := p.keeper.Found(journal.Entry{
		Hash: found.hash.String(), Height: j.height, Finder: in.Worker, FoundAt: p.now().UTC(),
		Raw: v.work.Block(found.header, extranonce),
	})
	if isNew {
		w.Block()
	}
}

// poolCandidate hands a pool its block: it alone has the transactions. What is known
// of the block goes to the journal first. The share goes to the pool in any case.
func (p *Proxy) poolCandidate(w *accounts.Worker, j *job, v *variant, in *stratum.Share, version uint32, extranonce1 []byte, found *scratch) {
	f := j.pool.flight(in, version, extranonce1)
	if p.mayFind(j.prev) {
		coinbase := slices.Concat(v.job.Coinbase1, extranonce1, in.Extranonce2, v.job.Coinbase2)
		isNew := p.keeper.Found(journal.Entry{
			Hash: found.hash.String(), Height: j.height, Finder: in.Worker, FoundAt: p.now().UTC(),
			Pool: j.pool.from.shown, Header: slices.Clone(found.header[:]), Coinbase: coinbase,
		})
		if isNew {
			f.block = found.hash.String()
			w.Block()
		}
	}
	j.pool.from.submit(f)
}

// mayFind applies MinBlockInterval and the bound on blocks for one previous block.
func (p *Proxy) mayFind(prev chainhash.Hash) bool {
	p.foundMu.Lock()
	defer p.foundMu.Unlock()
	now := p.now()
	if !p.foundAt.IsZero() && now.Sub(p.foundAt) < p.config.MinBlockInterval {
		return false
	}
	if p.foundOn != prev {
		p.foundOn, p.foundCount = prev, 0
	}
	if p.foundCount >= candidatesPerTip {
		return false
	}
	p.foundCount++
	p.foundAt = now
	return true
}
