package load

import (
	"context"
	"fmt"
	"time"
)

// endless is longer than any run.
const endless = 1000 * time.Hour

// Control is what the miners of Options.Control have seen.
type Control struct {
	Pool         string `json:"pool"`
	Mining       int    `json:"mining"` // at the end
	Accepted     int64  `json:"accepted"`
	FalseRejects int64  `json:"false_rejects"`
}

// mining are the options of a run of nothing but miners and their shares, as those of o are,
// that lasts until it is ended.
func (o Options) mining() Options {
	m := Options{
		Pool: o.Pool, AllowRemote: o.AllowRemote, CA: o.CA, User: o.User, Password: o.Password, UserAgent: o.UserAgent,
		Connections: o.Connections, Ramp: o.Ramp, Opening: o.Opening, Duration: endless,
		Shares: o.Shares, Difficulty: o.Difficulty, MaxHashes: o.MaxHashes, NoVersionRolling: o.NoVersionRolling,
		Grace: o.Grace, Drain: o.Drain,
	}
	m.setDefaults()
	return m
}

// crowd are attackers that do nothing but mine what costs them nothing: shares are their
// misdeeds. It returns when ctx ends.
func (r *run) crowd(ctx context.Context, h *hostile, kind int) {
	o := r.opts.mining()
	o.Connections, o.Shares, o.Ramp = r.opts.Attackers, r.opts.AttackRate, r.opts.pace()
	c, err := prepare(ctx, o)
	if err != nil { // r itself has been prepared with the same
		h.refused.Add(int64(o.Connections))
		return
	}
	c.kind = kind
	h.crowd.Store(c)
	_ = c.all(ctx) // whatever became of them
}

// atControl are the options of the run at the control.
func (o Options) atControl() Options {
	o.Pool = o.Control
	return o.mining()
}

// accompany runs the control beside r until ctx ends, which is when r has measured.
func (r *run) accompany(ctx context.Context) {
	if err := r.control.all(ctx); err != nil && ctx.Err() == nil {
		r.fail(fmt.Errorf("control: %w", err))
	}
}

// controlReport tells of the control; nil: there is none.
func (r *run) controlReport() *Control {
	c := r.control
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.notes {
		r.remark("control: %s", n)
	}
	return &Control{Pool: c.opts.Pool, Mining: c.atEnd.mining, Accepted: c.shares.accepted.Load(), FalseRejects: c.shares.falseRejects.Load()}
}
