package api

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Counted is a number of things, for people.
func Counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Doing says in a few words what a task is at.
func (t *Task) Doing() string {
	var parts []string
	if t.Killing != "" {
		parts = append(parts, "being killed: "+t.Killing)
	}
	switch {
	case t.Miner != nil:
		parts = append(parts, fields(t.Miner.State, shorten(t.Miner.Error, 60))...)
		if y := t.Miner.Yielded; y != nil && y.Share() >= 0.01 {
			parts = append(parts, fmt.Sprintf("%.0f %% given to others", 100*y.Share()))
		}
	case t.Proxy != nil && t.Proxy.Ready:
		parts = append(parts, fmt.Sprintf("height %d, %s, shard %d", t.Proxy.Height, Counted(int(t.Proxy.Connections), "connection"), t.Proxy.Shard))
	case t.Proxy != nil:
		parts = append(parts, fields("not ready", shorten(t.Proxy.Error, 100))...)
	}
	return strings.Join(parts, ", ")
}

// Why says in a line how a task ended.
func (e *Ended) Why() string {
	return strings.Join(fields(e.Cause, strings.TrimPrefix(e.Reason, "REASON_"), shorten(e.Message, 100), shorten(e.lastLine(), 200)), ": ")
}

// lastLine is the last of what the executor wrote.
func (e *Ended) lastLine() string {
	return e.Output[strings.LastIndexByte(e.Output, '\n')+1:]
}

// uuid stands in the ids of frameworks and agents, and so in those of miners.
var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// ShortID leaves the part out of a task's id that is the same for most: of
// miner-c18ffe76-3c00-4f57-a5b6-87b53621502b-S1-7 it makes miner-…-S1-7.
func ShortID(id string) string { return uuid.ReplaceAllString(id, "…") }

// Hashrate formats hashes per second for people.
func Hashrate(h float64) string {
	if h <= 0 {
		return "-"
	}
	return si(h) + "H/s"
}

// Difficulty formats a difficulty, or a sum of some, for people.
func Difficulty(d float64) string {
	if d > 0 && d < 1 {
		return fmt.Sprintf("%.2g", d)
	}
	return strings.TrimSuffix(si(max(d, 0)), " ")
}

// si formats a number with three digits and the prefix of a unit: "31.6 M".
func si(v float64) string {
	prefixes := []string{"", "k", "M", "G", "T", "P", "E", "Z", "Y"}
	i := 0
	for ; v >= 999.5 && i < len(prefixes)-1; i++ {
		v /= 1000
	}
	return fmt.Sprintf("%.3g %s", v, prefixes[i])
}

// Span formats a time that has passed for people: "3 d 4 h", "12 min 5 s".
func Span(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf(" %d %s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0 s"
}

func fields(parts ...string) []string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}

// shorten keeps a text on one line of bounded length.
func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
