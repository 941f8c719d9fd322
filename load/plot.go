package load

import (
	"fmt"
	"time"

	"lode/plot"
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

// SavePlot draws the distributions of the latencies, and their course in time, into a
// .svg file.
func (r *Report) SavePlot(name string) error {
	return plot.Save(name, r.plotDistributions(), r.plotCourse())
}

// plotDistributions has the share of all that took longer on a logarithmic axis,
// so that the rare slow ones are seen.
func (r *Report) plotDistributions() plot.Panel {
	p := plot.Panel{
		Title: fmt.Sprintf("%d connections to %s, %.0f shares/s", r.Connections.Wanted, r.Pool, r.Shares.Rate),
		X:     plot.Axis{Label: "milliseconds", Log: true}, Y: plot.Axis{Label: "share that took longer", Log: true},
	}
	for _, c := range r.curves {
		line := plot.Curve{Name: c.name}
		for k, d := range c.durations {
			left := 1.0
			if k > 0 {
				left = 1 - c.shares[k-1]
			}
			line.X, line.Y = append(line.X, max(milliseconds(d), 1e-2)), append(line.Y, max(left, 1e-7))
		}
		p.Curves = append(p.Curves, line)
	}
	return p
}

func (r *Report) plotCourse() plot.Panel {
	p50, p99 := plot.Curve{Name: "submit p50"}, plot.Curve{Name: "submit p99"}
	last := plot.Curve{Name: "clean job at the last miner", Points: true}
	add := func(c *plot.Curve, at, took time.Duration) {
		c.X, c.Y = append(c.X, at.Seconds()), append(c.Y, max(milliseconds(took), 1e-3))
	}
	for _, s := range r.Series {
		if s.SubmitMax > 0 {
			add(&p50, s.At, s.SubmitP50)
			add(&p99, s.At, s.SubmitP99)
		}
	}
	for _, b := range r.Jobs.Each {
		add(&last, b.At, b.Last)
	}
	return plot.Panel{X: plot.Axis{Label: "seconds"}, Y: plot.Axis{Label: "milliseconds", Log: true}, Curves: []plot.Curve{p50, p99, last}}
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
