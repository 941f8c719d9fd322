package mining

import (
	"errors"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/miner"
	"lode/stratum"
)

// Verdict is what became of a share.
type Verdict string

// The verdicts. Lost: the connection ended before there was an answer; it counts as stale.
const (
	Accepted Verdict = "accepted"
	Rejected Verdict = "rejected"
	Stale    Verdict = "stale"
	Lost     Verdict = "lost"
)

// Share is a share that was handed in. Difficulties are pdiff.
type Share struct {
	Verdict    Verdict
	Difficulty float64 // asked for
	Reached    float64 // by its hash
	Block      bool    // its hash meets the target of a block
	Code       int     // of a refusal
	Reason     string  // of a refusal, or why it is lost
	Took       time.Duration
}

// Job is a job that a server gave.
type Job struct {
	Pool       string
	Difficulty float64 // of shares, pdiff
	Network    float64 // of blocks, pdiff; 0: unknown
	Height     int64   // of the block that is searched; 0: the coinbase does not tell
	Clean      bool    // what was searched before is worthless
}

func judged(a *stratum.Assignment, hit *miner.Hit, err error) Share {
	reached := stratum.HashDifficulty(chainhash.Hash(hit.Hash))
	network := networkDifficulty(a.Job.Bits)
	s := Share{Verdict: Accepted, Difficulty: float64(a.Difficulty), Reached: float64(reached), Block: network > 0 && float64(reached) >= network}
	if err == nil {
		return s
	}
	s.Verdict, s.Reason = Lost, err.Error()
	if refusal := new(stratum.Error); errors.As(err, &refusal) {
		s.Verdict, s.Code, s.Reason = Rejected, refusal.Code, refusal.Text
		if refusal.Code == stratum.CodeStale {
			s.Verdict = Stale
		}
	}
	return s
}

func jobOf(pool string, a *stratum.Assignment) Job {
	height, _ := a.Job.Height()
	return Job{
		Pool: pool, Difficulty: float64(a.Difficulty), Network: networkDifficulty(a.Job.Bits),
		Height: height, Clean: a.Job.Clean,
	}
}

// networkDifficulty is 0 for bits that are no target.
func networkDifficulty(bits uint32) float64 {
	target, err := stratum.TargetFromBits(bits)
	if err != nil {
		return 0
	}
	return float64(target.Difficulty())
}
