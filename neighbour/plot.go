package neighbour

import (
	"fmt"

	"lode/plot"
)

// SavePlot draws the server's latencies alone and beside each partner into a .svg file.
func (r *Report) SavePlot(name string) error {
	p := plot.Panel{
		Title: fmt.Sprintf("A server's latency beside a miner (%s, %d rounds)", r.CPU, r.Rounds),
		Y:     plot.Axis{Label: "microseconds", Log: true},
		Curves: []plot.Curve{
			{Name: "p50", Points: true}, {Name: "p99", Points: true}, {Name: "p99.9", Points: true},
		},
	}
	for i := range r.Results {
		x := &r.Results[i]
		if x.Job != Server {
			continue
		}
		label := shorten(x.Beside)
		if x.Beside != Nothing {
			label += "\n" + x.Placement
		}
		at := float64(len(p.X.Names))
		p.X.Names = append(p.X.Names, label)
		for k, v := range []float64{x.P50, x.P99, x.P999} {
			c := &p.Curves[k]
			c.X, c.Y = append(c.X, at), append(c.Y, max(v, 1))
		}
	}
	if len(p.X.Names) == 0 {
		return fmt.Errorf("save the plot %s: no latencies were measured", name)
	}
	return plot.Save(name, p)
}
