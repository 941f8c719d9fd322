package core

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// trouble is something that an operator has to look at: it stands on top of the
// status until it is over.
type trouble struct {
	since, last time.Time
	text        string
}

// troubleLife is for how long a trouble stands without happening again.
const troubleLife = 25 * time.Minute

// troubled notes that something went wrong (again).
func (c *Core) troubled(kind, text string) {
	if c.troubles == nil {
		c.troubles = make(map[string]*trouble)
	}
	t := c.troubles[kind]
	if t == nil {
		t = &trouble{since: c.now}
		c.troubles[kind] = t
	}
	t.last, t.text = c.now, text
}

// starvedAfter is how long a new framework waits until it is told who may have what it
// waits for.
const starvedAfter = 30 * time.Second

// watchFormer says how to end the framework of before when nothing is left for this one.
func (c *Core) watchFormer() {
	switch {
	case c.state.Former == "":
	case c.best() == healthServing:
		c.state.Former, c.dirty = "", true
		c.settle("former")
	case c.connected && len(c.tasks) == 0 && c.clock-c.recon.started >= starvedAfter:
		text := fmt.Sprintf("nothing can be launched; framework %[1]s, which --new-framework left behind, may have the resources: "+
			"end it by lode teardown --master http://%[2]s %[1]s", c.state.Former, c.master)
		if c.troubles["former"] == nil {
			c.notice(slog.LevelWarn, text)
		}
		c.troubled("former", text)
	}
}

// settle notes that it went well.
func (c *Core) settle(kind string) { delete(c.troubles, kind) }

func (c *Core) forgetTroubles() {
	maps.DeleteFunc(c.troubles, func(_ string, t *trouble) bool { return c.now.Sub(t.last) > troubleLife })
}

// Problems are what an operator has to look at.
func (c *Core) Problems() []Problem {
	list := []Problem{}
	for _, kind := range slices.Sorted(maps.Keys(c.troubles)) {
		t := c.troubles[kind]
		list = append(list, Problem{Kind: kind, Since: t.since, Text: t.text})
	}
	return list
}
