// Package terminal makes text for people to read: a Table that fits a width, tones that
// are colours where colours are wanted, and Clean, which every text goes through that
// comes from another machine.
package terminal

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Look says how text is to look.
type Look struct {
	// Width is the number of columns; 0: as many as there are.
	Width int
	Color bool
}

// LookOf is what suits w: a file that is a terminal has a width, and colours unless
// NO_COLOR is set (no-color.org) or TERM is dumb. Whatever else is neither.
func LookOf(w any, getenv func(string) string) Look {
	f, ok := w.(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Look{}
	}
	look := Look{Color: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		look.Width = width
	}
	return look
}

// Is says whether what is written to w is seen by somebody.
func Is(w any) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// Tone is what a text means.
type Tone int

// Tones that there are.
const (
	Plain Tone = iota
	Strong
	Soft
	Good
	Warn
	Bad
)

var codes = map[Tone]string{Strong: "1", Soft: "2", Good: "32", Warn: "33", Bad: "31;1"}

// Paint gives a text its tone.
func (l Look) Paint(text string, tone Tone) string {
	if !l.Color || codes[tone] == "" || text == "" {
		return text
	}
	return "\x1b[" + codes[tone] + "m" + text + "\x1b[0m"
}

// Line is a text on a line of its own, cut where the terminal ends.
func (l Look) Line(text string, tone Tone) string {
	text = Clean(text)
	if l.Width > 0 {
		text = Cut(text, l.Width)
	}
	return l.Paint(text, tone)
}

// Clean takes out what moves the cursor, changes colours or begins a line: texts come
// from far away, and nobody there writes on our screen.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r >= 0x7f && r < 0xa0,
			r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069, // order of writing
			r == 0x2028 || r == 0x2029 || r == utf8.RuneError:
			return ' '
		}
		return r
	}, s)
}

// Cut cuts a text to a width, in characters.
func Cut(s string, width int) string {
	switch {
	case utf8.RuneCountInString(s) <= width:
		return s
	case width < 1:
		return ""
	}
	return string([]rune(s)[:width-1]) + "…"
}

// Pad fills a text up to a width with spaces.
func Pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}
