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
	// Superseded: a broadcast of a newer job began, and this one was given up.
	Superseded bool
}

// broadcast is one under way.
type broadcast struct {
	clean    bool
	patience int         // it is given up for a newer one of its kind if this is above 0
	overtook atomic.Bool // by a newer one
}

// mostGivenUp is how many broadcasts in a row are given up: where jobs come faster than they
// can be brought to all, those who come last would get none. The next one is given up only if
// it is a refresh that a clean job overtakes.
const mostGivenUp = 3

// Broadcast brings a job to all connections that have subscribed and authorized, the
// fastest miners first. It calls each, from several goroutines, once for every
// connection; each sends what that connection needs, Conn.SetDifficulty and
// Conn.Notify(job) for example, or nothing, and all of it leaves in one write. A nil
// each notifies. No connection is waited for.
//
// A connection that becomes ready meanwhile may be missed: it gets its job in
// Handler.Authorized, so make the job the current one before Broadcast. It may
// also get it from both, and each may be called for a connection that has just
// ended.
//
// A newer job overtakes: a broadcast still under way is given up when that of a clean
// job begins, and, unless it is itself that of a clean job, when any other does; but not
// more than a few in a row.
func (s *Server) Broadcast(job *EncodedJob, each func(*Conn)) BroadcastResult {
	if each == nil {
		each = func(c *Conn) { c.Notify(job) }
	}
	s.jobIDs.add(job.id)
	b := &broadcast{clean: job.clean}
	s.mu.Lock()
	s.overtake(job.clean)
	b.patience = mostGivenUp - s.givenUp
	s.broadcasts[b] = struct{}{}
	conns := s.ready.fastestFirst()
	s.mu.Unlock()

	const chunk = 64
	var next, reached atomic.Int64
	work := func() {
		for {
			end := int(next.Add(chunk))
			begin := end - chunk
			if begin >= len(conns) || b.overtook.Load() {
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
	processors := runtime.GOMAXPROCS(0)
	if !job.clean {
		processors = (processors + 1) / 2 // shares are judged meanwhile, and a refresh can wait
	}
	workers := min(processors, 16, (len(conns)+chunk-1)/chunk)
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	n := int(reached.Load())
	s.mu.Lock()
	delete(s.broadcasts, b)
	result := BroadcastResult{n, time.Since(job.Since), b.overtook.Load() && n < len(conns)}
	if s.givenUp++; !result.Superseded {
		s.givenUp = 0
	}
	s.mu.Unlock()
	s.stats.Broadcasts.Add(1)
	if result.Superseded {
		s.stats.BroadcastsSuperseded.Add(1)
	} else {
		s.stats.BroadcastLatency.Observe(result.Latency)
	}
	return result
}

// overtake gives up the broadcasts under way that a newer job makes useless. The caller
// holds mu.
func (s *Server) overtake(clean bool) {
	for b := range s.broadcasts {
		if clean && !b.clean || clean == b.clean && b.patience > 0 {
			b.overtook.Store(true)
		}
	}
}

// publisher broadcasts jobs one after the other, for those who do not wait.
type publisher struct {
	running bool
	waiting []publication // a clean job, and a newer one that is not; or one of them
}

// publication is what Broadcast is called with.
type publication struct {
	job  *EncodedJob
	each func(*Conn)
}

// Publish is Broadcast by a goroutine of the server: it returns at once. Of the jobs that
// wait for their turn only those are brought that a newer one does not make useless. The
// order of the calls is the order of the jobs.
func (s *Server) Publish(job *EncodedJob, each func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return
	}
	p := &s.publisher
	s.overtake(job.clean)
	switch {
	case job.clean:
		p.waiting = p.waiting[:0]
	case len(p.waiting) > 0 && !p.waiting[len(p.waiting)-1].job.clean:
		p.waiting = p.waiting[:len(p.waiting)-1]
	}
	p.waiting = append(p.waiting, publication{job, each})
	if !p.running {
		p.running = true
		s.wg.Go(s.publish)
	}
}

// publish brings what waits, and ends.
func (s *Server) publish() {
	for {
		s.mu.Lock()
		p := &s.publisher
		if len(p.waiting) == 0 || s.closed.Load() {
			p.running = false
			p.waiting = nil
			s.mu.Unlock()
			return
		}
		next := p.waiting[0]
		p.waiting = append(p.waiting[:0], p.waiting[1:]...)
		s.mu.Unlock()
		s.Broadcast(next.job, next.each)
	}
}
