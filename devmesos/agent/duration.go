package agent

import (
	"strconv"
	"time"
)

// durationUnits are Mesos' units of time, the longest first.
var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"weeks", 7 * 24 * time.Hour},
	{"days", 24 * time.Hour},
	{"hrs", time.Hour},
	{"mins", time.Minute},
	{"secs", time.Second},
	{"ms", time.Millisecond},
	{"us", time.Microsecond},
}

// formatDuration writes a duration as Mesos does: a number, possibly with a fraction, of the longest
// unit that is not longer than it, such as "15mins", "1.25mins" or "2secs".
func formatDuration(d time.Duration) string {
	for _, u := range durationUnits {
		if d.Abs() >= u.unit {
			return strconv.FormatFloat(float64(d)/float64(u.unit), 'g', 15, 64) + u.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
