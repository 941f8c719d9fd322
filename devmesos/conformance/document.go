package conformance

import (
	"maps"
	"strconv"
	"strings"
)

// Doc is a Mesos message in its JSON form: field names in snake_case, enums by
// name, bytes in base64. Messages are kept in this form, not in generated types, so
// that fields and enum names unknown to any library stay visible.
type Doc = map[string]any

// at follows a dotted path through documents and lists; nil where it ends.
func at(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case Doc:
			v = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func has(v any, path string) bool { return at(v, path) != nil }

func text(v any, path string) string {
	s, _ := at(v, path).(string)
	return s
}

func number(v any, path string) float64 {
	f, _ := at(v, path).(float64)
	return f
}

func items(v any, path string) []any {
	l, _ := at(v, path).([]any)
	return l
}

// value wraps an id: {"value": s}.
func value(s string) Doc { return Doc{"value": s} }

func values(ids ...string) []any {
	l := make([]any, 0, len(ids))
	for _, s := range ids {
		l = append(l, value(s))
	}
	return l
}

func list[T any](xs ...T) []any {
	l := make([]any, 0, len(xs))
	for _, x := range xs {
		l = append(l, x)
	}
	return l
}

// merge returns a shallow copy of base with the fields of more.
func merge(base Doc, more ...Doc) Doc {
	d := maps.Clone(base)
	if d == nil {
		d = Doc{}
	}
	for _, m := range more {
		maps.Copy(d, m)
	}
	return d
}

// transform returns a deep copy of v with every string passed through f.
func transform(v any, f func(string) string) any {
	switch x := v.(type) {
	case Doc:
		d := make(Doc, len(x))
		for k, e := range x {
			d[k] = transform(e, f)
		}
		return d
	case []any:
		l := make([]any, len(x))
		for i, e := range x {
			l[i] = transform(e, f)
		}
		return l
	case string:
		return f(x)
	}
	return v
}

// prune drops nulls (unset fields, as some JSON encoders write them).
func prune(v any) any {
	switch x := v.(type) {
	case Doc:
		for k, e := range x {
			if e == nil {
				delete(x, k)
				continue
			}
			x[k] = prune(e)
		}
	case []any:
		for i, e := range x {
			x[i] = prune(e)
		}
	}
	return v
}

// scalar makes a scalar resource, e.g. scalar("cpus", 0.1).
func scalar(name string, v float64) Doc {
	return Doc{"name": name, "type": "SCALAR", "scalar": Doc{"value": v}}
}

func portRange(first, last float64) Doc {
	return Doc{"name": "ports", "type": "RANGES", "ranges": Doc{"range": list(Doc{"begin": first, "end": last})}}
}

// small are the resources of a task or an executor in these checks.
func small() []any { return list(scalar("cpus", 0.1), scalar("mem", 32)) }

// amount sums the scalar resources called name of a list, in thousandths: Mesos
// calculates with three decimals.
func amount(resources []any, name string) int64 {
	var sum int64
	for _, r := range resources {
		if text(r, "name") == name && !has(r, "revocable") {
			sum += milli(number(r, "scalar.value"))
		}
	}
	return sum
}

func milli(f float64) int64 {
	if f < 0 {
		return int64(f*1000 - 0.5)
	}
	return int64(f*1000 + 0.5)
}
