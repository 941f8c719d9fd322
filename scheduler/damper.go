package scheduler

import (
	"time"

	"lode/scheduler/rule"
)

const (
	// A rule that holds again within dampAgain after it ended is one that goes to and fro: from
	// then on it has to be over for dampFirst before miners go on, and twice as long, up to
	// dampMost, each time that happens again.
	dampAgain = time.Minute
	dampFirst = 2 * time.Second
	dampMost  = 2 * time.Minute
	// dampForget is after how long without a pause the next one ends at once again.
	dampForget = 15 * time.Minute
)

// damper turns what a rule says into pauses. They begin and end at once, until the rule goes
// to and fro, as one about the cluster's own watts does, which fall in each pause: then they
// begin at once and end later. The zero value is ready.
type damper struct {
	on    bool
	ended time.Time     // the last pause; zero: there was none
	over  time.Time     // since when the rule does not hold, in a pause; zero: it does
	hold  time.Duration // for how long it must not
}

// see takes what the rule says now, and says whether mining is to be paused. What is not
// known changes nothing.
func (d *damper) see(now time.Time, truth rule.Truth) (pause bool) {
	switch {
	case truth == rule.True && !d.on:
		switch since := now.Sub(d.ended); {
		case d.ended.IsZero() || since >= dampForget:
			d.hold = 0
		case since < dampAgain:
			d.hold = min(dampMost, max(dampFirst, 2*d.hold))
		}
		d.on, d.over = true, time.Time{}
	case truth == rule.True:
		d.over = time.Time{}
	case truth == rule.False && d.on:
		if d.over.IsZero() {
			d.over = now
		}
		if now.Sub(d.over) >= d.hold {
			d.on, d.ended = false, now
		}
	}
	return d.on
}
