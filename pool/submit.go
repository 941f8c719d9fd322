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

// attempt is one share on its way through judgement.
type attempt struct {
	in          *stratum.Share
	w           *accounts.Worker // nil: not allowed to submit, and not counted
	j           *job
	key         jobKey
	v           *variant // nil: it failed before there was anything to hash
	extranonce1 []byte
	seen        *share.Seen
	lost        bool // the extranonce is another miner's now
	version     uint32
	difficulty  float64 // what it is judged by

	header [merkle.HeaderSize]byte
	hash   chainhash.Hash

	outcome accounts.Outcome
	reached float64 // difficulty of the hash
	refusal error   // nil: accepted
}

// refuse ends an attempt.
func (a *attempt) refuse(o accounts.Outcome, err error) { a.outcome, a.refusal, a.v = o, err, nil }

// scratch is what the judgement of shares needs, kept for the next ones. Those that
// come in together are hashed together.
type scratch struct {
	attempts [together]attempt
	hashing  merkle.Scratch

	// Of the attempts that are hashed:
	chosen      [together]*attempt
	extranonces [together][]byte
	headers     [together][merkle.HeaderSize]byte
	hashes      [together]chainhash.Hash
}

// together is how many shares merkle hashes at once at best.
const together = 16

var (
	_ stratum.BatchHandler = (*Proxy)(nil)
	_ stratum.StrayHandler = (*Proxy)(nil)
)

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Submit implements stratum.Handler: it judges a share.
func (p *Proxy) Submit(c *stratum.Conn, in *stratum.Share) error {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.attempts[0] = attempt{in: in}
	p.submit(sessionOf(c), tmp, 1)
	return tmp.attempts[0].refusal
}

// SubmitBatch implements stratum.BatchHandler.
func (p *Proxy) SubmitBatch(c *stratum.Conn, batch []*stratum.Submission) {
	p.submitBatch(sessionOf(c), batch)
}

func (p *Proxy) submitBatch(s *session, batch []*stratum.Submission) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	for len(batch) > 0 {
		n := min(len(batch), len(tmp.attempts))
		for i, in := range batch[:n] {
			tmp.attempts[i] = attempt{in: &in.Share}
		}
		p.submit(s, tmp, n)
		for i, in := range batch[:n] {
			in.Verdict = tmp.attempts[i].refusal
		}
		batch = batch[n:]
	}
}

// SubmitStray implements stratum.StrayHandler: it takes blocks, and nothing else.
func (p *Proxy) SubmitStray(c *stratum.Conn, in *stratum.Share) { p.strayShare(sessionOf(c), in) }

func (p *Proxy) strayShare(s *session, in *stratum.Share) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.attempts[0] = attempt{in: in}
	attempts := tmp.attempts[:1]
	p.admit(s, attempts)
	tmp.hash(attempts)
	if a := &attempts[0]; a.v != nil && a.j.network.MetBy(&a.hash) {
		p.block(p.now(), a)
	}
}

// submit judges the first n attempts of tmp. The network's target comes first: a block
// is a block even if the share is stale, a duplicate or too easy.
func (p *Proxy) submit(s *session, tmp *scratch, n int) {
	now := p.now()
	attempts := tmp.attempts[:n]
	p.admit(s, attempts)
	tmp.hash(attempts)
	accepted := false
	for i := range attempts {
		a := &attempts[i]
		if a.v != nil {
			p.judge(now, a)
		}
		if a.w != nil {
			a.w.Share(now, a.outcome, a.difficulty, a.reached)
		}
		accepted = accepted || a.refusal == nil
	}
	if !accepted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for i := range attempts {
		if a := &attempts[i]; a.refusal == nil {
			s.prove()
			_, different := s.vardiff.Share(p.vardiff, now, a.difficulty)
			changed = changed || different
		}
	}
	if changed {
		p.changeDifficulty(s)
	}
}

