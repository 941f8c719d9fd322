package terminal

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// Column is one of a Table.
type Column struct {
	Name string
	// Right aligns numbers.
	Right bool
	// Least is the width that its texts may be cut to where there is too little room;
	// 0: they are never cut.
	Least int
	// End says that it is the end of its texts that tells, as of hashes: they are cut in front.
	End bool
	// Drop says which column is left out first where there still is too little room: the
	// one with the greatest; 0: it stays.
	Drop int
}

// Cell is a text of a Table.
type Cell struct {
	Text string
	Tone Tone
}

// Text is a cell without a tone.
func Text(s string) Cell { return Cell{Text: s} }

// Table is rows of cells below names.
type Table struct {
	Columns []Column
	Rows    [][]Cell
}

// Add adds a row.
func (t *Table) Add(cells ...Cell) { t.Rows = append(t.Rows, cells) }

func (c *Column) cut(text string, width int) string {
	if n := utf8.RuneCountInString(text); c.End && n > width && width > 0 {
		return "…" + string([]rune(text)[n-width+1:])
	}
	return Cut(text, width)
}

const gap = 2 // between columns

// Write writes the table so that no line is wider than the look allows: it cuts what may
// be cut, then leaves columns out.
func (t *Table) Write(w io.Writer, look Look) error {
	rows := make([][]Cell, len(t.Rows))
	for i, row := range t.Rows {
		rows[i] = make([]Cell, len(t.Columns))
		for j := range t.Columns {
			c := Text("-")
			if j < len(row) && row[j].Text != "" {
				c = Cell{strings.TrimSpace(Clean(row[j].Text)), row[j].Tone}
			}
			rows[i][j] = c
		}
	}
	widths := t.fit(rows, look.Width)
	out := bufio.NewWriter(w)
	line := func(cell func(column int) Cell) {
		var b strings.Builder
		used, spaces := 0, 0
		for j, width := range widths {
			if width < 0 {
				continue
			}
			c := cell(j)
			text := c.Text
			if look.Width > 0 { // what may not be cut in its column is at the screen's end
				text = t.Columns[j].cut(text, width)
			}
			fill := max(width-utf8.RuneCountInString(text), 0)
			if t.Columns[j].Right {
				spaces, fill = spaces+fill, 0
			}
			if look.Width > 0 {
				text = Cut(text, look.Width-used-spaces)
			}
			if text != "" {
				b.WriteString(strings.Repeat(" ", spaces) + look.Paint(text, c.Tone))
				used += spaces + utf8.RuneCountInString(text)
				spaces = 0
			}
			spaces += fill + gap
		}
		out.WriteString(b.String() + "\n")
	}
	line(func(j int) Cell { return Cell{t.Columns[j].Name, Soft} })
	for _, row := range rows {
		line(func(j int) Cell { return row[j] })
	}
	return out.Flush()
}

// fit returns the widths of the columns; -1: it is left out.
func (t *Table) fit(rows [][]Cell, width int) []int {
	widths := make([]int, len(t.Columns))
	for j, c := range t.Columns {
		widths[j] = utf8.RuneCountInString(c.Name)
		for _, row := range rows {
			widths[j] = max(widths[j], utf8.RuneCountInString(row[j].Text))
		}
	}
	if width <= 0 {
		return widths
	}
	wide := append([]int(nil), widths...) // as they would be with all the room
	for {
		over := -gap - width
		for _, w := range widths {
			if w >= 0 {
				over += w + gap
			}
		}
		for over > 0 { // from the widest one that may be cut
			widest := -1
			for j, c := range t.Columns {
				if c.Least > 0 && widths[j] > max(c.Least, utf8.RuneCountInString(c.Name)) && (widest < 0 || widths[j] > widths[widest]) {
					widest = j
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			over--
		}
		if over <= 0 {
			return widths
		}
		first := -1
		for j, c := range t.Columns {
			if widths[j] >= 0 && c.Drop > 0 && (first < 0 || c.Drop > t.Columns[first].Drop) {
				first = j
			}
		}
		if first < 0 {
			return widths
		}
		wide[first] = -1
		copy(widths, wide)
	}
}
