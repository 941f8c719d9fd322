package director_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/director"
	"lode/pool/jobs"
	"lode/pool/source"
	"lode/pool/upstream"
)

// fake is an upstream that says what its script does.
type fake struct {
	name   string
	kind   upstream.Kind
	script func(ctx context.Context, r source.Reporter)
	asked  chan chainhash.Hash
}

func (f *fake) URL() string                           { return f.name }
func (f *fake) Kind() upstream.Kind                   { return f.kind }
func (f *fake) Check(context.Context) (string, error) { return "", nil }
func (f *fake) Close()                                {}
func (f *fake) Notify()                               {}
func (f *fake) Run(ctx context.Context, r source.Reporter) {
	if f.script != nil {
		f.script(ctx, r)
	}
	<-ctx.Done()
}

func (f *fake) Ask(_ context.Context, block chainhash.Hash) (upstream.Answer, int64) {
	f.asked <- block
	return upstream.Unknown, 0
}

// hanging is an upstream that does not answer questions, and takes its time to end.
type hanging struct{ fake }

func (h *hanging) Run(ctx context.Context, r source.Reporter) {
	h.fake.Run(ctx, r)
	time.Sleep(5 * time.Second)
}

func (h *hanging) Ask(ctx context.Context, block chainhash.Hash) (upstream.Answer, int64) {
	h.asked <- block
	<-ctx.Done()
	return upstream.Unknown, 0
}

// crowd are miners.
type crowd struct {
	mu        sync.Mutex
	published []*jobs.Work
	refreshed int
	working   bool
	paused    int
}

func (c *crowd) Publish(w *jobs.Work) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published, c.working = append(c.published, w), true
}

func (c *crowd) Refresh(time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refreshed++
}

func (c *crowd) Pause() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.working {
		return false
	}
	c.working = false
	c.paused++
	return true
}

// seen is what became of them until now.
func (c *crowd) seen() (published []*jobs.Work, refreshed, paused int) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.published), c.refreshed, c.paused
}

func work(tip byte, height int64) *jobs.Work {
	now := uint32(time.Now().Unix())
	return &jobs.Work{Prev: chainhash.Hash{tip}, Height: height, Bits: 0x1d00ffff, Time: now, MinTime: now - 100}
}

// run runs a Director in a bubble of synctest until the test ends, with a tick a second.
func run(t *testing.T, c *crowd, sources ...source.Source) *director.Director {
	d := director.New(director.Options{
		Sources: sources, Miners: c, HoldDown: time.Minute, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	running.Go(func() {
		for ctx.Err() == nil {
			d.Tick()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	t.Cleanup(func() {
		end()
		running.Wait()
	})
	return d
}

// TestIdle: when no upstream gives work, miners go on for a minute and then wait, until
// there is work again.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		news := make(chan func(r source.Reporter))
		d := run(t, c, &fake{name: "one", script: func(ctx context.Context, r source.Reporter) {
			for {
				select {
				case <-ctx.Done():
					return
				case say := <-news:
					say(r)
				}
			}
		}})
		time.Sleep(10 * time.Second)
		if published, refreshed, paused := c.seen(); d.IdleSince().IsZero() || paused > 0 || len(published) > 0 || refreshed > 0 {
			t.Errorf("before the first work: idle since %v, %d jobs, refreshed %d times, paused %d times", d.IdleSince(), len(published), refreshed, paused)
		}
		news <- func(r source.Reporter) { r.Work(work(1, 100)) }
		published, before, _ := c.seen()
		if states, _ := d.States(); len(published) != 1 || !states[0].Active || !d.IdleSince().IsZero() {
			t.Fatalf("%d jobs, state %+v", len(published), states[0])
		}
		time.Sleep(5 * time.Second)
		if _, refreshed, _ := c.seen(); refreshed < before+4 || refreshed > before+6 {
			t.Errorf("refreshed %d times in 5 s of ticks", refreshed-before)
		}
		news <- func(r source.Reporter) { r.Lost(errors.New("gone")) }
		_, before, _ = c.seen()
		gone := time.Now()
		time.Sleep(59 * time.Second)
		if _, _, paused := c.seen(); paused > 0 {
			t.Error("paused at once")
		}
		time.Sleep(3 * time.Second)
		if _, refreshed, paused := c.seen(); paused != 1 || refreshed != before {
			t.Errorf("paused %d times, refreshed %d times without an upstream", paused, refreshed-before)
		}
		if states, last := d.States(); !d.IdleSince().Equal(gone) || states[0].Active || last != "gone" {
			t.Errorf("idle since %v, last error %q, %+v; want %v", d.IdleSince(), last, states[0], gone)
		}
		news <- func(r source.Reporter) { r.Work(work(2, 101)) }
		if published, _, _ := c.seen(); len(published) != 2 || !d.IdleSince().IsZero() {
			t.Errorf("%d jobs after all, idle since %v", len(published), d.IdleSince())
		}
	})
}

// TestOrder: work is that of the source that gave it, published in the order in which it
// came, however many say something at once.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		var sources []source.Source
		for i := range 3 {
			sources = append(sources, &fake{name: fmt.Sprint(i), script: func(ctx context.Context, r source.Reporter) {
				for height := int64(1); height < 60; height++ {
					r.Work(work(byte(height), height))
					r.Share(true)
					time.Sleep(time.Second)
				}
			}})
		}
		run(t, c, sources...)
		time.Sleep(2 * time.Minute)
		published, _, _ := c.seen()
		if len(published) < 50 {
			t.Errorf("%d jobs for 59 blocks", len(published))
		}
		for i, w := range published {
			if w.Source != 0 && i > 0 || i > 0 && w.Height < published[i-1].Height {
				t.Errorf("job %d: upstream %d, height %d", i, w.Source, w.Height)
			}
		}
	})
}

