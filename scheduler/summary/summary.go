// Package summary prints a scheduler's status for people, as lode status does: Write fits
// it into the width of a terminal.
package summary

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"lode/internal/terminal"
	"lode/scheduler/api"
)

// Options of Write.
type Options struct {
	terminal.Look
	// Wide shows every row and whole ids, however wide that is.
	Wide bool
}

// How many rows are shown without Wide.
const (
	mostTasks   = 50
	mostBlocks  = 10
	mostEnded   = 5
	mostReasons = 8
)

// printer collects the text; what is written to memory does not fail.
type printer struct {
	Options
	bytes.Buffer
}

// Write prints a status: what is wrong, what there is in all, then tasks, blocks, ended
// tasks and why offers were not used.
func Write(w io.Writer, s *api.Status, o Options) error {
	p := &printer{Options: o}
	if o.Wide {
		p.Width = 0
	}
	for _, problem := range s.Problems {
		p.line(terminal.Bad, "PROBLEM since %s: %s", problem.Since.Local().Format(time.DateTime), problem.Text)
	}
	p.header(s)
	p.tasks(s)
	p.blocks(s)
	p.ended(s)
	p.reasons(s)
	_, err := p.WriteTo(w)
	return err
}

func (p *printer) line(tone terminal.Tone, format string, args ...any) {
	p.WriteString(p.Line(fmt.Sprintf(format, args...), tone) + "\n")
}

// fact is a line of the header: a name and what is so.
func (p *printer) fact(name string, tone terminal.Tone, format string, args ...any) {
	name = terminal.Pad(name, 10) + " "
	text := terminal.Clean(fmt.Sprintf(format, args...))
	if p.Width > 0 {
		text = terminal.Cut(text, max(p.Width-len(name), 0))
	}
	p.WriteString(p.Paint(name, terminal.Soft) + p.Paint(text, tone) + "\n")
}

func (p *printer) id(id string) string {
	if p.Wide {
		return id
	}
	return api.ShortID(id)
}

func (p *printer) header(s *api.Status) {
	total, proxy := api.Total(s.Tasks), api.ServingProxy(s.Tasks)
	p.fact("hashrate", terminal.Strong, "%s, %d of %s at work, %s", orNone(api.Hashrate(s.Hashrate)), total.Mining, api.Counted(total.Miners, "miner"), api.Counted(total.Threads, "thread"))
	if s.Paused != "" {
		p.fact("paused", terminal.Warn, "%s", s.Paused)
	}
	shares := total.Accepted + total.Rejected + total.Stale
	p.fact("shares", terminal.Plain, "%d accepted, %s, %s, difficulty %s in all", total.Accepted,
		part(total.Rejected, shares, "rejected"), part(total.Stale, shares, "stale"), api.Difficulty(total.Difficulty))
	confirmed := len(s.Confirmed())
	p.fact("blocks", terminal.Plain, "%d confirmed of %d found", confirmed, len(s.Blocks))
	switch {
	case proxy.Ready && proxy.Network != "":
		p.fact("network", terminal.Plain, "%s, height %d", proxy.Network, proxy.Height)
	case proxy.Ready:
		p.fact("network", terminal.Plain, "not known, height %d", proxy.Height)
	}
	if proxy.Upstream != "" {
		p.fact("upstream", terminal.Plain, "%s", proxy.Upstream)
	}
	switch addresses := strings.Join(s.Proxies.Addresses, ", "); {
	case proxy.Ready:
		p.fact("proxy", terminal.Good, "%s, %s", orDash(addresses), api.Counted(int(proxy.Connections), "connection"))
	case proxy.Error != "":
		p.fact("proxy", terminal.Bad, "%s, not ready: %s", orDash(addresses), proxy.Error)
	default:
		p.fact("proxy", terminal.Warn, "%s, not ready", orDash(addresses))
	}
	if s.Connected {
		p.fact("master", terminal.Plain, "%s", s.Master)
	} else {
		p.fact("master", terminal.Bad, "none: %s", orDash(s.Error))
	}
	about := []string{orDash(p.id(s.FrameworkID))}
	if s.Name != "" {
		about = append(about, "name "+s.Name)
	}
	if len(s.Roles) > 0 {
		about = append(about, "role "+strings.Join(s.Roles, ", "))
	}
	if s.Uptime > 0 { // schedulers of before do not tell it
		about = append(about, "up "+api.Span(time.Duration(s.Uptime*float64(time.Second))))
	}
	p.fact("framework", terminal.Plain, "%s", strings.Join(about, ", "))
	digest := s.Artifact.Digest
	if !p.Wide && len(digest) > 12 {
		digest = digest[:12]
	}
	p.fact("executor", terminal.Plain, "%s", orDash(digest))
	if s.Need.Why != "" {
		p.fact("waiting", terminal.Plain, "%s", s.Need.Why)
	}
}

// part is a count with its part of the whole: "3 stale (1.2 %)".
func part(n, whole uint64, what string) string {
	if n == 0 {
		return "0 " + what
	}
	return fmt.Sprintf("%d %s (%.2g %%)", n, what, 100*float64(n)/float64(whole))
}

