package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gdamore/tcell/v2"

	"lode/internal/terminal"
	"lode/scheduler/api"
)

// tone is how a text is shown.
type tone int

const (
	plain tone = iota
	strong
	soft
	head
	good
	bad
	accent
)

// part is a text in one tone; a line is parts beside each other.
type part struct {
	text string
	tone tone
}

type line []part

// view is what is shown and how: the newest status, the chosen table, its order, its
// filter, and how far it is scrolled.
type view struct {
	mono bool

	status *api.Status
	err    error
	rates  []float64 // of the last answers

	tab       int
	order     int // column of the table
	ascending bool
	filter    string
	typing    bool // the filter
	first     int  // row at the top
}

// maxRates is how many answers the line of hashrates remembers.
const maxRates = 200

func (v *view) take(a answer) {
	v.err = a.err
	if a.status == nil {
		return
	}
	v.status = a.status
	v.rates = append(v.rates, a.status.Hashrate)
	if n := len(v.rates) - maxRates; n > 0 {
		v.rates = v.rates[n:]
	}
}

// key acts on a key; true: the user leaves. Ctrl-C is not its affair.
func (v *view) key(key tcell.Key, r rune) bool {
	if v.typing {
		switch key {
		case tcell.KeyEnter:
			v.typing = false
		case tcell.KeyEscape:
			v.typing, v.filter = false, ""
		case tcell.KeyBackspace, tcell.KeyBackspace2:
			if v.filter != "" {
				_, n := utf8.DecodeLastRuneInString(v.filter)
				v.filter = v.filter[:len(v.filter)-n]
			}
		case tcell.KeyRune:
			v.filter += string(r)
		}
		v.first = 0
		return false
	}
	switch key {
	case tcell.KeyEscape:
		return true
	case tcell.KeyTab, tcell.KeyRight:
		v.turn(1)
	case tcell.KeyBacktab, tcell.KeyLeft:
		v.turn(-1)
	case tcell.KeyDown:
		v.first++
	case tcell.KeyUp:
		v.first--
	case tcell.KeyPgDn:
		v.first += 20
	case tcell.KeyPgUp:
		v.first -= 20
	case tcell.KeyHome:
		v.first = 0
	case tcell.KeyEnd:
		v.first = 1 << 30
	case tcell.KeyRune:
		switch r {
		case 'q':
			return true
		case '/':
			v.typing = true
		case 's':
			v.order, v.first = v.order+1, 0
		case 'r':
			v.ascending, v.first = !v.ascending, 0
		case '1', '2', '3', '4', '5':
			v.turn(int(r-'1') - v.tab)
		}
	}
	return false
}

func (v *view) turn(by int) {
	v.tab = (v.tab + by + len(tabs)) % len(tabs)
	v.order, v.ascending, v.first = 0, false, 0
}

// lines is the whole screen.
func (v *view) lines(width, height int) []line {
	if width < 20 || height < 8 {
		return []line{{{terminal.Cut("too small", width), plain}}}
	}
	var lines []line
	add := func(parts ...part) { lines = append(lines, clip(parts, width)) }
	s := v.status
	if s == nil {
		add(part{"lode top", strong})
		if v.err != nil {
			add(part{v.err.Error(), bad})
			add(part{"trying again; q leaves", soft})
		} else {
			add(part{"asking the scheduler …", soft})
		}
		return v.tones(lines)
	}
	miners, mining := 0, 0
	var shares api.Shares
	for i := range s.Tasks {
		if t := &s.Tasks[i]; t.Kind == "miner" {
			miners++
			if t.Miner != nil && t.Miner.State == "mining" {
				mining++
			}
			shares.Accepted += t.Shares.Accepted
			shares.Rejected += t.Shares.Rejected
			shares.Stale += t.Shares.Stale
		}
	}
	add(part{orNone(api.Hashrate(s.Hashrate)), accent}, part{"  " + spark(v.rates, max(10, min(60, width-20))), accent})
	add(part{fmt.Sprintf("%d of %d miners at work", mining, miners), strong},
		part{fmt.Sprintf("   shares %d accepted, %d rejected, %d stale   blocks %d, %d confirmed",
			shares.Accepted, shares.Rejected, shares.Stale, len(s.Blocks), len(s.Confirmed())), plain})
	switch {
	case v.err != nil:
		add(part{"no answer: " + v.err.Error(), bad})
	case !s.Connected:
		add(part{"no Mesos master: " + s.Error, bad})
	default:
		proxy, state := "no proxy", bad
		if len(s.Proxies.Addresses) > 0 {
			proxy, state = "proxy "+strings.Join(s.Proxies.Addresses, ", "), good
		}
		add(part{"master " + s.Master, plain}, part{"   " + proxy, state}, part{"   " + s.Need.Why, soft})
	}
	var bar []part
	for i, t := range tabs {
		how := soft
		if i == v.tab {
			how = strong
		}
		bar = append(bar, part{fmt.Sprintf(" %d %s ", i+1, t.name), how})
	}
	add(bar...)
	return v.tones(append(lines, v.table(width, height-len(lines))...))
}

