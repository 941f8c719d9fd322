package core

import (
	"cmp"
	"log/slog"
	"strings"
)

// While mining is paused, miners stay connected and do not hash, and no new ones are
// launched. It is paused for as long as anybody wants it to be: an operator, until he
// says otherwise, or the rule of --pause-when, while it holds. Both are stored. Miners
// are told by the list of proxies, which is sent again until they have it.

// paused says that mining is, for whatever reason.
func (c *Core) paused() bool { return c.state.Operator.Paused || c.state.RulePause != "" }

// pausedWhy lists the reasons; "": it is not paused.
func (c *Core) pausedWhy() string {
	var why []string
	if c.state.Operator.Paused {
		why = append(why, "by "+cmp.Or(c.state.Operator.PausedBy, "an operator"))
	}
	if c.state.RulePause != "" {
		why = append(why, "by the rule "+c.state.RulePause)
	}
	return strings.Join(why, " and ")
}

// obeyRule takes the word of the rule.
func (c *Core) obeyRule(e Pause) {
	if e.On == (c.state.RulePause != "") {
		return // else every change of a signal would be stored
	}
	c.changePause(func() {
		if c.state.RulePause = ""; e.On {
			c.state.RulePause = cmp.Or(limit(e.Why, 500), "of --pause-when")
		}
	})
}

// operatorPause takes the word of an operator.
func (c *Core) operatorPause(e *Operate) string {
	c.changePause(func() {
		o := &c.state.Operator
		o.Paused, o.PausedBy = true, limit(e.Who, 255)
		if e.Reason != "" {
			o.PausedBy += " (" + limit(e.Reason, 255) + ")"
		}
	})
	return "mining is paused"
}

func (c *Core) operatorResume() string {
	c.changePause(func() { c.state.Operator.Paused, c.state.Operator.PausedBy = false, "" })
	if c.paused() {
		return "mining stays paused " + c.pausedWhy()
	}
	return "mining goes on"
}

// changePause makes a change that may pause mining, or let it go on.
func (c *Core) changePause(change func()) {
	was, why := c.paused(), c.pausedWhy()
	change()
	if c.pausedWhy() == why {
		return
	}
	c.dirty = true
	switch now := c.paused(); {
	case now == was:
		return
	case now:
		c.notice(slog.LevelInfo, "mining pauses", "why", c.pausedWhy())
	default:
		c.notice(slog.LevelInfo, "mining goes on")
		c.revive.had = need{} // what is wanted again may have been refused for minutes
		if c.lostAt != never {
			c.lostAt = c.clock // miners that were paused missed nothing
		}
	}
	c.publish()
}