func orNone(hashrate string) string {
	if hashrate == "-" {
		return "0 H/s"
	}
	return hashrate
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func state(name string) terminal.Cell {
	name = strings.TrimPrefix(name, "TASK_")
	switch name {
	case "RUNNING", "confirmed", "accepted", "FINISHED":
		return terminal.Cell{Text: name, Tone: terminal.Good}
	case "FAILED", "ERROR", "LOST", "DROPPED", "GONE", "GONE_BY_OPERATOR", "UNREACHABLE", "orphaned":
		return terminal.Cell{Text: name, Tone: terminal.Bad}
	}
	return terminal.Cell{Text: name, Tone: terminal.Warn}
}

func number(n uint64) terminal.Cell { return terminal.Text(fmt.Sprint(n)) }

// table prints the rows below an empty line; most without Wide, and then how many more
// there are.
func (p *printer) table(t *terminal.Table, most int, more string) {
	p.WriteByte('\n')
	hidden := 0
	if !p.Wide && len(t.Rows) > most {
		hidden = len(t.Rows) - most
		t.Rows = t.Rows[:most]
	}
	_ = t.Write(p, p.Look)
	if hidden > 0 {
		p.line(terminal.Soft, "and %d %s (--wide)", hidden, more)
	}
}

func (p *printer) tasks(s *api.Status) {
	if len(s.Tasks) == 0 {
		p.WriteByte('\n')
		p.line(terminal.Plain, "no tasks")
		return
	}
	t := &terminal.Table{Columns: []terminal.Column{
		{Name: "TASK"},
		{Name: "STATE"},
		{Name: "AGENT", Least: 12, Drop: 2},
		{Name: "HASHRATE", Right: true},
		{Name: "THREADS", Right: true, Drop: 4},
		{Name: "KERNEL", Drop: 3},
		{Name: "ACCEPTED", Right: true, Drop: 1},
		{Name: "REJECTED", Right: true, Drop: 5},
		{Name: "STALE", Right: true, Drop: 6},
		{Name: "DOING", Least: 16, Drop: 1},
	}}
	for i := range s.Tasks {
		task := &s.Tasks[i]
		threads, rejected := terminal.Cell{}, number(task.Shares.Rejected)
		if task.Threads > 0 {
			threads = number(uint64(task.Threads))
		}
		if task.Shares.Rejected > 0 {
			rejected.Tone = terminal.Bad
		}
		t.Add(terminal.Text(p.id(task.ID)), state(task.State), terminal.Text(task.Hostname), terminal.Text(api.Hashrate(task.Hashrate)), threads,
			terminal.Text(task.Kernel), number(task.Shares.Accepted), rejected, number(task.Shares.Stale), terminal.Text(task.Doing()))
	}
	p.table(t, mostTasks, "tasks more")
}

func (p *printer) blocks(s *api.Status) {
	if len(s.Blocks) == 0 {
		return
	}
	t := &terminal.Table{Columns: []terminal.Column{
		{Name: "HEIGHT", Right: true}, {Name: "BLOCK", Least: 12, End: true}, {Name: "STATE"}, {Name: "FOUND", Drop: 1}, {Name: "BY", Least: 10, Drop: 2},
	}}
	for _, b := range s.Blocks {
		t.Add(terminal.Text(fmt.Sprint(b.Height)), terminal.Text(b.Hash), state(b.State), terminal.Text(b.FoundAt.Local().Format(time.DateTime)), terminal.Text(p.id(b.Finder)))
	}
	p.table(t, mostBlocks, "older ones")
}

func (p *printer) ended(s *api.Status) {
	if len(s.Ended) == 0 {
		return
	}
	t := &terminal.Table{Columns: []terminal.Column{
		{Name: "ENDED"}, {Name: "STATE"}, {Name: "AGENT", Least: 12, Drop: 2}, {Name: "AT", Drop: 1}, {Name: "WHY", Least: 16},
	}}
	for i := range s.Ended {
		e := &s.Ended[i]
		end := state(e.State)
		if e.Wanted {
			end.Tone = terminal.Plain
		}
		t.Add(terminal.Text(p.id(e.ID)), end, terminal.Text(e.Hostname), terminal.Text(e.At.Local().Format(time.TimeOnly)), terminal.Text(e.Why()))
	}
	p.table(t, mostEnded, "that ended before")
}

func (p *printer) reasons(s *api.Status) {
	if len(s.Decisions) == 0 {
		return
	}
	t := Reasons(api.Reasons(s.Decisions))
	p.table(t, mostReasons, "reasons more")
}

// Reasons is the table of why offers were not used.
func Reasons(reasons []api.WhyReason) *terminal.Table {
	t := &terminal.Table{Columns: []terminal.Column{
		{Name: "OFFERS", Right: true}, {Name: "AGENTS", Right: true, Drop: 2}, {Name: "LAST", Drop: 1}, {Name: "WERE"}, {Name: "WHY", Least: 20}, {Name: "LAST AGENT", Least: 12, Drop: 3},
	}}
	for _, r := range reasons {
		outcome := state(r.Outcome)
		if r.Outcome != "accepted" {
			outcome.Tone = terminal.Plain
		}
		t.Add(terminal.Text(fmt.Sprint(r.Count)), terminal.Text(fmt.Sprint(r.Agents)), terminal.Text(r.Last.Local().Format(time.TimeOnly)),
			outcome, terminal.Text(r.Reason), terminal.Text(r.Example))
	}
	return t
}
