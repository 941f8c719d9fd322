package load

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// curve is one latency's distribution.
type curve struct {
	name      string
	shares    []float64
	durations []time.Duration
}

func (r *run) curves() (list []curve) {
	for _, c := range []struct {
		name string
		h    *histogram
	}{
		{"first job after connect", &r.firstJob},
		{"clean job after the first miner", &r.spread},
		{"clean job after the block", &r.broadcasts.fromOrigin},
		{"submit", &r.submit},
		{"back after a storm", &r.stormBack},
	} {
		if c.h.count.Load() > 0 {
			shares, durations := c.h.curve()
			list = append(list, curve{c.name, shares, durations})
		}
	}
	return list
}

const (
	plotWidth  = 26 * vg.Centimeter
	plotHeight = 24 * vg.Centimeter
)

// CheckPlotName reports whether SavePlot knows the kind of file.
func CheckPlotName(name string) error {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".svg", ".png":
		return nil
	}
	return fmt.Errorf("%s: a plot is a .svg or a .png file", name)
}

// SavePlot draws the distributions of the latencies, and their course in time, into
// a file whose name ends in .svg or .png.
func (r *Report) SavePlot(name string) (err error) {
	if err := CheckPlotName(name); err != nil {
		return err
	}
	distributions, err := r.plotDistributions()
	if err != nil {
		return err
	}
	course, err := r.plotCourse()
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("save the plot: %w", err)
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadX: vg.Millimeter, PadY: 6 * vg.Millimeter, PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	grid := [][]*plot.Plot{{distributions}, {course}}
	onto := func(c draw.Canvas) {
		for i, row := range plot.Align(grid, tiles, c) {
			grid[i][0].Draw(row[0])
		}
	}
	if strings.ToLower(filepath.Ext(name)) == ".svg" {
		c := vgsvg.New(plotWidth, plotHeight)
		onto(draw.New(c))
		_, err = c.WriteTo(f)
	} else {
		c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(plotWidth, plotHeight), vgimg.UseDPI(120))}
		onto(draw.New(c))
		_, err = c.WriteTo(f)
	}
	if err != nil {
		return fmt.Errorf("save the plot %s: %w", name, err)
	}
	return nil
}

// palette is told apart by people who see few colours, too.
var palette = []color.Color{
	color.RGBA{0, 114, 178, 255},
	color.RGBA{213, 94, 0, 255},
	color.RGBA{0, 158, 115, 255},
	color.RGBA{204, 121, 167, 255},
	color.RGBA{230, 159, 0, 255},
	color.RGBA{86, 180, 233, 255},
}

// plotDistributions has the share of all that took longer on a logarithmic axis,
// so that the rare slow ones are seen.
func (r *Report) plotDistributions() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%d connections to %s, %.0f shares/s", r.Connections.Wanted, r.Pool, r.Shares.Rate)
	p.X.Label.Text, p.Y.Label.Text = "milliseconds", "share that took longer"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Left = true
	p.Add(plotter.NewGrid())
	for i, c := range r.curves {
		var points plotter.XYs
		for k, d := range c.durations {
			left := 1.0
			if k > 0 {
				left = 1 - c.shares[k-1]
			}
			points = append(points, plotter.XY{X: max(float64(d)/1e6, 1e-2), Y: max(left, 1e-7)})
		}
		if err := addLine(p, c.name, points, i); err != nil {
			return nil, err
		}
	}
	if len(r.curves) == 0 {
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0.1, 1000, 1e-3, 1
	}
	decades(&p.X)
	decades(&p.Y)
	return p, nil
}

// decades widens a logarithmic axis to whole powers of ten: one value alone would
// have no extent, which such an axis cannot show.
func decades(a *plot.Axis) {
	a.Min = math.Pow(10, math.Floor(math.Log10(a.Min)))
	a.Max = math.Pow(10, math.Ceil(math.Log10(a.Max)))
	if a.Min == a.Max {
		a.Max *= 10
	}
}

func (r *Report) plotCourse() (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "seconds", "milliseconds"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	var p50, p99, last plotter.XYs
	for _, s := range r.Series {
		if s.SubmitMax > 0 {
			p50 = append(p50, plotter.XY{X: s.At.Seconds(), Y: max(float64(s.SubmitP50)/1e6, 1e-3)})
			p99 = append(p99, plotter.XY{X: s.At.Seconds(), Y: max(float64(s.SubmitP99)/1e6, 1e-3)})
		}
	}
	for _, b := range r.Jobs.Each {
		last = append(last, plotter.XY{X: b.At.Seconds(), Y: max(float64(b.Last)/1e6, 1e-3)})
	}
	if err := addLine(p, "submit p50", p50, 0); err != nil {
		return nil, err
	}
	if err := addLine(p, "submit p99", p99, 1); err != nil {
		return nil, err
	}
	if len(last) > 0 {
		points, err := plotter.NewScatter(last)
		if err != nil {
			return nil, fmt.Errorf("plot: %w", err)
		}
		points.Color, points.Shape = palette[2], draw.CircleGlyph{}
		p.Add(points)
		p.Legend.Add("clean job at the last miner", points)
	}
	if len(p50)+len(last) == 0 {
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, max(r.Measured.Seconds(), 1), 0.1, 1000
	}
	decades(&p.Y)
	return p, nil
}

func addLine(p *plot.Plot, name string, points plotter.XYs, colour int) error {
	if len(points) == 0 {
		return nil
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	line.Color, line.Width = palette[colour%len(palette)], vg.Points(1.2)
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}
