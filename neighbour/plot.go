package neighbour

import (
	"fmt"
	"image/color"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// CheckPlotName reports whether SavePlot knows the kind of file.
func CheckPlotName(name string) error {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".svg", ".png":
		return nil
	}
	return fmt.Errorf("%s: a plot is a .svg or a .png file", name)
}

// SavePlot draws the server's latencies alone and beside each partner into a file whose
// name ends in .svg or .png.
func (r *Report) SavePlot(name string) error {
	if err := CheckPlotName(name); err != nil {
		return err
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("A server's latency beside a miner (%s, %d rounds)", r.CPU, r.Rounds)
	p.Y.Label.Text = "microseconds"
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = plot.LogTicks{Prec: -1}
	p.Legend.Top = true
	var names []string
	var columns [3]plotter.XYs
	for i := range r.Results {
		x := &r.Results[i]
		if x.Job != Server {
			continue
		}
		label := shorten(x.Beside)
		if x.Beside != Nothing {
			label += "\n" + x.Placement
		}
		names = append(names, label)
		for i, v := range []float64{x.P50, x.P99, x.P999} {
			columns[i] = append(columns[i], plotter.XY{X: float64(len(names) - 1), Y: max(v, 1)})
		}
	}
	const width = 14 * vg.Millimeter
	colors := []color.Color{color.RGBA{86, 180, 233, 255}, color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}}
	for i, points := range columns {
		if len(points) == 0 {
			return fmt.Errorf("save the plot %s: no latencies were measured", name)
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return fmt.Errorf("save the plot %s: %w", name, err)
		}
		scatter.Color, scatter.Shape, scatter.Radius = colors[i], draw.CircleGlyph{}, 2*vg.Millimeter
		p.Add(scatter)
		p.Legend.Add([]string{"p50", "p99", "p99.9"}[i], scatter)
	}
	p.Y.Min, p.Y.Max = p.Y.Min/1.5, 1.5*p.Y.Max
	p.Add(plotter.NewGrid())
	p.NominalX(names...)
	if err := p.Save(vg.Length(len(names)+2)*2*width, 14*vg.Centimeter, name); err != nil {
		return fmt.Errorf("save the plot %s: %w", name, err)
	}
	return nil
}