// TestCleanIsNotLost: a pool that wants earlier jobs forgotten is obeyed, also where the job
// that says so is one of many of which miners get but a few.
func TestCleanIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		var given []*jobs.Work
		run(t, c, &fake{name: "pool", kind: upstream.Pool, script: func(_ context.Context, r source.Reporter) {
			time.Sleep(10 * time.Second)
			for i := range 200 {
				w := work(1, 100)
				w.Clean = i == 57
				given = append(given, w)
				r.Work(w)
				time.Sleep(50 * time.Millisecond)
			}
		}})
		time.Sleep(time.Minute)
		published, _, _ := c.seen()
		if len(published) < 20 || len(published) > 40 {
			t.Errorf("%d jobs", len(published))
		}
		clean := 0
		for _, w := range published {
			if w.Clean {
				clean++
			}
		}
		if clean != 1 {
			t.Errorf("%d of the jobs were clean, want one", clean)
		}
		for i, w := range given { // they are the source's, which may look at them
			if w.Clean != (i == 57) {
				t.Errorf("work %d was made clean: %v", i, w.Clean)
			}
		}
	})
}

// TestQuestions: what the arbiter wants to know of a pool's tip a node is asked.
func TestQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		asked := make(chan chainhash.Hash, 100)
		give := func(w *jobs.Work) func(context.Context, source.Reporter) {
			return func(_ context.Context, r source.Reporter) { r.Work(w) }
		}
		run(t, c,
			&fake{name: "pool", kind: upstream.Pool, script: give(work(7, 100))},
			&fake{name: "node", script: give(work(8, 100)), asked: asked})
		time.Sleep(10 * time.Second)
		select {
		case block := <-asked:
			if block != (chainhash.Hash{7}) {
				t.Errorf("asked for %v", block)
			}
		default:
			t.Error("the node was not asked for the pool's tip")
		}
		if n := len(asked); n > 10 {
			t.Errorf("asked %d times in 10 s", n)
		}
	})
}

// TestSwitch: work is known by the upstream that gave it, and when the first upstream is lost
// the other one's is next.
func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		run(t, c,
			&fake{name: "first", script: func(ctx context.Context, r source.Reporter) {
				r.Work(work(1, 100))
				time.Sleep(5 * time.Second)
				r.Lost(errors.New("gone"))
			}},
			&fake{name: "second", script: func(ctx context.Context, r source.Reporter) { r.Work(work(1, 100)) }})
		time.Sleep(10 * time.Second)
		published, _, paused := c.seen()
		if len(published) != 2 || published[0].Source != 0 || published[1].Source != 1 || paused > 0 {
			t.Errorf("%d jobs, paused %d times", len(published), paused)
		}
	})
}

