package api

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTable prints a status for people.
func WriteTable(w io.Writer, s *Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

	for _, p := range s.Problems {
		line("PROBLEM", fmt.Sprintf("since %s: %s", p.Since.Local().Format(time.DateTime), p.Text))
	}
	line("framework", orDash(s.FrameworkID))
	if s.Connected {
		line("master", s.Master)
	} else {
		line("master", "none: "+orDash(s.Error))
	}
	line("hashrate", Hashrate(s.Hashrate))
	if s.Paused != "" {
		line("paused", s.Paused)
	}
	line("executor", orDash(s.Artifact.Digest))
	line("proxy", orDash(strings.Join(s.Proxies.Addresses, ", ")))
	if s.Need.Why != "" {
		line("waiting", s.Need.Why)
	}

	line("")
	if len(s.Tasks) == 0 {
		line("no tasks")
	} else {
		line("TASK", "STATE", "AGENT", "HASHRATE", "THREADS", "KERNEL", "ACCEPTED", "REJECTED", "STALE", "DOING")
		for _, task := range s.Tasks {
			line(task.ID, strings.TrimPrefix(task.State, "TASK_"), task.Hostname, Hashrate(task.Hashrate),
				number(task.Threads), orDash(task.Kernel), fmt.Sprint(task.Shares.Accepted),
				fmt.Sprint(task.Shares.Rejected), fmt.Sprint(task.Shares.Stale), task.Doing())
		}
	}
	if len(s.Blocks) > 0 {
		line("")
		line("HEIGHT", "BLOCK", "STATE", "FOUND", "BY")
		for _, b := range s.Blocks[:min(10, len(s.Blocks))] {
			line(fmt.Sprint(b.Height), b.Hash, b.State, b.FoundAt.Local().Format(time.DateTime), orDash(b.Finder))
		}
		if more := len(s.Blocks) - 10; more > 0 {
			line(fmt.Sprintf("and %d older ones", more))
		}
	}
	if len(s.Ended) > 0 {
		line("")
		line("ENDED", "STATE", "AGENT", "AT", "WHY")
		for _, e := range s.Ended[:min(5, len(s.Ended))] {
			line(e.ID, strings.TrimPrefix(e.State, "TASK_"), e.Hostname, e.At.Local().Format(time.TimeOnly),
				strings.Join(fields(e.Cause, strings.TrimPrefix(e.Reason, "REASON_"), shorten(e.Message, 100)), ": "))
		}
	}
	if len(s.Decisions) > 0 {
		line("")
		line("OFFER OF", "AT", "RESOURCES", "OUTCOME", "WHY")
		for _, d := range s.Decisions[:min(10, len(s.Decisions))] {
			why := d.Reason
			if len(d.Tasks) > 0 {
				why = strings.Join(d.Tasks, ", ")
			}
			line(d.Hostname, d.At.Local().Format(time.TimeOnly), d.Resources, d.Outcome, why)
		}
	}
	return t.Flush()
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
			parts = append(parts, fmt.Sprintf("%.0f %% of the time given to others", 100*y.Share()))
		}
	case t.Proxy != nil && t.Proxy.Ready:
		parts = append(parts, fmt.Sprintf("height %d, %d connections", t.Proxy.Height, t.Proxy.Connections))
	case t.Proxy != nil:
		parts = append(parts, fields("not ready", shorten(t.Proxy.Error, 100))...)
	}
	return strings.Join(parts, ", ")
}

// Hashrate formats hashes per second for people.
func Hashrate(h float64) string {
	if h <= 0 {
		return "-"
	}
	units := []string{"H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s"}
	i := 0
	for ; h >= 1000 && i < len(units)-1; i++ {
		h /= 1000
	}
	return fmt.Sprintf("%.3g %s", h, units[i])
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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
