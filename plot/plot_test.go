package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSave(t *testing.T) {
	name := filepath.Join(t.TempDir(), "p.svg")
	err := Save(name,
		Panel{
			Title: "a < b & c", X: Axis{Label: "ms", Log: true}, Y: Axis{Label: "share", Log: true},
			Curves: []Curve{{Name: "one", X: []float64{1, 10, 1000}, Y: []float64{1, 0.1, 0.001}}, {Name: "dots", X: []float64{5}, Y: []float64{0.5}, Points: true}},
		},
		Panel{X: Axis{Names: []string{"alone", "beside\nlode"}}, Curves: []Curve{{Name: "p99", X: []float64{0, 1}, Y: []float64{3, 4}, Points: true}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a &lt; b &amp; c", ">0.001<", ">1000<", ">dots<", ">lode<", "<circle", "<path"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the plot lacks %q", want)
		}
	}
	for _, name := range []string{"p.png", "p", ""} {
		if err := Save(name, Panel{}); err == nil || !strings.Contains(err.Error(), ".svg") {
			t.Errorf("Save(%q): %v, want what a plot is", name, err)
		}
	}
	if Save(name) == nil {
		t.Error("a plot of nothing was written")
	}
}

// Whatever the numbers, the result is well-formed and nothing lies outside.
func TestAnyNumbers(t *testing.T) {
	number := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, 1, -1, math.NaN(), math.Inf(1), 1e-9, 1e300, -1e300}))
	rapid.Check(t, func(t *rapid.T) {
		p := Panel{Title: rapid.String().Draw(t, "title"), X: Axis{Log: rapid.Bool().Draw(t, "logx")}, Y: Axis{Log: rapid.Bool().Draw(t, "logy")}}
		for range rapid.IntRange(0, 3).Draw(t, "curves") {
			p.Curves = append(p.Curves, Curve{
				Name: rapid.String().Draw(t, "name"), Points: rapid.Bool().Draw(t, "points"),
				X: rapid.SliceOfN(number, 0, 5).Draw(t, "x"), Y: rapid.SliceOfN(number, 0, 5).Draw(t, "y"),
			})
		}
		svg := Draw(p)
		for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
		if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
			t.Fatalf("numbers that are none in\n%s", svg)
		}
	})
}
