package nodesource

import (
	"time"

	"lode/pool/node"
	"lode/pool/template"
)

// aheadTime is how far a job may be ahead of this machine's clock. Nodes take 2 h, and the
// one that gives the template judges by its own clock.
const aheadTime = time.Hour

// boundClock bounds the time of a template by this machine's clock, and warns of one that is
// off. Whichever is wrong, others take the block: no time before mintime is given.
func (s *Source) boundClock(t *template.Template, now time.Time) *template.Template {
	ahead := time.Unix(int64(t.CurrentTime), 0).Sub(now)
	// Where blocks have pushed mintime ahead, as on testnets, it is what the node gives for its
	// time, which tells nothing of its clock.
	if off := ahead > aheadTime && t.CurrentTime > t.MinTime; off != s.clockOff {
		if s.clockOff = off; off {
			s.log.Warn("the node's clock is ahead of this machine's: jobs get an earlier time, which other nodes take; check the clocks",
				"node", s.node.URL(), "ahead", ahead.Round(time.Second))
		}
	}
	if !s.clockOff || t.FixedTime {
		return t
	}
	bounded := *t
	bounded.CurrentTime = max(t.MinTime, uint32(now.Add(aheadTime).Unix()))
	return &bounded
}

// checkTime refuses a template whose blocks others than the node would refuse for their time.
func checkTime(t *template.Template, now time.Time) error {
	least := t.MinTime
	if t.FixedTime {
		least = max(least, t.CurrentTime)
	}
	return node.CheckTime(least, now)
}
