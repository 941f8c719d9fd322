package constraint

import "fmt"

// Tally counts tasks by what the constraints of a list look at, so that judging a place
// costs a look at each constraint, however many tasks there are.
type Tally struct {
	list   List
	groups []*groups // of each constraint that counts; nil: it does not
	freed  uint64
}

// groups are the numbers of tasks by value of a field.
type groups struct {
	tasks map[string]int // by value; there are some
	sizes map[int]int    // how many values have that many tasks
	least int            // tasks of a value; 0: there is no value
}

// NewTally returns a tally of no tasks.
func NewTally(list List) *Tally {
	t := &Tally{list: list, groups: make([]*groups, len(list))}
	for i := range list {
		if !list[i].fixed() {
			t.groups[i] = &groups{tasks: make(map[string]int), sizes: make(map[int]int)}
		}
	}
	return t
}

// Add counts n more tasks at a place, or fewer if n is negative.
func (t *Tally) Add(p Place, n int) {
	if t.add(p, n) {
		t.freed++
	}
}

// Freed grows whenever places may be allowed that were not before.
func (t *Tally) Freed() uint64 { return t.freed }

func (t *Tally) add(p Place, n int) (freed bool) {
	for i, g := range t.groups {
		if g == nil {
			continue
		}
		value, ok := p[t.list[i].Field]
		if !ok {
			continue
		}
		before, least, values := g.tasks[value], g.least, len(g.tasks)
		g.add(value, n)
		switch c := &t.list[i]; c.Operator {
		case Unique:
			freed = freed || before >= 1 && g.tasks[value] < 1
		case MaxPer:
			freed = freed || before >= c.number && g.tasks[value] < c.number
		case Cluster:
			freed = freed || values > 0 && len(g.tasks) != values
		case GroupBy:
			freed = freed || n < 0 || g.least > least || values < c.number && len(g.tasks) >= c.number
		}
	}
	return freed
}

func (g *groups) add(value string, n int) {
	before := g.tasks[value]
	now := max(0, before+n)
	if before > 0 {
		if g.sizes[before]--; g.sizes[before] == 0 {
			delete(g.sizes, before)
		}
	}
	if now > 0 {
		g.tasks[value] = now
		g.sizes[now]++
	} else {
		delete(g.tasks, value)
	}
	switch {
	case len(g.tasks) == 0:
		g.least = 0
	case now > 0 && (now < g.least || g.least == 0):
		g.least = now
	case g.sizes[g.least] == 0:
		// There are few different sizes: n tasks make at most √2n.
		g.least = 0
		for size := range g.sizes {
			if g.least == 0 || size < g.least {
				g.least = size
			}
		}
	}
}

// Exceeded says that there are more tasks at a place than may be together, as one came
// back that had been replaced.
func (t *Tally) Exceeded(p Place) bool {
	for i, g := range t.groups {
		c := &t.list[i]
		if value, ok := p[c.Field]; ok &&
			(c.Operator == Unique && g.tasks[value] > 1 || c.Operator == MaxPer && g.tasks[value] > c.number) {
			return true
		}
	}
	return false
}

// Refusal is why a place may not have a task.
type Refusal struct {
	Text string
	// Fixed says that it will never be allowed, whatever other tasks do.
	Fixed bool
}

// Judge says why a place may not have another task, beside those that are counted and
// planned ones at the same place; nil: it may.
func (t *Tally) Judge(p Place, planned int) *Refusal {
	if planned > 0 {
		t.add(p, planned)
		defer t.add(p, -planned)
	}
	for i := range t.list {
		if r := t.list[i].judge(p, t.groups[i]); r != nil {
			return r
		}
	}
	return nil
}

func (c *Constraint) judge(p Place, g *groups) *Refusal {
	value, ok := p[c.Field]
	switch {
	case !ok && c.Operator == Unlike:
		return nil
	case !ok:
		return c.refuse(true, "its agent has no %s", c.Field)
	case g == nil && c.static(value):
		return nil
	case g == nil && c.Field == Hostname: // else every agent would have a reason of its own
		return c.refuse(true, "its agent is another")
	case g == nil:
		return c.refuse(true, "%s is %s", c.Field, limited(value))
	}
	here := g.tasks[value]
	where := "at this agent"
	if c.Field != Hostname {
		where = "where " + c.Field + " is " + limited(value)
	}
	switch c.Operator {
	case Unique:
		if here > 0 {
			return c.refuse(false, "there is one %s", where)
		}
	case MaxPer:
		if here >= c.number {
			return c.refuse(false, "there are as many as may be %s", where)
		}
	case Cluster:
		if len(g.tasks) > 0 && here == 0 {
			return c.refuse(false, "the others are elsewhere")
		}
	case GroupBy:
		switch {
		case here == 0: // a new group
		case len(g.tasks) < c.number:
			return c.refuse(false, "there are some %s, and none in other groups yet", where)
		case here > g.least:
			return c.refuse(false, "there are more %s than in other groups", where)
		}
	}
	return nil
}

func (c *Constraint) refuse(fixed bool, format string, args ...any) *Refusal {
	return &Refusal{Text: "constraint " + limited(c.text) + ": " + fmt.Sprintf(format, args...), Fixed: fixed}
}
