package nodesource

import (
	"context"
	"errors"
	"time"

	"lode/pool/template"
)

// lateTime is the rule of testnets, in seconds: a block more than this later than the one
// before it may be, and must be, of the least difficulty.
const lateTime = 1200

// bound keeps the time of a testnet's blocks on the side of the rule that the template's
// bits are for; tipTime is that of the block before. crosses is in how many seconds the
// clock comes to the other side; 0: never.
func bound(t *template.Template, tipTime uint32) (bounded *template.Template, crosses uint32) {
	next := *t
	limit := tipTime + lateTime
	now := max(t.CurrentTime, t.MinTime)
	if now > limit {
		next.MinTime = max(t.MinTime, limit+1)
		return &next, 0
	}
	if next.MaxTime == 0 || next.MaxTime > limit {
		next.MaxTime = limit
	}
	return &next, limit + 1 - now
}

// boundTime applies the rule of testnets where the node's network has it.
func (s *Source) boundTime(ctx context.Context, t *template.Template) *template.Template {
	if s.crossing != nil {
		s.crossing.Stop()
	}
	if !s.network.EasyWhenLate(t.Height) {
		return t
	}
	if s.tip != t.PreviousHash {
		h, err := s.node.Header(ctx, t.PreviousHash)
		if err == nil && h.Time == 0 { // btcd, of a block that it has just left
			err = errors.New("the node does not say")
		}
		if err != nil {
			s.log.Debug("cannot tell when the tip was made, its time stays that of the template", "node", s.node.URL(), "error", err)
			fixed := *t
			fixed.FixedTime = true
			return &fixed
		}
		s.tip, s.tipTime = t.PreviousHash, h.Time
	}
	bounded, crosses := bound(t, s.tipTime)
	if crosses > 0 {
		// The template's time is of whole seconds.
		s.crossing = time.AfterFunc(time.Duration(crosses)*time.Second+100*time.Millisecond, s.node.Notify)
	}
	return bounded
}
