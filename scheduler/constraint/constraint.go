// Package constraint is the language of --constraint: where tasks may run, in the form
// that Marathon's operators know.
//
//	hostname:UNLIKE:gpu-.*
//	rack:MAX_PER:2
//	@zone:GROUP_BY:3
//
// ParseAll makes a List. What an agent's offer says of the fields that matter is its
// Place, and a Tally, which knows how many tasks run where, judges places by the list.
// Nothing here knows of tasks or of a scheduler.
package constraint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Operators.
const (
	Is      = "IS"       // the field is the value
	Like    = "LIKE"     // the whole field matches a regular expression (RE2)
	Unlike  = "UNLIKE"   // it does not, or the agent has no such field
	Unique  = "UNIQUE"   // no two tasks where the field is the same
	Cluster = "CLUSTER"  // all tasks where the field is the same: the value, or that of the first task
	GroupBy = "GROUP_BY" // tasks spread evenly over the field's values, of which there are so many at least
	MaxPer  = "MAX_PER"  // at most so many tasks for each value of the field
)

var operators = []string{Is, Like, Unlike, Unique, Cluster, GroupBy, MaxPer}

// Fields that are no attributes. Both names of the host mean the same.
const (
	Hostname = "@hostname"
	Region   = "@region"
	Zone     = "@zone"

	plainHostname = "hostname"
)

const (
	// mostText bounds the text of a constraint, mostConstraints how many there may be.
	mostText        = 255
	mostConstraints = 20
	// mostNumber bounds the numbers of GROUP_BY and MAX_PER.
	mostNumber = 1_000_000
)

// Constraint is one condition.
type Constraint struct {
	Field    string // Hostname, Region, Zone, or the name of an attribute
	Operator string
	Value    string // "": none

	text   string
	canon  string         // Value as Mesos would print it, of Is and Cluster
	number int            // of GroupBy and MaxPer
	like   *regexp.Regexp // of Like and Unlike
}

// List is constraints that must all hold.
type List []Constraint

// String is the constraint as it was written.
func (c Constraint) String() string { return c.text }

// String is the list as it may be written.
func (l List) String() string {
	texts := make([]string, len(l))
	for i, c := range l {
		texts[i] = c.text
	}
	return strings.Join(texts, ";")
}

// ParseAll reads texts of one constraint each, or of several with semicolons between
// them, which no attribute of Mesos can contain.
func ParseAll(texts []string) (List, error) {
	var list List
	for _, text := range texts {
		for part := range strings.SplitSeq(text, ";") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			c, err := Parse(part)
			if err != nil {
				return nil, err
			}
			list = append(list, c)
		}
	}
	if len(list) > mostConstraints {
		return nil, fmt.Errorf("there are %d constraints: want at most %d", len(list), mostConstraints)
	}
	return list, list.contradiction()
}

// Parse reads FIELD:OPERATOR or FIELD:OPERATOR:VALUE.
func Parse(text string) (Constraint, error) {
	c := Constraint{text: text}
	fail := func(format string, args ...any) (Constraint, error) {
		return Constraint{}, fmt.Errorf("%q: "+format, append([]any{limited(text)}, args...)...)
	}
	if len(text) > mostText {
		return fail("it has %d characters: want at most %d", len(text), mostText)
	}
	field, rest, found := strings.Cut(text, ":")
	if !found {
		return fail("want FIELD:OPERATOR or FIELD:OPERATOR:VALUE, as in hostname:UNIQUE or rack:MAX_PER:2")
	}
	operator, value, _ := strings.Cut(rest, ":")
	c.Field, c.Operator, c.Value = strings.TrimSpace(field), strings.ToUpper(strings.TrimSpace(operator)), strings.TrimSpace(value)
	switch {
	case c.Field == "":
		return fail("it names no field: want hostname, @region, @zone or an attribute, as in rack:LIKE:r[1-3]")
	case strings.HasPrefix(c.Field, "@") && c.Field != Hostname && c.Field != Region && c.Field != Zone:
		return fail("there is no field %s: want @hostname, @region, @zone or an attribute, as in @zone:GROUP_BY:3", c.Field)
	case !slices.Contains(operators, c.Operator):
		return fail("there is no operator %q: want one of %s, as in %s:LIKE:a.*", operator, strings.Join(operators, ", "), c.Field)
	}
	if c.Field == plainHostname {
		c.Field = Hostname
	}
	if err := c.takeValue(); err != nil {
		return fail("%w, as in %s:%s%s", err, strings.TrimSpace(field), c.Operator, examples[c.Operator])
	}
	return c, nil
}

