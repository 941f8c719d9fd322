// Package director decides by what all upstreams say for whom is mined, and does it: it
// runs the sources, brings their news to the arbiter (package upstream), carries out what
// that decides, and asks nodes what it wants to know.
package director

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"lode/pool/jobs"
	"lode/pool/source"
	"lode/pool/upstream"
)

const (
	startPatience = 2 * time.Second
	// staleWork is how long miners go on with the last work when no upstream is left.
	staleWork = time.Minute
)

// Miners are those who are to search.
type Miners interface {
	// Publish has them search the work, Refresh the same for longer, Pause nothing.
	Publish(w *jobs.Work)
	Refresh(now time.Time)
	Pause() bool
}

// Options of a Director.
type Options struct {
	Sources []source.Source // best first
	Miners  Miners
	// HoldDown is how long a better upstream must be back before it is preferred.
	HoldDown time.Duration
	Now      func() time.Time
	Logger   *slog.Logger
}

// Director decides.
//
// Locks: publishing is taken before mu. Nobody is called while mu is held, Miners while
// publishing is.
type Director struct {
	o         Options
	log       *slog.Logger
	questions chan upstream.Question // of the arbiter
	again     *time.Timer            // when the arbiter is to decide again

	publishing sync.Mutex // orders decisions and what is done by them

	mu        sync.Mutex // guards the rest
	arbiter   *upstream.Arbiter
	idleSince time.Time // zero: there is an upstream that gives work
	lastError string
}

// New makes a Director that has no news yet.
func New(o Options) *Director {
	kinds := make([]upstream.Kind, len(o.Sources))
	for i, s := range o.Sources {
		kinds[i] = s.Kind()
	}
	return &Director{
		o: o, log: o.Logger, questions: make(chan upstream.Question, 16), again: time.NewTimer(time.Hour),
		arbiter: upstream.New(o.Now(), upstream.Options{Kinds: kinds, HoldDown: o.HoldDown, StartPatience: startPatience}),
	}
}

// Run runs the sources until ctx ends.
func (d *Director) Run(ctx context.Context) {
	d.mu.Lock()
	d.arbiter.Start(d.o.Now())
	d.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	for i, s := range d.o.Sources {
		running.Go(func() { s.Run(ctx, d.Reporter(i)) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.again.C:
			d.publishing.Lock()
			d.choose()
			d.publishing.Unlock()
		case q := <-d.questions:
			running.Go(func() { d.answer(ctx, q) })
		}
	}
}

// Tick decides by the time that has passed. It is to be called every second or so.
func (d *Director) Tick() {
	d.publishing.Lock()
	defer d.publishing.Unlock()
	if d.choose() >= 0 {
		d.o.Miners.Refresh(d.o.Now())
	}
}

// reporter brings the news of one source to the arbiter.
type reporter struct {
	d      *Director
	source int
}

// Reporter takes the news of a source, by its place in the list.
func (d *Director) Reporter(i int) source.Reporter { return &reporter{d, i} }

// Work implements source.Reporter.
func (r *reporter) Work(w *jobs.Work) {
	if w.Source != r.source { // others may look at what is reported again
		w.Source = r.source
	}
	r.d.news(func(now time.Time, a *upstream.Arbiter) {
		a.Give(now, r.source, upstream.Work{
			Tip: w.Prev, Height: w.Height, Bits: w.Bits, Time: w.Time, MinTime: w.MinTime, Made: w, Clean: w.Clean,
		})
	})
}

// Lost implements source.Reporter.
func (r *reporter) Lost(err error) {
	r.d.news(func(now time.Time, a *upstream.Arbiter) { a.Lose(now, r.source, err) })
}

// Condemned implements source.Reporter.
func (r *reporter) Condemned(err error) {
	r.d.news(func(now time.Time, a *upstream.Arbiter) { a.Condemn(now, r.source, err) })
}

// Share implements source.Reporter.
func (r *reporter) Share(accepted bool) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.arbiter.Share(r.d.o.Now(), r.source, accepted)
}

// news tells the arbiter something, and does what it decides.
func (d *Director) news(tell func(now time.Time, a *upstream.Arbiter)) {
	d.publishing.Lock()
	defer d.publishing.Unlock()
	d.mu.Lock()
	tell(d.o.Now(), d.arbiter)
	d.mu.Unlock()
	d.choose()
}

// choose has the arbiter decide, and does that. It returns the upstream that is mined for,
// -1: none. The caller holds publishing.
func (d *Director) choose() (active int) {
	now := d.o.Now()
	d.mu.Lock()
	decision := d.arbiter.Decide(now)
	for _, note := range decision.Notes {
		if note.Err != nil {
			d.lastError = note.Err.Error()
		}
	}
	if decision.Active >= 0 {
		d.idleSince = time.Time{}
	} else if d.idleSince.IsZero() {
		d.idleSince = now
	}
	idle := !d.idleSince.IsZero() && now.Sub(d.idleSince) > staleWork
	d.mu.Unlock()
	for _, note := range decision.Notes {
		d.log.Warn(note.Text, "upstream", d.o.Sources[note.Source].URL(), "error", note.Err)
	}
	for _, q := range decision.Ask {
		select {
		case d.questions <- q:
		default: // it is asked again
		}
	}
	if !decision.Again.IsZero() {
		d.again.Reset(decision.Again.Sub(now))
	}
	switch {
	case decision.Publish:
		w := decision.Work.Made.(*jobs.Work)
		if decision.Work.Clean && !w.Clean {
			clean := *w
			clean.Clean = true
			w = &clean
		}
		if decision.Switched {
			d.log.Info("mining for upstream", "upstream", d.o.Sources[decision.Active].URL(), "height", w.Height)
		}
		d.o.Miners.Publish(w)
	case idle && d.o.Miners.Pause():
		d.log.Warn("no upstream gives work, miners wait")
	}
	return decision.Active
}

// answer asks a node what the arbiter wants to know.
func (d *Director) answer(ctx context.Context, q upstream.Question) {
	answer, height := d.o.Sources[q.Node].(source.Witness).Ask(ctx, q.Block)
	d.news(func(now time.Time, a *upstream.Arbiter) { a.Told(now, q, answer, height) })
}

// OnChain says what is known of the chain.
func (d *Director) OnChain(c upstream.Chain) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arbiter.OnChain(c)
}

// IdleSince is since when no upstream gives work; zero: one does.
func (d *Director) IdleSince() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.idleSince
}

// States tells of all upstreams, and of the last thing that was wrong with one.
func (d *Director) States() (list []upstream.State, lastError string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list = make([]upstream.State, len(d.o.Sources))
	for i := range list {
		list[i] = d.arbiter.State(i)
	}
	return list, d.lastError
}
