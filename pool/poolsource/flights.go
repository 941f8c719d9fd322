package poolsource

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"lode/stratum"
)

const (
	// retryTime is for how long a share without an answer is kept, to be sent again if
	// the pool resumes the session; retryBlockTime is that of a block. At most
	// retryLimit are kept.
	retryTime      = 2 * time.Minute
	retryBlockTime = time.Hour
	retryLimit     = 512
	// refusalPause is the least time between two words to people of refused shares: there may
	// be thousands a second.
	refusalPause = 10 * time.Second
)

// counts are the answers of a pool.
type counts struct {
	accepted, rejected, stale, lost atomic.Uint64
}

// Answers implements source.Pool.
func (s *Source) Answers() map[string]uint64 {
	c := &s.counts
	return map[string]uint64{
		"accepted": c.accepted.Load(), "rejected": c.rejected.Load(), "stale": c.stale.Load(), "lost": c.lost.Load(),
	}
}

// submit sends a share to the pool and counts its answer.
func (s *Source) submit(f *flight) {
	if f.block != "" && !f.again {
		s.mu.Lock()
		s.blocks++
		s.mu.Unlock()
	}
	err := s.client.SubmitAsync(f.assignment, f.extranonce2, f.ntime, f.nonce, f.version, func(err error) { s.answered(f, err) })
	if err != nil {
		s.unanswered(f, err)
	}
}

// unanswered keeps a share that the pool may not have got: if it resumes the session,
// the share can still count.
func (s *Source) unanswered(f *flight, err error) {
	if errors.Is(err, stratum.ErrOtherSpace) {
		s.lose(f, err)
		return
	}
	f.again = true
	s.mu.Lock()
	s.retries = append(s.retries, f)
	var dropped *flight
	if len(s.retries) > retryLimit {
		at := max(slices.IndexFunc(s.retries, func(f *flight) bool { return f.block == "" }), 0)
		dropped = s.retries[at]
		s.retries = slices.Delete(s.retries, at, at+1)
	}
	s.mu.Unlock()
	if f.block != "" {
		s.tell(f, "no answer yet, will be sent again: "+err.Error())
	}
	if dropped != nil {
		s.lose(dropped, errors.New("too many shares wait for the pool"))
	}
}

// sendAgain sends what was not answered, now that the pool is back.
func (s *Source) sendAgain() {
	s.mu.Lock()
	list := s.retries
	s.retries = nil
	s.mu.Unlock()
	for _, f := range list {
		s.submit(f)
	}
}

// expire gives up what has waited too long.
func (s *Source) expire() {
	now := s.o.Now()
	s.mu.Lock()
	var late []*flight
	s.retries = slices.DeleteFunc(s.retries, func(f *flight) bool {
		limit := retryTime
		if f.block != "" {
			limit = retryBlockTime
		}
		if now.Sub(f.since) < limit {
			return false
		}
		late = append(late, f)
		return true
	})
	s.mu.Unlock()
	for _, f := range late {
		s.lose(f, errors.New("the pool did not come back in time"))
	}
}

// lose gives up a share.
func (s *Source) lose(f *flight, err error) {
	s.counts.lost.Add(1)
	s.log.Debug("share lost", "upstream", s.url, "error", err)
	s.end(f, "lost: "+err.Error())
}

// tell notes the news of a block.
func (s *Source) tell(f *flight, what string) {
	if f.block != "" {
		s.o.Note(f.block, s.url+": "+what)
	}
}

// end tells what became of a share, if it is a block.
func (s *Source) end(f *flight, what string) {
	s.tell(f, what)
	if f.block != "" {
		s.mu.Lock()
		s.blocks--
		s.mu.Unlock()
	}
}

// AwaitBlocks implements source.Pool.
func (s *Source) AwaitBlocks(ctx context.Context) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		waiting := s.blocks
		s.mu.Unlock()
		if waiting == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}

// answered takes the answer to a share.
func (s *Source) answered(f *flight, err error) {
	var refusal *stratum.Error
	if err != nil && !errors.As(err, &refusal) {
		if errors.Is(err, stratum.ErrSilent) {
			s.mute.Store(s.connection.Load())
		}
		s.unanswered(f, err)
		return
	}
	s.spoke.Store(s.connection.Load())
	if refusal != nil && refusal.Code == stratum.CodeDuplicate && f.again {
		refusal = nil // the first one arrived, its answer did not
	}
	switch {
	case refusal == nil:
		s.counts.accepted.Add(1)
		s.report.Share(true)
		s.end(f, "accepted")
		return
	case refusal.Code == stratum.CodeStale:
		s.counts.stale.Add(1)
	default:
		s.counts.rejected.Add(1)
	}
	s.tellRefusal(refusal)
	s.end(f, "refused: "+refusal.Error())
	s.report.Share(false)
}

// tellRefusal tells people why the pool refuses shares.
func (s *Source) tellRefusal(refusal *stratum.Error) {
	now, level := s.o.Now(), slog.LevelDebug
	s.mu.Lock()
	s.untold++
	n := s.untold
	if now.Sub(s.told) >= refusalPause {
		level, s.told, s.untold = slog.LevelInfo, now, 0
	}
	s.mu.Unlock()
	s.log.Log(context.Background(), level, "pool refused a share", "upstream", s.url, "code", refusal.Code, "reason", refusal.Text, "shares", n)
}
