// Package judge says what shares are worth. It does no I/O and has no clock of its own:
// an Attempt comes in with all that is known of it, and goes through three steps.
//
//	a.Admit()              what can be said without the hash
//	scratch.Hash(attempts) headers and hashes, of several at once
//	a.Judge(now, rules)    what the hash is worth
package judge

import (
	"encoding/binary"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/accounts"
	"lode/pool/jobs"
	"lode/pool/share"
	"lode/stratum"
	"lode/stratum/merkle"
)

// Refusals. They are made once: a flood of bad shares costs no memory.
var (
	ErrUnknownJob    = &stratum.Error{Code: stratum.CodeStale, Text: "Job not found"}
	ErrStale         = &stratum.Error{Code: stratum.CodeStale, Text: "Stale share"}
	ErrDuplicate     = &stratum.Error{Code: stratum.CodeDuplicate, Text: "Duplicate share"}
	ErrLowDifficulty = &stratum.Error{Code: stratum.CodeLowDifficulty, Text: "Low difficulty share"}
	ErrNotSubscribed = &stratum.Error{Code: stratum.CodeNotSubscribed, Text: "Not subscribed"}
	ErrNotAllowed    = &stratum.Error{Code: stratum.CodeUnauthorized, Text: "Unauthorized worker"}
	ErrExtranonce    = &stratum.Error{Code: stratum.CodeOther, Text: "Wrong length of extranonce2"}
)

// Together is how many shares are hashed at once at best.
const Together = 16

// Attempt is one share on its way through judgement.
type Attempt struct {
	In  *stratum.Share
	Job *jobs.Job // nil: unknown
	Key jobs.Key
	// Extranonce1 is the miner's for the job, Rest the size of its extranonce2; nil:
	// it has not subscribed. Elsewhere says that the job is searched in another space.
	Extranonce1 []byte
	Rest        int
	Elsewhere   bool
	Seen        *share.Seen
	Lost        bool    // the extranonce is another miner's now
	Stranger    bool    // the worker is not authorized on its connection
	Difficulty  float64 // what it is judged by

	Variant *jobs.Variant // nil: it failed before there was anything to hash
	Version uint32
	fault   error // of version or time: it is no share, but may be a block
	Header  [merkle.HeaderSize]byte
	Hash    chainhash.Hash

	Reached float64 // difficulty of the hash
	Block   bool    // the hash meets the network's target and came for the first time
	Outcome accounts.Outcome
	Refusal error // nil: accepted
}

// Rules are what holds for all shares at a time.
type Rules struct {
	Working bool          // there is an upstream that takes shares
	Grace   time.Duration // for shares of jobs that another one made worthless
}

// refuse ends an attempt.
func (a *Attempt) refuse(o accounts.Outcome, err error) {
	a.Outcome, a.Refusal, a.Variant = o, err, nil
}

// Admit checks all that can be checked without the hash.
func (a *Attempt) Admit() {
	switch {
	case a.Extranonce1 == nil && a.Job != nil:
		a.refuse(accounts.Malformed, ErrNotSubscribed)
	case a.Job == nil:
		a.refuse(accounts.Stale, ErrUnknownJob)
	case len(a.In.Extranonce2) != a.Rest:
		a.refuse(accounts.Malformed, ErrExtranonce)
	case a.Elsewhere:
		a.refuse(accounts.Stale, ErrStale) // made before the miner moved to another space
	default:
		a.prepare(len(a.Extranonce1) + a.Rest)
	}
}

// prepare finds the header's parts. Rules that are ours or a pool's are for shares: whether
// a block keeps to those of the network is for the nodes to say.
func (a *Attempt) prepare(size int) {
	v, err := a.Job.Variant(size, a.Key.Edition())
	if err != nil {
		a.refuse(accounts.Stale, ErrStale)
		return
	}
	if a.Version, err = v.Job.ShareVersion(a.Job.Mask, a.In); err != nil {
		if a.fault = err; a.Job.Taker != nil { // a pool is told the bits of the mask alone
			a.refuse(accounts.Malformed, err)
			return
		}
		a.Version = v.Job.Version&^a.Job.Mask | a.In.VersionBits
	}
	if err := a.Job.TimeError(a.In.Time); err != nil {
		if a.fault = err; !a.Job.Possible(a.In.Time) {
			a.refuse(accounts.Malformed, err)
			return
		}
	}
	a.Variant = v
}

