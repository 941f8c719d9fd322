package load

import (
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// refusalKind is what a pool's refusal says.
type refusalKind int

const (
	refusedOther refusalKind = iota
	refusedStale
	refusedDuplicate
	refusedLow
	refusedUser
)

func (k refusalKind) String() string {
	return [...]string{"other", "stale", "duplicate", "low difficulty", "unauthorized"}[k]
}

// kindOf goes by the code, and by the text where a pool has codes of its own.
func kindOf(err error) refusalKind {
	e := new(stratum.Error)
	if !errors.As(err, &e) {
		return refusedOther
	}
	text := strings.ToLower(e.Text)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("duplicate"):
		return refusedDuplicate
	case has("low diff", "above target", "high-hash", "difficulty too low"):
		return refusedLow
	case has("stale", "job", "unknown-work", "prevblk"):
		return refusedStale
	case has("unauthorized", "not authorized", "not subscribed"):
		return refusedUser
	}
	switch e.Code {
	case stratum.CodeStale:
		return refusedStale
	case stratum.CodeDuplicate:
		return refusedDuplicate
	case stratum.CodeLowDifficulty:
		return refusedLow
	case stratum.CodeUnauthorized, stratum.CodeNotSubscribed:
		return refusedUser
	}
	return refusedOther
}

// ruling is what is to be thought of a refusal of a share that was valid, and for
// the newest job that its miner knew, when it was sent.
type ruling int

const (
	// expected: the share and the pool's change of job, extranonce or version mask have
	// crossed on their way.
	expected ruling = iota
	// falseReject: there was no reason for it.
	falseReject
	// wait: it says "stale", and the clean job that explains it may yet come.
	wait
)

// judge rules on a refusal. superseded: since the share was sent its miner
// has got a clean job; changed: another extranonce or version mask.
func judge(kind refusalKind, superseded, changed bool) ruling {
	switch {
	case kind == refusedStale && superseded, kind != refusedDuplicate && changed:
		return expected
	case kind == refusedStale:
		return wait
	}
	return falseReject
}

// FalseReject is a share that the pool should have taken.
type FalseReject struct {
	Reason      string             `json:"reason"` // as the pool put it
	Job         string             `json:"job"`
	Difficulty  stratum.Difficulty `json:"difficulty"`
	Hash        string             `json:"hash"`   // display order
	Header      string             `json:"header"` // 80 bytes in hexadecimal
	Extranonce1 string             `json:"extranonce1"`
	Extranonce2 string             `json:"extranonce2"`
}

// maxExamples bounds the false rejects that are kept in full, maxReasons the
// different reasons that are counted apart.
const (
	maxExamples = 10
	maxReasons  = 16
)

// shareCounts are the fates of shares.
type shareCounts struct {
	due, submitted, accepted, stale, falseRejects atomic.Int64
	lost, unanswered, undecided                   atomic.Int64
	outdated                                      atomic.Int64 // solved for a job that went before they could be sent
	behind                                        atomic.Int64 // due, but the solvers had no time
	noWork                                        atomic.Int64 // due, but no miner had work that can be solved

	mu       sync.Mutex // guards what follows
	reasons  map[string]int
	examples []FalseReject
}

func (c *shareCounts) reject(p *sentShare, err error, r ruling) {
	if r == expected {
		c.stale.Add(1)
		return
	}
	c.falseRejects.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	reason := kindOf(err).String() + ": " + err.Error()
	count(&c.reasons, reason, maxReasons)
	if len(c.examples) < maxExamples {
		c.examples = append(c.examples, FalseReject{
			Reason: err.Error(), Job: p.share.JobID, Difficulty: p.difficulty, Hash: p.hash.String(),
			Header: hex.EncodeToString(p.header[:]), Extranonce1: hex.EncodeToString(p.extranonce1), Extranonce2: hex.EncodeToString(p.share.Extranonce2),
		})
	}
}

// count adds one to a bounded table of texts.
func count(table *map[string]int, text string, limit int) {
	if *table == nil {
		*table = map[string]int{}
	}
	if _, ok := (*table)[text]; !ok && len(*table) >= limit {
		text = "others"
	}
	(*table)[text]++
}

// sentShare is a share on its way, until the pool's verdict.
type sentShare struct {
	id          uint64
	sent        int64 // unix nanoseconds
	epoch       uint64
	changes     uint64
	share       stratum.Share
	difficulty  stratum.Difficulty
	extranonce1 []byte
	header      [80]byte
	hash        chainhash.Hash
}

// doubtful is a refusal whose ruling is wait.
type doubtful struct {
	share *sentShare
	err   error
	at    int64
}

func (d *doubtful) due(now int64, grace time.Duration) bool { return now-d.at > int64(grace) }
