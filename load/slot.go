package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"lode/stratum"
)

// slot is one miner: a connection, and when that is lost the next one.
type slot struct {
	run   *run
	index int
	link  atomic.Pointer[link] // nil: not connected
	// storm is the storm that has cut the connection; nil: none.
	storm atomic.Pointer[storm]
}

const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// live connects, and connects again, until ctx ends. tried is called after the first
// attempt, whatever came of it.
func (s *slot) live(ctx context.Context, tried func()) {
	pause := minPause
	for ctx.Err() == nil {
		lasted, err := s.once(ctx, tried)
		tried = func() {}
		if ctx.Err() != nil {
			return
		}
		if s.storm.Load() != nil && lasted {
			continue // as its miner does after a power failure, at once
		}
		s.run.lose(lasted, err)
		if lasted {
			pause = minPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, maxPause)
	}
}

// once is one connection; lasted tells that it came as far as to its first job.
func (s *slot) once(ctx context.Context, tried func()) (lasted bool, err error) {
	r := s.run
	storm := s.storm.Load()
	freed := func() {}
	if storm == nil { // a storm does not queue
		select {
		case r.opening <- struct{}{}:
		case <-ctx.Done():
			tried()
			return false, ctx.Err()
		}
		free := true
		freed = func() {
			if free {
				free = false
				<-r.opening
			}
		}
	}
	defer func() { freed(); tried() }()

	opened := unixNow()
	conn, err := r.dialer.connect(ctx, r.kind, s.index)
	if err != nil {
		return false, err
	}
	r.connected.record(time.Duration(unixNow() - opened))
	ready := func(at int64) {
		r.mining.Add(1)
		took := time.Duration(at - opened)
		r.firstJob.record(took)
		if storm != nil {
			s.storm.CompareAndSwap(storm, nil)
			storm.back(at)
		}
		freed()
		tried()
	}
	l := newLink(r, conn, opened, ready)
	l.parts = s.index%10 == 9
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.link.Store(l)
	err = l.serve()
	s.link.Store(nil)
	if lasted = l.end(); lasted {
		r.mining.Add(-1)
	}
	return lasted, err
}

// lose counts a connection that was not meant to end.
func (r *run) lose(lasted bool, err error) {
	what := "failed"
	switch {
	case errors.Is(err, stratum.ErrReconnect):
		what = "asked to reconnect"
	case lasted:
		what = "lost"
		r.lost.Add(1)
	default:
		r.failed.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	count(&r.errors, what+": "+reason(err), maxReasons)
}
