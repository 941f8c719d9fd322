package resources

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// ranges are inclusive, sorted, and neither overlap nor touch.
type ranges []span

type span struct{ begin, end uint64 }

func newRanges(list []mesos.Value_Range) ranges {
	var spans []span
	for _, r := range list {
		if r.Begin <= r.End {
			spans = append(spans, span{r.Begin, r.End})
		}
	}
	return coalesce(spans)
}

func coalesce(spans []span) ranges {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
	var merged ranges
	for _, s := range spans {
		// end+1 would overflow at the very end of the numbers.
		if n := len(merged); n > 0 && (s.begin <= merged[n-1].end || s.begin-1 == merged[n-1].end) {
			merged[n-1].end = max(merged[n-1].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

func (r ranges) plus(t ranges) ranges {
	if len(t) == 0 {
		return r
	}
	return coalesce(slices.Concat([]span(r), []span(t)))
}

func (r ranges) minus(t ranges) ranges {
	if len(t) == 0 {
		return r
	}
	var rest ranges
	for _, s := range r {
		gone := false
		for _, cut := range t {
			if cut.end < s.begin {
				continue
			}
			if cut.begin > s.end {
				break
			}
			if cut.begin > s.begin {
				rest = append(rest, span{s.begin, cut.begin - 1})
			}
			if cut.end >= s.end {
				gone = true
				break
			}
			s.begin = cut.end + 1
		}
		if !gone {
			rest = append(rest, s)
		}
	}
	return rest
}

func (r ranges) count() uint64 {
	var n uint64
	for _, s := range r {
		n += s.end - s.begin + 1
	}
	return n
}

func (r ranges) proto() []mesos.Value_Range {
	list := make([]mesos.Value_Range, len(r))
	for i, s := range r {
		list[i] = mesos.Value_Range{Begin: s.begin, End: s.end}
	}
	return list
}

func (r ranges) String() string {
	parts := make([]string, len(r))
	for i, s := range r {
		parts[i] = fmt.Sprintf("%d-%d", s.begin, s.end)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
