package load

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// hashesFor is how many hashes a share of difficulty d takes on average.
func hashesFor(d stratum.Difficulty) float64 { return max(float64(d)*(1<<32), 1) }

// pace has shares fall due at random moments, at the rate that was asked for, and
// gives each to the next miner in turn.
func (r *run) pace(ctx context.Context, due chan<- task) {
	mean := float64(time.Second) / r.opts.Shares
	next := time.Now()
	turn := 0
	for {
		next = next.Add(time.Duration(rand.ExpFloat64() * mean))
		// Sleeping is not precise enough for less; many shares a second come in small
		// bunches.
		if wait := time.Until(next); wait > 500*time.Microsecond {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		} else if ctx.Err() != nil {
			return
		}
		r.shares.due.Add(1)
		t, ok := r.nextTask(&turn)
		if !ok {
			r.shares.noWork.Add(1)
			continue
		}
		select {
		case due <- t:
		default:
			r.shares.behind.Add(1)
		}
	}
}

// maxLooks bounds how many miners are looked at for one share.
const maxLooks = 64

// nextTask is the work of the next miner that has some which can be solved.
func (r *run) nextTask(turn *int) (task, bool) {
	for range min(len(r.slots), maxLooks) {
		*turn = (*turn + 1) % len(r.slots)
		l := r.slots[*turn].link.Load()
		if l == nil {
			continue
		}
		if t, ok := l.task(); ok && hashesFor(t.space.difficulty) <= r.opts.MaxHashes {
			return t, true
		}
	}
	return task{}, false
}

// solve takes tasks until there are no more, and submits what it finds.
func (r *run) solve(ctx context.Context, due <-chan task) {
	var scratch []byte
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-due:
			scratch = r.solveOne(ctx, &t, scratch)
		}
	}
}

func (r *run) solveOne(ctx context.Context, t *task, scratch []byte) []byte {
	job := t.work.job
	bits := (job.Version | rand.Uint32()) & t.mask
	share := stratum.Share{
		Worker: r.opts.User, JobID: job.ID, Extranonce2: make([]byte, t.space.extranonce2Size),
		Time: job.Time, VersionBits: bits, HasVersionBits: t.mask != 0,
	}
	version := job.Version | bits
	target := t.space.difficulty.Target()
	for i := range share.Extranonce2 {
		share.Extranonce2[i] = byte(rand.Uint32())
	}
	// Random nonces, too: with an extranonce2 of few bytes it alone may come twice.
	start := rand.Uint32()
	header, scratch := job.HeaderBytes(scratch, t.space.extranonce1, share.Extranonce2, version, share.Time, start)
	for i := uint32(0); ; i++ {
		if i%256 == 255 {
			runtime.Gosched() // reading has the precedence
			if t.link.epoch.Load() != t.epoch || ctx.Err() != nil {
				r.shares.outdated.Add(1)
				return scratch
			}
			if i == 1<<32-1 {
				r.shares.outdated.Add(1) // this extranonce2 has none; rare at any difficulty that is solved
				return scratch
			}
		}
		share.Nonce = start + i
		binary.LittleEndian.PutUint32(header[76:], share.Nonce)
		first := sha256.Sum256(header[:])
		hash := chainhash.Hash(sha256.Sum256(first[:]))
		if !target.MetBy(&hash) {
			continue
		}
		if err := check(t, &share, version, &target, hash); err != nil {
			r.fail(err)
			return scratch
		}
		t.link.submit(t, share, header, hash)
		return scratch
	}
}

// check makes sure, by another way than it was found, that a share is valid: only
// then is its refusal the pool's fault.
func check(t *task, share *stratum.Share, version uint32, target *stratum.Target, hash chainhash.Hash) error {
	job := t.work.job
	asked, err := job.ShareVersion(t.mask, share)
	if err != nil || asked != version {
		return fmt.Errorf("share of job %s: version %08x, but its bits %08x give %08x: %w", job.ID, version, share.VersionBits, asked, err)
	}
	header := job.Header(t.space.extranonce1, share.Extranonce2, asked, share.Time, share.Nonce)
	if again := header.BlockHash(); again != hash || !target.MetBy(&again) {
		return fmt.Errorf("share of job %s hashes to %v, then to %v, for target %v", job.ID, hash, again, target)
	}
	return nil
}
