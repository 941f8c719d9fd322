package stratum

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// BroadcastResult tells how a broadcast went.
type BroadcastResult struct {
	Conns int // that were reached
	// Latency is the time from the job's Since to the last write.
	Latency time.Duration
	// Superseded: a broadcast of a newer clean job began, and this one was given up.
	Superseded bool
}

// Broadcast brings a job to all connections that have subscribed and authorized.
// It calls each, from several goroutines, once for every connection; each sends
// what that connection needs, Conn.SetDifficulty and Conn.Notify(job) for example,
// or nothing, and all of it leaves in one write. A nil each notifies. No
// connection is waited for.
//
// A connection that becomes ready meanwhile may be missed: it gets its job in
// Handler.Authorized, so make the job the current one before Broadcast. It may
// also get it from both, and each may be called for a connection that has just
// ended.
//
// Clean jobs go first: a broadcast still under way is given up when that of a
// clean job begins.
func (s *Server) Broadcast(job *EncodedJob, each func(*Conn)) BroadcastResult {
	if each == nil {
		each = func(c *Conn) { c.Notify(job) }
	}
	s.jobIDs.add(job.id)
	epoch := s.cleanEpoch.Load()
	if job.clean {
		epoch = s.cleanEpoch.Add(1)
	}
	s.mu.Lock()
	conns := append([]*Conn(nil), s.ready...)
	s.mu.Unlock()

	const chunk = 64
	var next, reached atomic.Int64
	var superseded atomic.Bool
	work := func() {
		for {
			end := int(next.Add(chunk))
			begin := end - chunk
			if begin >= len(conns) {
				return
			}
			if s.cleanEpoch.Load() != epoch {
				superseded.Store(true)
				return
			}
			for _, c := range conns[begin:min(end, len(conns))] {
				c.cork()
				each(c)
				c.uncork()
				reached.Add(1)
			}
		}
	}
	workers := min(runtime.GOMAXPROCS(0), 16, (len(conns)+chunk-1)/chunk)
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()

	result := BroadcastResult{int(reached.Load()), time.Since(job.Since), superseded.Load()}
	s.stats.Broadcasts.Add(1)
	if result.Superseded {
		s.stats.BroadcastsSuperseded.Add(1)
	} else {
		s.stats.BroadcastLatency.Observe(result.Latency)
	}
	return result
}