// examples are values for the operators.
var examples = map[string]string{
	Is: ":a", Like: ":a.*", Unlike: ":a.*", Unique: "", Cluster: ":a", GroupBy: ":3", MaxPer: ":2",
}

// takeValue understands the value of an operator that is known.
func (c *Constraint) takeValue() (err error) {
	switch c.Operator {
	case Unique:
		if c.Value != "" {
			return fmt.Errorf("%s takes no value", c.Operator)
		}
	case Is:
		if c.Value == "" {
			return fmt.Errorf("%s needs the value that is wanted", c.Operator)
		}
		c.canon = c.canonical()
	case Cluster:
		c.canon = c.canonical()
	case Like, Unlike:
		if c.Value == "" {
			return fmt.Errorf("%s needs a regular expression", c.Operator)
		}
		if c.like, err = regexp.Compile(`^(?:` + c.Value + `)$`); err != nil {
			return fmt.Errorf("%s is no regular expression (RE2): %w", strconv.Quote(c.Value), regexpError(err))
		}
	case GroupBy, MaxPer:
		if c.Value == "" && c.Operator == GroupBy {
			c.number = 1
			break
		}
		n, err := strconv.Atoi(c.Value)
		if err != nil || n < 1 || n > mostNumber {
			return fmt.Errorf("%s needs a number from 1 to %d", c.Operator, mostNumber)
		}
		c.number = n
	}
	return nil
}

// regexpError leaves out what Parse put around the expression.
func regexpError(err error) error {
	text := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	text, _, _ = strings.Cut(text, ": `^(?:")
	return errors.New(text)
}

func limited(text string) string {
	if len(text) > 80 {
		return text[:80] + "…"
	}
	return text
}

// canonical is the value as Mesos prints an attribute. Names of hosts, regions and
// zones are what they are.
func (c *Constraint) canonical() string {
	switch c.Field {
	case Hostname, Region, Zone:
		return c.Value
	}
	return canonical(c.Value)
}

// fixed says whether the constraint looks at nothing but the place, and static whether
// it then holds for a value.
func (c *Constraint) fixed() bool {
	switch c.Operator {
	case Is, Like, Unlike:
		return true
	}
	return c.Operator == Cluster && c.Value != ""
}

func (c *Constraint) static(value string) bool {
	switch c.Operator {
	case Is, Cluster:
		return value == c.Value || value == c.canon
	case Like:
		return c.like.MatchString(value)
	}
	return !c.like.MatchString(value)
}

// contradiction says which constraints no agent can ever meet together.
func (l List) contradiction() error {
	for i := range l {
		c := &l[i]
		if c.Operator != Is && (c.Operator != Cluster || c.Value == "") {
			continue
		}
		for j := range l {
			if o := &l[j]; o.Field == c.Field && o.fixed() && !o.static(c.Value) && !o.static(c.canon) {
				return fmt.Errorf("%q and %q contradict each other: no agent can meet both", limited(c.text), limited(o.text))
			}
		}
	}
	return nil
}

// Fields are those that some lists look at, in order.
func Fields(lists ...List) []string {
	var fields []string
	for _, l := range lists {
		for _, c := range l {
			fields = append(fields, c.Field)
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}
