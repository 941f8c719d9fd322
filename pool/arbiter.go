package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/node"
	"lode/pool/upstream"
)

// prepareArbiter makes the arbiter over the sources.
func (p *Proxy) prepareArbiter() {
	kinds := make([]upstream.Kind, len(p.sources))
	for i, s := range p.sources {
		if _, isPool := s.(*poolSource); isPool {
			kinds[i] = upstream.Pool
		}
	}
	p.arbiter = upstream.New(p.now(), upstream.Options{Kinds: kinds, HoldDown: max(p.config.HoldDown, 0), StartPatience: startPatience})
	p.questions = make(chan upstream.Question, 16)
	p.again = time.NewTimer(time.Hour)
}

// report brings the news of one source to the arbiter.
type report struct {
	p      *Proxy
	source int
}

// work is new work.
func (r *report) work(w *jobs.Work) {
	r.p.news(func(now time.Time, a *upstream.Arbiter) {
		a.Give(now, r.source, upstream.Work{
			Tip: w.Prev, Height: w.Height, Bits: w.Bits, Time: w.Time, MinTime: w.MinTime, Made: w,
		})
	})
}

// lost tells that there is no work any more, and why.
func (r *report) lost(err error) {
	r.p.news(func(now time.Time, a *upstream.Arbiter) { a.Lose(now, r.source, err) })
}

// condemned tells that the source did what no honest one does.
func (r *report) condemned(err error) {
	r.p.news(func(now time.Time, a *upstream.Arbiter) { a.Condemn(now, r.source, err) })
}

// share tells of a pool's answer to a share. It may be called where nothing may be
// waited for.
func (r *report) share(accepted bool) {
	r.p.stateMu.Lock()
	defer r.p.stateMu.Unlock()
	r.p.arbiter.Share(r.p.now(), r.source, accepted)
}

// news tells the arbiter something, and does what it decides.
func (p *Proxy) news(tell func(now time.Time, a *upstream.Arbiter)) {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	p.stateMu.Lock()
	tell(p.now(), p.arbiter)
	p.stateMu.Unlock()
	p.choose()
}

// choose has the arbiter decide, and does that. The caller holds publishing.
func (p *Proxy) choose() {
	now := p.now()
	p.stateMu.Lock()
	d := p.arbiter.Decide(now)
	for _, note := range d.Notes {
		if note.Err != nil {
			p.lastError = note.Err.Error()
		}
	}
	if d.Active >= 0 {
		p.idleSince = time.Time{}
	} else if p.idleSince.IsZero() {
		p.idleSince = now
	}
	idle := !p.idleSince.IsZero() && now.Sub(p.idleSince) > staleWork
	p.stateMu.Unlock()
	for _, note := range d.Notes {
		p.log.Warn(note.Text, "upstream", p.sources[note.Source].url(), "error", note.Err)
	}
	for _, q := range d.Ask {
		select {
		case p.questions <- q:
		default: // it is asked again
		}
	}
	if !d.Again.IsZero() {
		p.again.Reset(d.Again.Sub(now))
	}
	switch {
	case d.Publish:
		w := d.Work.Made.(*jobs.Work)
		if d.Switched {
			p.log.Info("mining for upstream", "upstream", p.sources[d.Active].url(), "height", w.Height)
		}
		p.publish(w)
	case idle && p.working.CompareAndSwap(true, false):
		p.log.Warn("no upstream gives work, miners wait")
	}
}

// answerLoop asks nodes what the arbiter wants to know.
func (p *Proxy) answerLoop(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-p.questions:
			asking.Go(func() {
				answer, height := ask(ctx, p.sources[q.Node].(*nodeSource).node, q.Block)
				p.news(func(now time.Time, a *upstream.Arbiter) { a.Told(now, q, answer, height) })
			})
		}
	}
}

// ask has a node say what it knows of a block.
func ask(ctx context.Context, n *node.Node, hash chainhash.Hash) (upstream.Answer, int64) {
	h, err := n.Header(ctx, hash)
	switch {
	case errors.Is(err, node.ErrUnknownBlock):
		return upstream.Unknown, 0
	case err != nil:
		return upstream.Silent, 0
	case h.Confirmations < 1:
		return upstream.Side, h.Height
	}
	return upstream.Main, h.Height
}