// TestFlood: of jobs that come all at once miners get the newest in a moment, whether or not
// there is anything new or a tick.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		var last *jobs.Work
		d := director.New(director.Options{
			Sources: []source.Source{&fake{name: "flood", script: func(ctx context.Context, r source.Reporter) {
				for range 1000 {
					last = work(1, 100)
					r.Work(last)
				}
			}}},
			Miners: c, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, end := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		time.Sleep(3 * time.Second)
		if published, _, _ := c.seen(); len(published) > 10 || published[len(published)-1] != last {
			t.Errorf("%d jobs of 1000, the newest among them: %v", len(published), published[len(published)-1] == last)
		}
		end()
		running.Wait()
	})
}

// TestPreferred: the first upstream of the list has 2 s from the start of the sources, and is
// preferred again when it has been back for the hold-down.
func TestPreferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		d := director.New(director.Options{
			Sources: []source.Source{
				&fake{name: "first", script: func(_ context.Context, r source.Reporter) {
					time.Sleep(30 * time.Second)
					r.Work(work(1, 100))
				}},
				&fake{name: "second", script: func(_ context.Context, r source.Reporter) { r.Work(work(1, 100)) }},
			},
			Miners: c, HoldDown: time.Minute, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		})
		time.Sleep(time.Minute) // what comes before the sources run is not theirs
		ctx, end := context.WithCancel(t.Context())
		began := time.Now()
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		for _, want := range []struct {
			at     time.Duration
			active int
		}{{time.Second, -1}, {4 * time.Second, 1}, {85 * time.Second, 1}, {95 * time.Second, 0}} {
			time.Sleep(time.Until(began.Add(want.at)))
			d.Tick()
			active := -1
			states, _ := d.States()
			for i, state := range states {
				if state.Active {
					active = i
				}
			}
			if active != want.active {
				t.Errorf("after %v upstream %d is mined for, want %d", want.at, active, want.active)
			}
		}
		end()
		running.Wait()
	})
}

// TestHanging: a node that does not answer holds up no question to another, and Run lasts
// until all sources have ended.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		give := func(tip byte) func(context.Context, source.Reporter) {
			return func(_ context.Context, r source.Reporter) { r.Work(work(tip, 100)) }
		}
		one, two := make(chan chainhash.Hash, 1000), make(chan chainhash.Hash, 1000)
		d := director.New(director.Options{
			Sources: []source.Source{
				&fake{name: "pool", kind: upstream.Pool, script: give(7)},
				&hanging{fake{name: "one", script: give(8), asked: one}},
				&hanging{fake{name: "two", script: give(8), asked: two}},
			},
			Miners: &crowd{}, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, end := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		for range 10 {
			time.Sleep(time.Second)
			d.Tick()
		}
		if len(one) == 0 || len(two) == 0 {
			t.Errorf("asked %d and %d times", len(one), len(two))
		}
		ended := time.Now()
		end()
		running.Wait()
		if took := time.Since(ended); took != 5*time.Second {
			t.Errorf("Run ended %v after its context, the sources after 5 s", took)
		}
	})
}

// TestEarlyPool: the least time that a node names is known to who decides: a pool whose job is
// before it is not mined for.
func TestEarlyPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		early, late := work(1, 100), work(1, 100)
		late.MinTime, late.Time = early.Time+1, early.Time+1
		d := run(t, c,
			&fake{name: "pool", kind: upstream.Pool, script: func(_ context.Context, r source.Reporter) { r.Work(early) }},
			&fake{name: "node", script: func(_ context.Context, r source.Reporter) { r.Work(late) }, asked: make(chan chainhash.Hash, 1000)})
		time.Sleep(10 * time.Second)
		if states, _ := d.States(); states[0].Active || !states[1].Active {
			t.Errorf("%+v", states)
		}
	})
}
