package constraint

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func parse(t interface {
	Helper()
	Fatal(...any)
}, texts ...string,
) List {
	t.Helper()
	list, err := ParseAll(texts)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestWhereTheOthersAre judges racks in the light of where tasks are.
func TestWhereTheOthersAre(t *testing.T) {
	for _, test := range []struct {
		constraint, tasks string // a rack for each task
		allowed           string // of the racks a, b, c and d
	}{
		{"rack:UNIQUE", "", "a b c d"},
		{"rack:UNIQUE", "a c", "b d"},
		{"rack:MAX_PER:2", "a a b", "b c d"},
		{"rack:MAX_PER:1", "a b c d", ""},
		{"rack:CLUSTER", "", "a b c d"},
		{"rack:CLUSTER", "b b", "b"},
		{"rack:CLUSTER", "b c", "b c"}, // they were there before the constraint
		{"rack:GROUP_BY", "", "a b c d"},
		{"rack:GROUP_BY", "a", "a b c d"}, // nobody knows of other racks yet
		{"rack:GROUP_BY", "a a b", "b c d"},
		{"rack:GROUP_BY", "a b c d", "a b c d"},
		{"rack:GROUP_BY:3", "a", "b c d"},
		{"rack:GROUP_BY:3", "a b", "c d"},
		{"rack:GROUP_BY:3", "a b c", "a b c d"},
		{"rack:GROUP_BY:3", "a a b c", "b c d"},
		{"rack:GROUP_BY:9", "a b c d", ""},
	} {
		tally := NewTally(parse(t, test.constraint))
		for rack := range strings.FieldsSeq(test.tasks) {
			tally.Add(Place{"rack": rack}, 1)
		}
		var allowed []string
		for _, rack := range []string{"a", "b", "c", "d"} {
			r := tally.Judge(Place{"rack": rack}, 0)
			if r == nil {
				allowed = append(allowed, rack)
			} else if r.Fixed {
				t.Errorf("%s with tasks in %q: %q is said to be so for ever", test.constraint, test.tasks, r.Text)
			}
		}
		if got := strings.Join(allowed, " "); got != test.allowed {
			t.Errorf("%s with tasks in %q allows %q, want %q", test.constraint, test.tasks, got, test.allowed)
		}
	}
}

// model judges as Tally does, from a list of all tasks.
type model struct {
	list  List
	tasks []Place
}

func (m *model) allows(p Place) bool {
	return !slices.ContainsFunc(m.list, func(c Constraint) bool { return !m.allow(c, p) })
}

func (m *model) allow(c Constraint, p Place) bool {
	value, ok := p[c.Field]
	if !ok {
		return c.Operator == Unlike
	}
	counts := map[string]int{}
	for _, t := range m.tasks {
		if v, ok := t[c.Field]; ok {
			counts[v]++
		}
	}
	least := 0
	for _, n := range counts {
		if least == 0 || n < least {
			least = n
		}
	}
	switch c.Operator {
	case Is:
		return value == c.Value
	case Like:
		return strings.Contains(c.Value, value)
	case Unlike:
		return !strings.Contains(c.Value, value)
	case Unique:
		return counts[value] == 0
	case MaxPer:
		return counts[value] < c.number
	case Cluster:
		return c.Value != "" && value == c.Value || c.Value == "" && (len(counts) == 0 || counts[value] > 0)
	}
	return counts[value] == 0 || len(counts) >= c.number && counts[value] == least
}

// TestTallyIsTheModel adds and removes tasks at random, and compares with what looks
// at all tasks each time; and Freed grows whenever a place is allowed anew.
func TestTallyIsTheModel(t *testing.T) {
	operators := []string{"IS:a", "LIKE:a|b|c", "UNLIKE:a|b", "UNIQUE", "CLUSTER:b", "CLUSTER", "GROUP_BY", "GROUP_BY:2", "GROUP_BY:3", "MAX_PER:1", "MAX_PER:3"}
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		for i := range rapid.IntRange(0, 3).Draw(t, "constraints") {
			texts = append(texts, fmt.Sprintf("%s:%s", []string{"x", "y"}[i%2], rapid.SampledFrom(operators).Draw(t, "operator")))
		}
		list, err := ParseAll(texts)
		if err != nil {
			t.Skip("a contradiction")
		}
		places := []Place{{}, {"x": "a"}, {"y": "b"}}
		for _, x := range []string{"a", "b", "c", "d"} {
			for _, y := range []string{"a", "b", "e"} {
				places = append(places, Place{"x": x, "y": y})
			}
		}
		m, tally := &model{list: list}, NewTally(list)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			freed := tally.Freed()
			var before []bool
			for _, p := range places {
				before = append(before, m.allows(p))
			}
			if n := len(m.tasks); n > 0 && rapid.Bool().Draw(t, "ends") {
				i := rapid.IntRange(0, n-1).Draw(t, "which")
				tally.Add(m.tasks[i], -1)
				m.tasks = slices.Delete(m.tasks, i, i+1)
			} else {
				p := rapid.SampledFrom(places).Draw(t, "where")
				tally.Add(p, 1)
				m.tasks = append(m.tasks, p)
			}
			for i, p := range places {
				allows := m.allows(p)
				if r := tally.Judge(p, 0); (r == nil) != allows {
					t.Fatalf("%v with %v: %v is judged %+v, allowed %t", list, m.tasks, p, r, allows)
				}
				if allows && !before[i] && tally.Freed() == freed {
					t.Fatalf("%v with %v: %v is allowed anew, and nobody is told", list, m.tasks, p)
				}
			}
			// Planned tasks count like others, and judging changes nothing.
			p := rapid.SampledFrom(places).Draw(t, "planned at")
			planned := &model{list: list, tasks: append(slices.Clone(m.tasks), p, p)}
			if r := tally.Judge(p, 2); (r == nil) != planned.allows(p) {
				t.Fatalf("%v with %v and two planned: %v is judged %+v", list, m.tasks, p, r)
			}
			if tally.Exceeded(p) != m.exceeded(p) {
				t.Fatalf("%v with %v: %v exceeded %t", list, m.tasks, p, tally.Exceeded(p))
			}
		}
	})
}

func (m *model) exceeded(p Place) bool {
	for _, c := range m.list {
		n := 0
		for _, t := range m.tasks {
			if v, ok := t[c.Field]; ok && v == p[c.Field] {
				n++
			}
		}
		if c.Operator == Unique && n > 1 || c.Operator == MaxPer && n > c.number {
			return true
		}
	}
	return false
}

// BenchmarkJudge is what an offer costs beside 50,000 tasks, each on a host of its own.
func BenchmarkJudge(b *testing.B) {
	tally := NewTally(parse(b, "hostname:GROUP_BY", "rack:MAX_PER:100", "zone:LIKE:z[0-9]"))
	var places []Place
	for i := range 50_000 {
		p := Place{Hostname: fmt.Sprint("h", i), "rack": fmt.Sprint("r", i/100), "zone": "z1"}
		places = append(places, p)
		tally.Add(p, 1)
	}
	b.ReportAllocs()
	for i := range b.N {
		p := places[i%len(places)]
		tally.Add(p, -1)
		tally.Judge(p, 0)
		tally.Add(p, 1)
	}
}
