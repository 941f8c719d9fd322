package pool

import (
	"sync"

	"lode/pool/accounts"
	"lode/pool/judge"
	"lode/stratum"
)

var (
	_ stratum.BatchHandler = (*Proxy)(nil)
	_ stratum.StrayHandler = (*Proxy)(nil)
)

// scratch is what the judgement of shares needs, kept for the next ones.
type scratch struct {
	judge.Scratch
	workers [judge.Together]*accounts.Worker // of the attempts
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Submit implements stratum.Handler: it judges a share.
func (p *Proxy) Submit(c *stratum.Conn, in *stratum.Share) error {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.Attempts[0] = judge.Attempt{In: in}
	p.submit(sessionOf(c), tmp, 1)
	return tmp.Attempts[0].Refusal
}

// SubmitBatch implements stratum.BatchHandler.
func (p *Proxy) SubmitBatch(c *stratum.Conn, batch []*stratum.Submission) {
	p.submitBatch(sessionOf(c), batch)
}

func (p *Proxy) submitBatch(s *session, batch []*stratum.Submission) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	for len(batch) > 0 {
		n := min(len(batch), len(tmp.Attempts))
		for i, in := range batch[:n] {
			tmp.Attempts[i] = judge.Attempt{In: &in.Share}
		}
		p.submit(s, tmp, n)
		for i, in := range batch[:n] {
			in.Verdict = tmp.Attempts[i].Refusal
		}
		batch = batch[n:]
	}
}

// SubmitStray implements stratum.StrayHandler: it takes blocks, and nothing else.
func (p *Proxy) SubmitStray(c *stratum.Conn, in *stratum.Share) { p.strayShare(sessionOf(c), in) }

func (p *Proxy) strayShare(s *session, in *stratum.Share) {
	tmp := scratches.Get().(*scratch)
	defer scratches.Put(tmp)
	tmp.Attempts[0] = judge.Attempt{In: in, Stranger: true}
	p.submit(s, tmp, 1)
}

// submit judges the first n attempts of tmp, which are of one connection.
func (p *Proxy) submit(s *session, tmp *scratch, n int) {
	now := p.now()
	attempts := tmp.Attempts[:n]
	p.complete(s, tmp, n)
	for i := range attempts {
		attempts[i].Admit()
	}
	tmp.Hash(n)
	rules := judge.Rules{Working: p.working.Load(), Grace: p.config.StaleGrace}
	accepted := false
	for i := range attempts {
		a, w := &attempts[i], tmp.workers[i]
		a.Judge(now, rules)
		if a.Block {
			p.found(a, w)
		}
		if w != nil {
			w.Share(now, a.Outcome, a.Difficulty, a.Reached)
		}
		if a.Refusal != nil {
			continue
		}
		accepted = true
		if from, ok := a.Job.Origin.(*poolWork); ok && !a.Block {
			from.forward(a.In, a.Version, a.Extranonce1, &a.Hash)
		}
	}
	if !accepted {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prove()
	changed := false
	for i := range attempts {
		if a := &attempts[i]; a.Refusal == nil {
			_, different := s.vardiff.Share(p.vardiff, now, a.Difficulty)
			changed = changed || different
		}
	}
	if changed {
		p.changeDifficulty(s)
	}
}

// complete puts in what is known of the attempts, their jobs and their session. Calls for
// one connection come one after another: what is read here changes under our feet only if
// the upstream changes, and then a share is stale.
func (p *Proxy) complete(s *session, tmp *scratch, n int) {
	attempts := tmp.Attempts[:n]
	for i := range attempts {
		attempts[i].Job, attempts[i].Key = p.jobs.Get(attempts[i].In.JobID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
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
			a.Difficulty = d
		}
	}
}

// prove makes a session's lease its own, now that it had a share accepted. The caller
// holds mu.
func (s *session) prove() {
	if !s.proven {
		s.proven = true
		s.lease.Prove(s.past())
	}
}
