package top

import (
	"fmt"
	"strings"
	"time"

	"lode/scheduler/api"
)

// cell is a text with the number that it is sorted by, 0: by the text.
type cell struct {
	text   string
	number float64
	tone   tone
}

// tab is a table of the status.
type tab struct {
	name    string
	columns []string
	nothing string
	rows    func(*api.Status) [][]cell
}

var tabs = []tab{
	{
		"Tasks",
		[]string{"TASK", "STATE", "AGENT", "HASHRATE", "THREADS", "KERNEL", "ACCEPTED", "REJECTED", "DOING"},
		"no tasks yet; Why not says what became of the last offers", taskRows,
	},
	{"Agents", []string{"AGENT", "TASKS", "HASHRATE", "FAILURES", "STATE"}, "no agents known", agentRows},
	{"Why not", []string{"OFFERS", "AGENTS", "OUTCOME", "WHY", "LAST AGENT"}, "no offers yet", whyRows},
	{"Blocks", []string{"HEIGHT", "STATE", "DEEP", "FOUND", "HASH"}, "no block yet", blockRows},
	{"Ended", []string{"AT", "STATE", "AGENT", "WHY"}, "nothing has ended", endedRows},
}

func text(s string) cell { return cell{text: s} }

func number(v float64, format string) cell { return cell{text: fmt.Sprintf(format, v), number: v} }

func taskRows(s *api.Status) [][]cell {
	rows := make([][]cell, len(s.Tasks))
	for i := range s.Tasks {
		t := &s.Tasks[i]
		state := text(strings.ToLower(strings.TrimPrefix(t.State, "TASK_")))
		if t.State == "TASK_RUNNING" {
			state.tone = good
		}
		rejected := number(float64(t.Shares.Rejected), "%.0f")
		if t.Shares.Rejected > 0 {
			rejected.tone = bad
		}
		rows[i] = []cell{
			text(api.ShortID(t.ID)), state, text(t.Hostname),
			{text: api.Hashrate(t.Hashrate), number: t.Hashrate},
			number(float64(t.Threads), "%.0f"), text(t.Kernel), number(float64(t.Shares.Accepted), "%.0f"), rejected, text(t.Doing()),
		}
	}
	return rows
}

func agentRows(s *api.Status) [][]cell {
	type sum struct {
		tasks    int
		hashrate float64
	}
	sums := make(map[string]sum)
	for i := range s.Tasks {
		t := &s.Tasks[i]
		a := sums[t.AgentID]
		a.tasks++
		if t.Kind == "miner" {
			a.hashrate += t.Hashrate
		}
		sums[t.AgentID] = a
	}
	rows := make([][]cell, len(s.Agents))
	for i, a := range s.Agents {
		state := text("in use")
		switch {
		case a.BackoffUntil != nil:
			state = cell{text: "backs off until " + a.BackoffUntil.Local().Format(time.TimeOnly), tone: bad}
		case a.Unavailable != nil:
			state = text("maintenance from " + a.Unavailable.Local().Format(time.DateTime))
		}
		rows[i] = []cell{
			text(a.Hostname), number(float64(sums[a.ID].tasks), "%.0f"),
			{text: api.Hashrate(sums[a.ID].hashrate), number: sums[a.ID].hashrate},
			number(a.Failures, "%.1f"), state,
		}
	}
	return rows
}

func whyRows(s *api.Status) [][]cell {
	var rows [][]cell
	for _, r := range api.Reasons(s.Decisions) {
		rows = append(rows, []cell{number(float64(r.Count), "%.0f"), number(float64(r.Agents), "%.0f"), text(r.Outcome), text(r.Reason), text(r.Example)})
	}
	return rows
}

func blockRows(s *api.Status) [][]cell {
	rows := make([][]cell, len(s.Blocks))
	for i, b := range s.Blocks {
		state := text(b.State)
		switch b.State {
		case "confirmed":
			state.tone = good
		case "orphaned":
			state.tone = bad
		}
		rows[i] = []cell{
			number(float64(b.Height), "%.0f"), state, number(float64(b.Confirmations), "%.0f"),
			text(b.FoundAt.Local().Format(time.DateTime)), text(b.Hash),
		}
	}
	return rows
}

func endedRows(s *api.Status) [][]cell {
	rows := make([][]cell, len(s.Ended))
	for i, e := range s.Ended {
		state := cell{text: strings.ToLower(strings.TrimPrefix(e.State, "TASK_"))}
		if !e.Wanted {
			state.tone = bad
		}
		rows[i] = []cell{text(e.At.Local().Format(time.TimeOnly)), state, text(e.Hostname), text(e.Why())}
	}
	return rows
}
