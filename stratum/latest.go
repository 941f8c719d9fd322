package stratum

import "sync"

// latest hands over assignments, the newest always: no reader is waited for.
type latest struct {
	c chan Assignment // of capacity 1

	mu sync.Mutex // held to send
}

func newLatest() *latest { return &latest{c: make(chan Assignment, 1)} }

func (l *latest) put(a Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case missed := <-l.c:
		if a.Job != nil && !a.Job.Clean && (missed.Job == nil || missed.Job.Clean) {
			clean := *a.Job
			clean.Clean = true
			a.Job = &clean
		}
	default:
	}
	l.c <- a // there is space: only put fills it
}

// restore gives back what was taken, unless there is something newer.
func (l *latest) restore(a Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case newer := <-l.c:
		if newer.Job != nil && !newer.Job.Clean && (a.Job == nil || a.Job.Clean) {
			clean := *newer.Job
			clean.Clean = true
			newer.Job = &clean
		}
		a = newer
	default:
	}
	l.c <- a
}
