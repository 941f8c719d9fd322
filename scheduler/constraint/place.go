package constraint

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Place is where an agent is, by what matters to constraints: the values of fields,
// without those that the agent does not have.
type Place map[string]string

// PlaceOf reads fields from an offer. An attribute that is there twice counts as it
// comes first.
func PlaceOf(o *mesos.Offer, fields []string) Place {
	p := make(Place, len(fields))
	for _, field := range fields {
		if value, ok := valueOf(o, field); ok {
			p[field] = value
		}
	}
	return p
}

func valueOf(o *mesos.Offer, field string) (string, bool) {
	switch field {
	case Hostname:
		return o.Hostname, o.Hostname != ""
	case Region, Zone:
		domain := o.GetDomain().GetFaultDomain()
		if domain == nil {
			return "", false
		}
		if field == Region {
			return domain.Region.Name, true
		}
		return domain.Zone.Name, true
	}
	for i := range o.Attributes {
		if a := &o.Attributes[i]; a.Name == field {
			return attribute(a), true
		}
	}
	return "", false
}

// attribute is an attribute's value as Mesos prints it: 2.5, [1-5, 8-9], {a, b} or
// text.
func attribute(a *mesos.Attribute) string {
	switch a.Type {
	case mesos.SCALAR:
		return scalar(a.GetScalar().GetValue())
	case mesos.RANGES:
		return ranges(slices.Clone(a.GetRanges().GetRange()))
	case mesos.SET:
		return set(slices.Clone(a.GetSet().GetItem()))
	}
	return a.GetText().GetValue()
}

// scalar prints what Mesos keeps of a number: thousandths.
func scalar(v float64) string {
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}

func ranges(list []mesos.Value_Range) string {
	slices.SortFunc(list, func(a, b mesos.Value_Range) int { return cmp.Compare(a.Begin, b.Begin) })
	var joined []mesos.Value_Range
	for _, r := range list {
		if n := len(joined); n > 0 && (r.Begin <= joined[n-1].End || r.Begin-joined[n-1].End == 1) {
			joined[n-1].End = max(joined[n-1].End, r.End)
			continue
		}
		joined = append(joined, r)
	}
	texts := make([]string, len(joined))
	for i, r := range joined {
		texts[i] = strconv.FormatUint(r.Begin, 10) + "-" + strconv.FormatUint(r.End, 10)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func set(items []string) string {
	slices.Sort(items)
	return "{" + strings.Join(slices.Compact(items), ", ") + "}"
}

// canonical writes a value, as an operator may write it, as Mesos prints it: 3.0 is 3,
// [8-9,1-5] is [1-5, 8-9], and {b,a} is {a, b}. Mesos reads attributes in the same
// way, so one that looks like a number is one.
func canonical(value string) string {
	trimmed := strings.TrimSpace(value)
	inside := func(open, closing string) (parts []string, ok bool) {
		rest, opened := strings.CutPrefix(trimmed, open)
		rest, closed := strings.CutSuffix(rest, closing)
		if !opened || !closed {
			return nil, false
		}
		for part := range strings.SplitSeq(rest, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, part)
			}
		}
		return parts, true
	}
	if parts, ok := inside("{", "}"); ok {
		return set(parts)
	}
	if parts, ok := inside("[", "]"); ok {
		var list []mesos.Value_Range
		for _, part := range parts {
			first, last, _ := strings.Cut(part, "-")
			begin, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 64)
			end, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 64)
			if err1 != nil || err2 != nil || end < begin {
				return trimmed
			}
			list = append(list, mesos.Value_Range{Begin: begin, End: end})
		}
		return ranges(list)
	}
	if isNumber(trimmed) {
		if v, err := strconv.ParseFloat(trimmed, 64); err == nil {
			return scalar(v)
		}
	}
	return trimmed
}

// isNumber leaves out words that ParseFloat takes for numbers: inf, nan, 0x1p1.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789.eE+-") == ""
}
