package load

import (
	"context"
	"sync"
	"time"
)

// storm is one round of miners that lose their connection in the same moment.
type storm struct {
	run   *run
	began int64

	mu   sync.Mutex // guards what follows
	left int        // miners that are not back
}

// Storms are the report of the reconnect storms.
type Storms struct {
	Rounds      int     `json:"rounds"`
	Connections int     `json:"connections"` // cut, all rounds together
	Unfinished  int     `json:"unfinished"`  // rounds that not all came back from
	Back        Latency `json:"back"`        // from the cut to the new connection's first job
	LastBack    Latency `json:"last_back"`   // the same, of the last miner of each round
}

// storms cuts StormSize miners at every StormInterval.
func (r *run) storms(ctx context.Context) {
	ticker := time.NewTicker(r.opts.StormInterval)
	defer ticker.Stop()
	turn := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		st := &storm{run: r, began: unixNow()}
		var cut []*link
		for range r.slots {
			s := r.slots[turn%len(r.slots)]
			turn++
			// A miner that is not back from the former storm is left alone.
			if l := s.link.Load(); l != nil && l.hasWork() && s.storm.CompareAndSwap(nil, st) {
				if cut = append(cut, l); len(cut) == r.opts.StormSize {
					break
				}
			}
		}
		if len(cut) == 0 {
			continue
		}
		st.left = len(cut)
		r.stormRounds.Add(1)
		r.stormCut.Add(int64(len(cut)))
		for _, l := range cut {
			l.socket.Close()
		}
	}
}

// back counts a miner that has its first job again.
func (s *storm) back(at int64) {
	took := time.Duration(at - s.began)
	s.run.stormBack.record(took)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.left == 0 {
		s.run.stormLast.record(took)
	}
}

func (l *link) hasWork() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.work != nil && !l.closed
}