// Doubtful says that the version or the time is none that a share may have. If it is a block, a
// node may refuse it.
func (a *Attempt) Doubtful() bool { return a.fault != nil }

// Scratch is what the judgement of shares needs, kept for the next ones. Those that
// come in together are hashed together.
type Scratch struct {
	Attempts [Together]Attempt

	hashing merkle.Scratch
	// Of the attempts that are hashed:
	chosen      [Together]*Attempt
	extranonces [Together][]byte
	headers     [Together][merkle.HeaderSize]byte
	hashes      [Together]chainhash.Hash
}

// Hash rebuilds and hashes the headers of those of the first n attempts that were
// admitted. They are of one connection.
func (s *Scratch) Hash(n int) {
	attempts := s.Attempts[:n]
	for len(attempts) > 0 {
		// As many as are for one job and extranonce1.
		var v *jobs.Variant
		n, i := 0, 0
		for ; i < len(attempts); i++ {
			a := &attempts[i]
			if a.Variant == nil {
				continue
			}
			if v != nil && v != a.Variant {
				break
			}
			v = a.Variant
			s.chosen[n], s.extranonces[n] = a, a.In.Extranonce2
			n++
		}
		attempts = attempts[i:]
		if n == 0 {
			return
		}
		headers, hashes := s.headers[:n], s.hashes[:n]
		v.Roots.RootsOf(&s.hashing, s.chosen[0].Extranonce1, s.extranonces[:n], hashes)
		for i, a := range s.chosen[:n] {
			a.fill(&headers[i], &hashes[i])
		}
		merkle.DoubleHeaders(&s.hashing, headers, hashes)
		for i, a := range s.chosen[:n] {
			a.Header, a.Hash = headers[i], hashes[i]
		}
	}
}

// fill assembles the header.
func (a *Attempt) fill(h *[merkle.HeaderSize]byte, root *chainhash.Hash) {
	binary.LittleEndian.PutUint32(h[0:], a.Version)
	copy(h[4:], a.Job.Prev[:])
	copy(h[36:], root[:])
	binary.LittleEndian.PutUint32(h[68:], a.In.Time)
	binary.LittleEndian.PutUint32(h[72:], a.Job.Bits)
	binary.LittleEndian.PutUint32(h[76:], a.In.Nonce)
}

// Judge says what the hash is worth. The network's target comes first: a block is a block
// even if the share is stale, a duplicate or too easy.
func (a *Attempt) Judge(now time.Time, rules Rules) {
	if a.Variant == nil {
		if a.Stranger {
			a.refuse(a.Outcome, ErrNotAllowed)
		}
		return
	}
	j := a.Job
	a.Reached = share.Difficulty(&a.Hash)
	isBlock := j.Network.MetBy(&a.Hash)
	a.Block = isBlock && a.Seen.Add(now, j.Tip, &a.Hash)
	v := a.Variant
	switch {
	case a.Stranger:
		a.refuse(accounts.Malformed, ErrNotAllowed)
	case a.fault != nil:
		a.refuse(accounts.Malformed, a.fault)
	case a.Lost, !rules.Working, j.Retired(now, rules.Grace):
		a.refuse(accounts.Stale, ErrStale)
	case !isBlock && !meets(&a.Hash, a.Reached, a.Difficulty):
		a.refuse(accounts.LowDifficulty, ErrLowDifficulty)
	case !a.Block && (isBlock || !a.Seen.Add(now, j.Tip, &a.Hash)):
		a.refuse(accounts.Duplicate, ErrDuplicate)
	default:
		a.Outcome = accounts.Accepted
		if isBlock { // whatever it was to reach: that may be no more than a wish
			a.Difficulty = min(a.Difficulty, a.Reached)
		}
	}
	a.Variant = v
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