// table is the chosen one: its head, as many rows as there is room for, and the keys.
func (v *view) table(width, height int) []line {
	t := tabs[v.tab]
	rows := t.rows(v.status)
	all := len(rows)
	if v.filter != "" {
		rows = slices.DeleteFunc(rows, func(r []cell) bool {
			return !slices.ContainsFunc(r, func(c cell) bool { return strings.Contains(strings.ToLower(c.text), strings.ToLower(v.filter)) })
		})
	}
	if v.order %= len(t.columns) + 1; v.order > 0 { // 0: as they come
		at := v.order - 1
		slices.SortStableFunc(rows, func(a, b []cell) int {
			c := cmp.Or(cmp.Compare(b[at].number, a[at].number), cmp.Compare(a[at].text, b[at].text))
			if v.ascending {
				return -c
			}
			return c
		})
	}
	room := max(height-2, 1)
	v.first = max(min(v.first, len(rows)-room), 0)
	shown := rows[v.first:min(v.first+room, len(rows))]

	widths := make([]int, len(t.columns))
	for i, name := range t.columns {
		widths[i] = utf8.RuneCountInString(name) + 1
		for _, r := range shown {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i].text))
		}
	}
	var header strings.Builder
	for i, name := range t.columns {
		if v.order == i+1 {
			name += map[bool]string{true: "↑", false: "↓"}[v.ascending]
		}
		header.WriteString(terminal.Pad(name, widths[i]) + "  ")
	}
	lines := []line{{{terminal.Pad(terminal.Cut(header.String(), width), width), head}}}
	for _, r := range shown {
		var parts []part
		for i, c := range r {
			parts = append(parts, part{terminal.Pad(c.text, widths[i]) + "  ", c.tone})
		}
		lines = append(lines, clip(parts, width))
	}
	if len(rows) == 0 {
		lines = append(lines, line{{terminal.Cut(t.nothing, width), soft}})
	}
	for len(lines) < height-1 {
		lines = append(lines, nil)
	}
	foot := fmt.Sprintf("%d of %d   tab next  ↑↓ scroll  s sort  r reverse  / search  q quit", len(shown), all)
	if v.typing || v.filter != "" {
		foot = fmt.Sprintf("%d of %d   search: ", len(rows), all) + v.filter + map[bool]string{true: "▏", false: "   (/ changes it)"}[v.typing]
	}
	return append(lines, line{{terminal.Cut(foot, width), soft}})
}

// tones takes the colours out where none are wanted.
func (v *view) tones(lines []line) []line {
	if !v.mono {
		return lines
	}
	for _, l := range lines {
		for i := range l {
			switch l[i].tone {
			case good:
				l[i].tone = plain
			case bad, accent:
				l[i].tone = strong
			}
		}
	}
	return lines
}

// clip cuts parts that are wider than the screen.
func clip(parts []part, width int) line {
	var l line
	for _, p := range parts {
		p.text = terminal.Cut(terminal.Clean(p.text), width)
		width -= utf8.RuneCountInString(p.text)
		l = append(l, p)
	}
	return l
}

func orNone(hashrate string) string {
	if hashrate == "-" {
		return "0 H/s"
	}
	return hashrate
}

// spark draws the last values in eighths of a line's height.
func spark(values []float64, width int) string {
	if n := len(values) - width; n > 0 {
		values = values[n:]
	}
	if len(values) == 0 {
		return ""
	}
	top := slices.Max(values)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if top > 0 {
			i = min(int(8*v/top), 7)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[i])
	}
	return b.String()
}
