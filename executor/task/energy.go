package task

import (
	"context"
	"sync"
	"time"

	"lode/internal/sleep"
	"lode/miner"
)

const (
	// energyEvery is the time between two pauses that tell what hashing costs, and
	// energyStretch their length: 0.3 % of the time.
	energyEvery   = 10 * time.Minute
	energyStretch = 2 * time.Second
	// energySettle is how long the power may take to follow.
	energySettle = 200 * time.Millisecond
)

// energyProbe finds what the hashes of a task cost, where the power of the processors can
// be read.
type energyProbe struct {
	measure func(now time.Time) miner.Load // since the call before
	hashes  func() uint64
	hold    func(paused bool)
	rand    func() float64

	mu    sync.Mutex
	costs miner.Costs
}

// run pauses the hashing now and then until ctx ends.
func (p *energyProbe) run(ctx context.Context) {
	for sleep.For(ctx, jittered(energyEvery, p.rand)) == nil {
		before, ok := p.stretch(ctx)
		if !ok || before.Watts == 0 || before.Hashes == 0 {
			continue // nothing can be read, or there is no work
		}
		p.hold(true)
		pause, _ := p.stretch(ctx)
		p.hold(false)
		after, ok := p.stretch(ctx)
		if cost, good := miner.Marginal(before, pause, after); ok && good {
			p.mu.Lock()
			p.costs.Add(cost)
			p.mu.Unlock()
		}
	}
}

// stretch is what happens in a while; ok: ctx did not end.
func (p *energyProbe) stretch(ctx context.Context) (s miner.Stretch, ok bool) {
	if sleep.For(ctx, energySettle) != nil {
		return s, false
	}
	begin, hashes := time.Now(), p.hashes()
	p.measure(begin)
	if sleep.For(ctx, energyStretch) != nil {
		return s, false
	}
	now := time.Now()
	return miner.Stretch{Load: p.measure(now), Hashes: p.hashes() - hashes, Time: now.Sub(begin)}, true
}

// cost is in joules for 10^9 hashes; 0: not known.
func (p *energyProbe) cost() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.costs.Median()
}
