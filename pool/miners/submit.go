package miners

import (
	"sync"
	"time"

	"lode/pool/accounts"
	"lode/pool/judge"
	"lode/stratum"
)

var (
	_ stratum.BatchHandler = (*Server)(nil)
	_ stratum.StrayHandler = (*Server)(nil)
)

// scratch is what the judgement of shares needs, kept for the next ones.
type scratch struct {
	judge.Scratch
	workers [judge.Together]*accounts.Worker // of the attempts
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Submit implements stratum.Handler: it judges a share.
func (m *Server) Submit(c *stratum.Conn, in *stratum.Share) error {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.Attempts[0] = judge.Attempt{In: in}
	m.submit(sessionOf(c), tmp, 1)
	return tmp.Attempts[0].Refusal
}

// SubmitBatch implements stratum.BatchHandler.
func (m *Server) SubmitBatch(c *stratum.Conn, batch []*stratum.Submission) {
	m.submitBatch(sessionOf(c), batch)
}

func (m *Server) submitBatch(s *session, batch []*stratum.Submission) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	for len(batch) > 0 {
		n := min(len(batch), len(tmp.Attempts))
		for i, in := range batch[:n] {
			tmp.Attempts[i] = judge.Attempt{In: &in.Share}
		}
		m.submit(s, tmp, n)
		for i, in := range batch[:n] {
			in.Verdict = tmp.Attempts[i].Refusal
		}
		batch = batch[n:]
	}
}

// SubmitStray implements stratum.StrayHandler: it takes blocks, and nothing else.
func (m *Server) SubmitStray(c *stratum.Conn, in *stratum.Share) { m.strayShare(sessionOf(c), in) }

func (m *Server) strayShare(s *session, in *stratum.Share) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.Attempts[0] = judge.Attempt{In: in, Stranger: true}
	m.submit(s, tmp, 1)
}

// submit judges the first n attempts of tmp, which are of one connection.
func (m *Server) submit(s *session, tmp *scratch, n int) {
	now := m.o.Now()
	attempts := tmp.Attempts[:n]
	m.complete(now, s, tmp, n)
	for i := range attempts {
		attempts[i].Admit()
	}
	tmp.Hash(n)
	rules := judge.Rules{Working: m.working.Load(), Grace: m.o.StaleGrace}
	accepted := false
	for i := range attempts {
		a, w := &attempts[i], tmp.workers[i]
		a.Judge(now, rules)
		if a.Block {
			m.o.Found(a, w)
		}
		if w != nil {
			difficulty := a.Difficulty
			if a.Refusal != nil { // it may be no more than a wish
				difficulty = min(difficulty, a.Reached)
			}
			w.Share(now, a.Outcome, difficulty, a.Reached, s.device)
		}
		if a.Refusal != nil {
			continue
		}
		accepted = true
		a.In.Worth = stratum.Difficulty(a.Difficulty)
		if a.Job.Taker != nil && !a.Block {
			a.Job.Taker.Take(a.In, a.Version, a.Extranonce1, &a.Hash)
		}
	}
	if !accepted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed, work := false, 0.0
	for i := range attempts {
		if a := &attempts[i]; a.Refusal == nil {
			work += a.Difficulty
			if a.Difficulty < s.told/easyShare {
				s.easy.note(now)
			}
			_, different := s.vardiff.Share(m.o.Vardiff, now, a.Difficulty)
			changed = changed || different
		}
	}
	s.prove(now, work)
	if changed {
		m.changeDifficulty(s)
	}
}

// complete puts in what is known of the attempts, their jobs and their session. Calls for
// one connection come one after another: what is read here changes under our feet only if
// the upstream changes, and then a share is stale.
func (m *Server) complete(now time.Time, s *session, tmp *scratch, n int) {
	attempts := tmp.Attempts[:n]
	for i := range attempts {
		attempts[i].Job, attempts[i].Key = m.o.Jobs.Get(attempts[i].In.JobID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	least := 0.0
	if s.easy.tooMany(now) {
		least = s.told / easyShare
	}
	for i := range attempts {
		a := &attempts[i]
		w := s.workers[a.In.Worker]
		if tmp.workers[i] = w; w == nil {
			a.Stranger = true
		}
		a.Difficulty = s.vardiff.Difficulty()
		if s.space == nil || a.Job == nil {
			continue
		}
		at := s.at(a.Job.Number)
		a.Extranonce1, a.Rest, a.Seen, a.Lost = at.lease.Extranonce, at.space.Rest(), at.seen, at.lease.Lost()
		a.Elsewhere = at.space != a.Job.Space && !a.Job.Origin.OwnCoinbase()
		if d := s.book.Difficulty(uint64(a.Key)); d > 0 {
			a.Difficulty = max(d, least)
		}
	}
}

// prove makes a session's lease its own, now that it had shares of summed difficulty work
// accepted. The caller holds mu.
func (s *session) prove(now time.Time, work float64) {
	s.lease.Worked(now, work)
	if !s.proven && now.Sub(s.asked) >= askAgain {
		s.asked = now
		s.proven = s.lease.Prove(now, s.past())
	}
}

// askAgain is how long a miner that shares its place waits until it asks for it once more:
// many may share one, and all are looked at.
const askAgain = time.Second
