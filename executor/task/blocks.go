package task

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/message"
	"lode/pool"
)

// Blocks that the scheduler has not confirmed are sent again after blockRetry,
// doubling to blockRetryMax.
const (
	blockRetry    = 5 * time.Second
	blockRetryMax = time.Minute
	// maxPendingBytes bounds the blocks that are kept for sending. They are all
	// in the pool's journal, too; the oldest are left to it.
	maxPendingBytes = 24 << 20
)

// blockSender brings found blocks to the scheduler, which stores them: the
// sandbox with the journal may go with its agent.
type blockSender struct {
	env  Env
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	pending []*pendingBlock // in order of discovery
	done    map[chainhash.Hash]bool
	bytes   int
}

type pendingBlock struct {
	hash  chainhash.Hash
	state *message.BlockState
	raw   []byte
	due   time.Time
	pause time.Duration
}

func newBlockSender(env Env) *blockSender {
	return &blockSender{env: env, wake: make(chan struct{}, 1), done: make(map[chainhash.Hash]bool)}
}

// found is pool.Config.OnBlock.
func (s *blockSender) found(b pool.Block) {
	state, err := blockState(b)
	if err != nil {
		s.env.Log.Error("block with an unreadable hash is not sent to the scheduler", "error", err)
		return
	}
	hash := chainhash.Hash(state.Hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		if p.hash == hash {
			p.state = state
			return
		}
	}
	if s.done[hash] || len(b.Raw) == 0 {
		return
	}
	s.pending = append(s.pending, &pendingBlock{hash: hash, state: state, raw: b.Raw, pause: blockRetry})
	s.bytes += len(b.Raw)
	for len(s.pending) > 1 && s.bytes > maxPendingBytes {
		s.env.Log.Error("too many blocks wait for the scheduler, the oldest stays in the journal only",
			"hash", s.pending[0].hash.String())
		s.remove(0)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// received handles BlockReceived.
func (s *blockSender) received(hash []byte) {
	if len(hash) != chainhash.HashSize {
		return
	}
	h := chainhash.Hash(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.pending {
		if p.hash == h {
			s.remove(i)
			s.done[h] = true
			return
		}
	}
}

// remove wants mu.
func (s *blockSender) remove(i int) {
	s.bytes -= len(s.pending[i].raw)
	s.pending = append(s.pending[:i], s.pending[i+1:]...)
}

func (s *blockSender) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		timer.Reset(s.sendDue(time.Now()))
	}
}

// sendDue sends what is due and returns when the next is.
func (s *blockSender) sendDue(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, p := range s.pending {
		if !p.due.After(now) {
			s.send(p)
			p.due = now.Add(jittered(p.pause, s.env.Rand))
			p.pause = min(2*p.pause, blockRetryMax)
		}
		next = min(next, p.due.Sub(now))
	}
	return next
}

func (s *blockSender) send(p *pendingBlock) {
	parts := (len(p.raw) + message.BlockPartSize - 1) / message.BlockPartSize
	for part := range parts {
		start := part * message.BlockPartSize
		end := min(start+message.BlockPartSize, len(p.raw))
		s.env.Send(fmt.Sprintf("block %s %d", p.hash, part), &message.ToScheduler{
			Event: &message.ToScheduler_Block{Block: &message.Block{
				Block: p.state, Part: uint32(part), Parts: uint32(parts), Data: p.raw[start:end],
			}},
		})
	}
}
