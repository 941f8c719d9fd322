// Package rule is the language of --pause-when: comparisons of named signals, numbers
// and times of the day, joined by and, or, not and parentheses.
//
//	price > 0.30
//	time >= 17:00 and time < 20:30 or others > 0.8
//
// A rule is pure: Parse makes one, Eval says whether it holds for given values. A signal
// whose value is not known makes a comparison unknown, and the rule too unless the rest
// decides.
package rule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Truth is the value of a rule.
type Truth int8

// Values of a rule.
const (
	False   Truth = -1
	Unknown Truth = 0
	True    Truth = 1
)

// Time is the signal that every rule has: the time of the day, as HH:MM.
const Time = "time"

// Rule is a parsed rule.
type Rule struct {
	text string
	root node
}

// node is a part of a rule.
type node interface {
	eval(minutes float64, values map[string]float64) Truth
	signals(add func(string))
	String() string
}

type (
	comparison struct {
		left, right term
		operator    string
	}
	// term is a number, or a signal with a name.
	term struct {
		name  string
		value float64
		clock bool // value is minutes of the day
	}
	negation struct{ of node }
	// junction is a conjunction or a disjunction.
	junction struct {
		all   bool
		parts []node
	}
)

// Eval says whether the rule holds at a time, whose location counts, for values of
// signals. A value that is no number is not known.
func (r *Rule) Eval(now time.Time, values map[string]float64) Truth {
	return r.root.eval(float64(now.Hour()*60+now.Minute()), values)
}

// Signals lists the names that the rule asks for, but for Time, in order.
func (r *Rule) Signals() []string {
	var names []string
	r.root.signals(func(name string) {
		if name != "" && name != Time && !slices.Contains(names, name) {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names
}

// String is the rule with all of its parentheses.
func (r *Rule) String() string { return r.root.String() }

func (c *comparison) eval(minutes float64, values map[string]float64) Truth {
	a, known := c.left.of(minutes, values)
	b, also := c.right.of(minutes, values)
	if !known || !also {
		return Unknown
	}
	holds := false
	switch c.operator {
	case "<":
		holds = a < b
	case "<=":
		holds = a <= b
	case ">":
		holds = a > b
	case ">=":
		holds = a >= b
	case "==":
		holds = a == b
	case "!=":
		holds = a != b
	}
	if holds {
		return True
	}
	return False
}

func (t *term) of(minutes float64, values map[string]float64) (float64, bool) {
	switch t.name {
	case "":
		return t.value, true
	case Time:
		return minutes, true
	}
	v, ok := values[t.name]
	return v, ok && !math.IsNaN(v)
}

func (n *negation) eval(minutes float64, values map[string]float64) Truth {
	return -n.of.eval(minutes, values)
}

func (j *junction) eval(minutes float64, values map[string]float64) Truth {
	truth := j.parts[0].eval(minutes, values)
	for _, p := range j.parts[1:] {
		next := p.eval(minutes, values)
		if j.all {
			truth = min(truth, next)
		} else {
			truth = max(truth, next)
		}
	}
	return truth
}

func (c *comparison) signals(add func(string)) {
	add(c.left.name)
	add(c.right.name)
}

func (n *negation) signals(add func(string)) { n.of.signals(add) }

func (j *junction) signals(add func(string)) {
	for _, p := range j.parts {
		p.signals(add)
	}
}

func (c *comparison) String() string {
	return c.left.String() + " " + c.operator + " " + c.right.String()
}

func (t *term) String() string {
	switch {
	case t.name != "":
		return t.name
	case t.clock:
		return fmt.Sprintf("%02d:%02d", int(t.value)/60, int(t.value)%60)
	}
	return strconv.FormatFloat(t.value, 'g', -1, 64)
}

func (n *negation) String() string { return "not (" + n.of.String() + ")" }

func (j *junction) String() string {
	word := " or "
	if j.all {
		word = " and "
	}
	var parts []string
	for _, p := range j.parts {
		parts = append(parts, "("+p.String()+")")
	}
	return strings.Join(parts, word)
}
