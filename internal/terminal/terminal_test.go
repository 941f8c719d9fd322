package terminal

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func example() *Table {
	t := &Table{Columns: []Column{{Name: "TASK"}, {Name: "AGENT", Least: 6, Drop: 1}, {Name: "HASHES", Right: true}, {Name: "KERNEL", Drop: 2}, {Name: "DOING", Least: 8}}}
	t.Add(Text("miner-1"), Text("a.very.long.name.of.an.agent"), Text("7"), Text("shani"), Cell{"mining at the proxy of the other rack", Good})
	t.Add(Text("miner-12"), Text("b"), Text("1234"), Text(""), Text("idle"))
	return t
}

func TestTable(t *testing.T) {
	for name, c := range map[string]struct {
		width int
		want  string
	}{
		"all the room": {0, `
TASK      AGENT                         HASHES  KERNEL  DOING
miner-1   a.very.long.name.of.an.agent       7  shani   mining at the proxy of the other rack
miner-12  b                               1234  -       idle`},
		"cut": {60, `
TASK      AGENT             HASHES  KERNEL  DOING
miner-1   a.very.long.nam…       7  shani   mining at the p…
miner-12  b                   1234  -       idle`},
		"a column less": {40, `
TASK      AGENT       HASHES  DOING
miner-1   a.very.lo…       7  mining at…
miner-12  b             1234  idle`},
		"too small": {12, `
TASK      H…
miner-1
miner-12`},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := example().Write(&b, Look{Width: c.width}); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSuffix(b.String(), "\n"); got != strings.TrimPrefix(c.want, "\n") {
				t.Errorf("got\n%s\nwant%s", got, c.want)
			}
		})
	}
}

func TestCutInFront(t *testing.T) {
	table := &Table{Columns: []Column{{Name: "HASH", Least: 6, End: true}}}
	table.Add(Text("0000000a9f1"))
	var b bytes.Buffer
	if err := table.Write(&b, Look{Width: 6}); err != nil || b.String() != "HASH\n…0a9f1\n" {
		t.Errorf("%v %q", err, b.String())
	}
}

// Whatever the texts and the width: no line is wider, and nothing in it is a control
// character that we did not write.
func TestTableFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &Table{}
		for range rapid.IntRange(1, 6).Draw(t, "columns") {
			table.Columns = append(table.Columns, Column{
				Name: rapid.StringMatching(`[A-Z]{1,9}`).Draw(t, "name"), Right: rapid.Bool().Draw(t, "right"),
				Least: rapid.IntRange(0, 9).Draw(t, "least"), End: rapid.Bool().Draw(t, "end"), Drop: rapid.IntRange(0, 3).Draw(t, "drop"),
			})
		}
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			var row []Cell
			for range rapid.IntRange(0, 6).Draw(t, "cells") {
				row = append(row, Cell{rapid.String().Draw(t, "text"), Tone(rapid.IntRange(0, 5).Draw(t, "tone"))})
			}
			table.Add(row...)
		}
		width := rapid.IntRange(1, 120).Draw(t, "width")
		var b bytes.Buffer
		if err := table.Write(&b, Look{Width: width}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(table.Rows)+1 {
			t.Fatalf("%d lines for %d rows", len(lines), len(table.Rows))
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > width {
				t.Fatalf("%d characters on a screen of %d: %q", n, width, line)
			}
			if line != Clean(line) {
				t.Fatalf("a control character in %q", line)
			}
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain – text":       "plain – text",
		"\x1b[2Jgone\r\n":    " [2Jgone  ",
		"tab\there":          "tab here",
		"c1 \u009b31m":       "c1  31m",
		"back \u202eesrever": "back  esrever",
		"broken \xff":        "broken  ",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLook(t *testing.T) {
	if got := LookOf(&bytes.Buffer{}, func(string) string { return "" }); got != (Look{}) {
		t.Errorf("a buffer looks like %+v", got)
	}
	if got := (Look{}).Paint("x", Bad); got != "x" {
		t.Errorf("%q without colours", got)
	}
	if got := (Look{Color: true}).Paint("x", Good); got != "\x1b[32mx\x1b[0m" {
		t.Errorf("%q with colours", got)
	}
	if got := (Look{Width: 4}).Line("a\nbcdef", Plain); got != "a b…" {
		t.Errorf("%q on a line of 4", got)
	}
}