// prove makes a session's lease its own, now that it had a share accepted. The caller
// holds mu.
func (s *session) prove() {
	if !s.proven {
		s.proven = true
		s.lease.Prove(s.past())
	}
}

// admit checks all of shares that can be checked without their hash. Calls for one
// connection come one after another: what is read here changes under our feet only if
// the upstream changes, and then a share is stale.
func (p *Proxy) admit(s *session, attempts []attempt) {
	for i := range attempts {
		attempts[i].j, attempts[i].key = p.jobs.get(attempts[i].in.JobID)
	}
	var spaces [together]struct {
		place  *place
		e2size int
	}
	s.mu.Lock()
	for i := range attempts {
		a, in := &attempts[i], &spaces[i]
		a.w, a.difficulty = s.workers[a.in.Worker], s.vardiff.Difficulty()
		if s.place == nil || a.j == nil {
			in.place = s.place
			continue
		}
		at := s.space(a.j.number)
		in.place, in.e2size = at.place, at.e2size
		a.extranonce1, a.seen, a.lost = at.lease.Extranonce, at.seen, at.lease.Lost()
		if d := s.book.Difficulty(uint64(a.key)); d > 0 {
			a.difficulty = d
		}
	}
	s.mu.Unlock()
	for i := range attempts {
		in := &spaces[i]
		switch a := &attempts[i]; {
		case in.place == nil:
			a.w, a.refusal = nil, errNotSubscribed
		case a.j == nil:
			a.refuse(accounts.Stale, errUnknownJob)
		case len(a.in.Extranonce2) != in.e2size:
			a.refuse(accounts.Malformed, errExtranonce)
		case a.j.pool != nil && in.place != a.j.place:
			a.refuse(accounts.Stale, errStale) // made before the miner moved to another space
		default:
			a.check(len(a.extranonce1) + in.e2size)
		}
	}
}

// check finds the header's parts.
func (a *attempt) check(size int) {
	v, err := a.j.variant(size, a.key.edition())
	if err != nil {
		a.refuse(accounts.Stale, errStale)
		return
	}
	if a.version, err = v.job.ShareVersion(a.j.mask, a.in); err != nil {
		a.refuse(accounts.Malformed, err)
		return
	}
	if err := a.j.timeError(a.in.Time); err != nil {
		a.refuse(accounts.Malformed, err)
		return
	}
	a.v = v
}

// hash rebuilds and hashes the headers of those attempts that were admitted.
func (tmp *scratch) hash(attempts []attempt) {
	for len(attempts) > 0 {
		// As many as are for one job.
		var v *variant
		n, i := 0, 0
		for ; i < len(attempts); i++ {
			a := &attempts[i]
			if a.v == nil {
				continue
			}
			if v != nil && v != a.v {
				break
			}
			v = a.v
			tmp.chosen[n], tmp.extranonces[n] = a, a.in.Extranonce2
			n++
		}
		attempts = attempts[i:]
		if n == 0 {
			return
		}
		headers, hashes := tmp.headers[:n], tmp.hashes[:n]
		v.roots.RootsOf(&tmp.hashing, tmp.chosen[0].extranonce1, tmp.extranonces[:n], hashes)
		for i, a := range tmp.chosen[:n] {
			a.fill(&headers[i], &hashes[i])
		}
		merkle.DoubleHeaders(&tmp.hashing, headers, hashes)
		for i, a := range tmp.chosen[:n] {
			a.header, a.hash = headers[i], hashes[i]
		}
	}
}

// fill assembles the header.
func (a *attempt) fill(h *[merkle.HeaderSize]byte, root *chainhash.Hash) {
	binary.LittleEndian.PutUint32(h[0:], a.version)
	copy(h[4:], a.j.prev[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], a.in.Time)
	binary.LittleEndian.PutUint32(h[72:], a.j.bits)
	binary.LittleEndian.PutUint32(h[76:], a.in.Nonce)
}

