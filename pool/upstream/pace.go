package upstream

import "time"

// Miners get paceBurst jobs at once at most, and one each paceInterval after that.
const (
	paceBurst    = 4
	paceInterval = 500 * time.Millisecond
)

// pace bounds how often something happens: it is the time up to which the allowance is
// used up, in a bucket of paceBurst.
type pace struct{ used time.Time }

// next is when it may happen again: now, or later.
func (p *pace) next(now time.Time) time.Time {
	if at := p.used.Add(-(paceBurst - 1) * paceInterval); at.After(now) {
		return at
	}
	return now
}

// take notes that it happens.
func (p *pace) take(now time.Time) {
	if p.used.Before(now) {
		p.used = now
	}
	p.used = p.used.Add(paceInterval)
}
