// Package plot draws curves and points into an SVG file: panels below each other, with
// linear, logarithmic or named axes. It needs no fonts: who shows the file has some.
package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Axis is one direction of a panel.
type Axis struct {
	Label string
	// Log makes the axis logarithmic; what is not above 0 is left out.
	Log bool
	// Names make the axis one of names: 0 is the first.
	Names []string
}

// Curve is a line through its points, or only the points.
type Curve struct {
	Name   string
	X, Y   []float64
	Points bool
	// Low and High are ends of a bar through each point; nil: there are none.
	Low, High []float64
}

// Panel is one diagram.
type Panel struct {
	Title  string
	X, Y   Axis
	Curves []Curve
}

// CheckName reports whether Save can write a file of that name, as far as that can be told
// without writing it: what is drawn may have taken hours.
func CheckName(name string) error {
	if strings.ToLower(filepath.Ext(name)) != ".svg" {
		return fmt.Errorf("%s: a plot is a .svg file", name)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder, want a file", name)
	}
	folder := filepath.Dir(name)
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no folder %s", name, folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", folder)
	}
	return nil
}

// Save draws the panels into a file whose name ends in .svg.
func Save(name string, panels ...Panel) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(panels) == 0 {
		return errors.New("nothing to plot")
	}
	if err := os.WriteFile(name, Draw(panels...), 0o644); err != nil {
		return fmt.Errorf("save the plot: %w", err)
	}
	return nil
}

// Size of a panel, in pixels, and of the margins around its area.
const (
	width, height            = 1000, 440
	left, right, top, bottom = 80, 24, 40, 56
)

// palette is told apart by people who see few colours, too.
var palette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// Draw makes the SVG.
func Draw(panels ...Panel) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13" fill="#333">`+"\n"+
		`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n", width, height*len(panels), width, height*len(panels))
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", i*height)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// scale maps values of an axis to 0…1.
type scale struct {
	axis     Axis
	min, max float64 // of the logarithm where the axis is logarithmic
}

func (s scale) value(v float64) float64 {
	if s.axis.Log {
		return math.Log10(v)
	}
	return v
}

func (s scale) at(v float64) float64 { return (s.value(v) - s.min) / (s.max - s.min) }

// extreme bounds what is shown: beyond it there is nothing that anybody measures.
const extreme = 1e100

func (s scale) shows(v float64) bool {
	return math.Abs(v) <= extreme && (!s.axis.Log || v >= 1/extreme)
}

// newScale finds an axis' ends: whole decades of a logarithmic one, round numbers else.
func newScale(axis Axis, curves []Curve, values func(Curve) []float64) scale {
	s := scale{axis: axis, min: math.Inf(1), max: math.Inf(-1)}
	if n := len(axis.Names); n > 0 {
		s.min, s.max = -0.5, float64(n)-0.5
		return s
	}
	for _, c := range curves {
		for _, v := range values(c) {
			if s.shows(v) {
				s.min, s.max = min(s.min, s.value(v)), max(s.max, s.value(v))
			}
		}
	}
	switch {
	case s.min > s.max: // nothing to show
		s.min, s.max = 0, 1
	case axis.Log:
		s.min, s.max = math.Floor(s.min), math.Ceil(s.max)
	default:
		s.min = min(s.min, 0)
	}
	if s.max-s.min <= 1e-9*max(math.Abs(s.min), math.Abs(s.max)) { // one value alone has no extent
		s.max = s.min + max(1, math.Abs(s.min)/10)
	}
	return s
}

// tick is a mark of an axis.
type tick struct {
	value float64
	text  string
}

func (s scale) ticks() []tick {
	var list []tick
	for i, name := range s.axis.Names {
		list = append(list, tick{float64(i), name})
	}
	if list != nil {
		return list
	}
	if s.axis.Log {
		for e := s.min; e <= s.max; e += max(1, math.Ceil((s.max-s.min)/8)) {
			list = append(list, tick{math.Pow(10, e), strconv.FormatFloat(math.Pow(10, e), 'g', 6, 64)})
		}
		return list
	}
	rough := (s.max - s.min) / 6
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := 10 * power
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power >= rough {
			step = m * power
			break
		}
	}
	first := math.Ceil(s.min/step) * step
	for n := range 20 {
		v := first + float64(n)*step
		if v > s.max+step/1e6 {
			break
		}
		list = append(list, tick{v, strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return list
}

func (p Panel) draw(b *bytes.Buffer) {
	sx := newScale(p.X, p.Curves, func(c Curve) []float64 { return c.X })
	sy := newScale(p.Y, p.Curves, func(c Curve) []float64 { return slices.Concat(c.Y, c.Low, c.High) })
	x := func(v float64) float64 { return left + sx.at(v)*(width-left-right) }
	y := func(v float64) float64 { return height - bottom - sy.at(v)*(height-top-bottom) }
	text := func(x, y float64, anchor, more, s string) {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, more, escape(s))
	}
	text(left, 22, "start", ` font-size="16" font-weight="600"`, p.Title)
	for _, t := range sx.ticks() {
		fmt.Fprintf(b, `<path d="M%.1f %dV%d" stroke="#e4e4e4"/>`+"\n", x(t.value), top, height-bottom)
		for i, line := range strings.Split(t.text, "\n") {
			text(x(t.value), float64(height-bottom+18+14*i), "middle", "", line)
		}
	}
	for _, t := range sy.ticks() {
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#e4e4e4"/>`+"\n", left, y(t.value), width-right)
		text(left-8, y(t.value)+4, "end", "", t.text)
	}
	if p.X.Label != "" {
		text(width/2, height-10, "middle", "", p.X.Label)
	}
	text(18, height/2, "middle", fmt.Sprintf(` transform="rotate(-90 18 %d)"`, height/2), p.Y.Label)
	shown := 0
	for _, c := range p.Curves {
		color := palette[shown%len(palette)]
		var line strings.Builder
		points := 0
		for i := range min(len(c.X), len(c.Y)) {
			if !sx.shows(c.X[i]) || !sy.shows(c.Y[i]) {
				continue
			}
			points++
			if i < min(len(c.Low), len(c.High)) && sy.shows(c.Low[i]) && sy.shows(c.High[i]) {
				fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="3" stroke-opacity=".4"/>`+"\n", x(c.X[i]), y(c.Low[i]), y(c.High[i]), color)
			}
			if c.Points {
				fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"/>`+"\n", x(c.X[i]), y(c.Y[i]), color)
				continue
			}
			fmt.Fprintf(&line, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[points == 1], x(c.X[i]), y(c.Y[i]))
		}
		if points == 0 {
			continue
		}
		if !c.Points {
			fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round"/>`+"\n", line.String(), color)
		}
		at := float64(top + 18 + 18*shown)
		fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="14" height="4" fill="%s"/>`+"\n", width-right-14, at-6, color)
		text(width-right-20, at, "end", "", c.Name)
		shown++
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder takes everything
	return b.String()
}