// judge says what a hash is worth.
func (p *Proxy) judge(now time.Time, a *attempt) {
	j := a.j
	a.reached = share.Difficulty(&a.hash)
	isBlock := j.network.MetBy(&a.hash)
	fresh := isBlock && p.block(now, a)
	if a.w == nil {
		a.refuse(accounts.Malformed, errNotAllowed)
		return
	}
	if a.lost {
		a.refuse(accounts.Stale, errStale)
		return
	}
	if !p.working.Load() {
		a.refuse(accounts.Stale, errStale) // no upstream is left to take it
		return
	}
	if retired := j.retired.Load(); retired != 0 && now.Sub(time.Unix(0, retired)) >= p.config.StaleGrace {
		a.refuse(accounts.Stale, errStale)
		return
	}
	if !isBlock && !meets(&a.hash, a.reached, a.difficulty) {
		a.refuse(accounts.LowDifficulty, errLowDifficulty)
		return
	}
	if !isBlock {
		fresh = a.seen.Add(now, j.tip, &a.hash)
	}
	if !fresh {
		a.refuse(accounts.Duplicate, errDuplicate)
		return
	}
	if j.pool != nil && !isBlock {
		j.pool.forward(a.in, a.version, a.extranonce1, &a.hash)
	}
	a.outcome = accounts.Accepted
}

// meets reports whether a hash, which reached some difficulty, is a share of another: as
// the most generous of miners counts. Exact arithmetic is left to the border.
func meets(hash *chainhash.Hash, reached, difficulty float64) bool {
	const loose, exact = 0xffff / 0x10000p0, 1e-12
	switch least := difficulty * loose; {
	case reached > least*(1+exact):
		return true
	case reached < least*(1-exact):
		return false
	}
	target := stratum.Difficulty(difficulty).LooseTarget()
	return target.MetBy(hash)
}

// block takes a hash that meets the network's target to the journal, and to the nodes or
// the pool. fresh: it came for the first time.
func (p *Proxy) block(now time.Time, a *attempt) (fresh bool) {
	if !a.seen.Add(now, a.j.tip, &a.hash) {
		return false
	}
	if a.j.pool != nil {
		p.poolBlock(a)
	} else if p.mayFind(a.j.prev) {
		p.nodeBlock(a)
	}
	return true
}

// nodeBlock assembles a block and hands it in.
func (p *Proxy) nodeBlock(a *attempt) {
	j := a.j
	extranonce := append(append(make([]byte, 0, 64), a.extranonce1...), a.in.Extranonce2...)
	isNew := p.keeper.Found(journal.Entry{
		Hash: a.hash.String(), Height: j.height, Finder: a.in.Worker, FoundAt: p.now().UTC(),
		Raw: a.v.work.Block(a.header, extranonce),
	})
	if isNew {
		p.credit(a)
	}
}

// poolBlock hands a pool its block: it alone has the transactions. What is known
// of the block goes to the journal. The share goes to the pool in any case.
func (p *Proxy) poolBlock(a *attempt) {
	j := a.j
	f := j.pool.flight(a.in, a.version, a.extranonce1)
	if p.mayFind(j.prev) {
		coinbase := slices.Concat(a.v.job.Coinbase1, a.extranonce1, a.in.Extranonce2, a.v.job.Coinbase2)
		isNew := p.keeper.Found(journal.Entry{
			Hash: a.hash.String(), Height: j.height, Finder: a.in.Worker, FoundAt: p.now().UTC(),
			Pool: j.pool.from.shown, Header: slices.Clone(a.header[:]), Coinbase: coinbase,
		})
		if isNew {
			f.block = a.hash.String()
			p.credit(a)
		}
	}
	j.pool.from.submit(f)
}

// credit counts a block for its worker.
func (p *Proxy) credit(a *attempt) {
	w := a.w
	if w == nil {
		w = p.accounts.Worker(a.in.Worker)
	}
	w.Block()
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
