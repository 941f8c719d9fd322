package mining

import (
	"encoding/binary"
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
	return Job{
		Pool: pool, Difficulty: float64(a.Difficulty), Network: networkDifficulty(a.Job.Bits),
		Height: coinbaseHeight(a.Job.Coinbase1), Clean: a.Job.Clean,
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

// coinbaseHeight reads the height that a coinbase's script begins with (BIP 34); 0: there
// is none. Before the script stand version, count of inputs and previous output.
func coinbaseHeight(coinbase1 []byte) int64 {
	const script = 4 + 1 + 36 + 1 // a script of at most 100 bytes has a length of one byte
	if len(coinbase1) <= script {
		return 0
	}
	push, rest := coinbase1[script], coinbase1[script+1:]
	switch {
	case push >= 0x51 && push <= 0x60: // OP_1 to OP_16
		return int64(push - 0x50)
	case push < 1 || push > 5 || len(rest) < int(push) || rest[push-1]&0x80 != 0: // negative
		return 0
	}
	var number [8]byte
	copy(number[:], rest[:push])
	return int64(binary.LittleEndian.Uint64(number[:]))
}
