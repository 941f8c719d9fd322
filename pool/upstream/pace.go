package upstream

import "time"

// Miners get jobsBurst jobs at once at most, and one each jobsInterval after that. People
// are told as sparingly why a source gives no work.
const (
	jobsBurst     = 4
	jobsInterval  = 500 * time.Millisecond
	wordsBurst    = 4
	wordsInterval = time.Minute
)

// pace bounds how often something happens: it is the time up to which the allowance is
// used up, in a bucket of so many intervals.
type pace struct{ used time.Time }

// next is when it may happen again: now, or later.
func (p *pace) next(now time.Time, burst int, interval time.Duration) time.Time {
	if at := p.used.Add(-time.Duration(burst-1) * interval); at.After(now) {
		return at
	}
	return now
}

// take notes that it happens.
func (p *pace) take(now time.Time, interval time.Duration) {
	if p.used.Before(now) {
		p.used = now
	}
	p.used = p.used.Add(interval)
}

// ready reports whether it may happen now, and if so notes that it does.
func (p *pace) ready(now time.Time, burst int, interval time.Duration) bool {
	if p.next(now, burst, interval).After(now) {
		return false
	}
	p.take(now, interval)
	return true
}
