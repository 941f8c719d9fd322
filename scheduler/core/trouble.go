package core

import (
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
