package neighbour

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"lode/miner"
)

// busyTime is for how long a cpu was not idle since the machine's start.
func busyTime(cpu int) time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	const userHz = 100 // on every architecture that Go runs on
	ticks, _ := parseBusy(string(text), cpu)
	return time.Duration(ticks) * time.Second / userHz
}

// Above these a machine is too noisy to tell a percent.
const (
	noisyOthers     = 0.02
	noisyLatency    = 0.10
	noisyThroughput = 0.02
)

func (b *bench) report(jobs []*measurement, harvests []harvest) *Report {
	r := &Report{CPU: miner.CPUName(), KernelRelease: kernelRelease(), Rounds: b.options.Rounds, Results: []Result{}, Harvest: []Harvest{}}
	var others, windows time.Duration
	for _, m := range jobs {
		samples := b.taken[m]
		result := summarize(m, samples)
		r.Results = append(r.Results, result)
		switch {
		case m.beside == nil && m.job == Server:
			r.Noise.Latency = spread(result.LeastP99, result.GreatestP99)
			r.Yield.AloneP50, r.Yield.AloneP99 = result.WakeP50, result.WakeP99
		case m.beside == nil:
			r.Noise.Throughput = max(r.Noise.Throughput, spread(result.LeastThroughput, result.GreatestThroughput))
		case m.job == Server && m.beside.name == Lode && m.placement == Same:
			r.Yield.P50, r.Yield.P99 = result.WakeP50, result.WakeP99
		}
		for _, s := range samples {
			if s.others >= 0 {
				others += s.others
				windows += s.window
			}
		}
	}
	if windows > 0 {
		r.Noise.Others = float64(others) / float64(windows)
	}
	free := make([]struct{ lode, yardstick float64 }, b.options.Rounds) // done in a second of cpu time, by round
	for _, h := range harvests {
		var shares, times, sticks []float64
		for round, s := range b.taken[h.lode] {
			loop := b.taken[h.yardstick][round]
			if h.load == 0 {
				free[round].lode, free[round].yardstick = s.rate(), loop.rate()
			}
			time, stick := s.harvested(free[round].lode), loop.harvested(free[round].yardstick)
			share := 0.0 // a busy machine may have left them no time at all
			if stick > 0 {
				share = time / stick
			}
			shares, times, sticks = append(shares, share), append(times, time), append(sticks, stick)
		}
		slices.Sort(shares)
		slices.Sort(times)
		slices.Sort(sticks)
		r.Harvest = append(r.Harvest, Harvest{
			ForeignLoad: h.load, Share: median(shares), Least: shares[0], Greatest: shares[len(shares)-1],
			OfTime: median(times), Yardstick: median(sticks),
		})
	}
	r.judge()
	return r
}

// rate is how much was done in a second of cpu time.
func (s *sample) rate() float64 {
	if s.spent <= 0 {
		return 0
	}
	return float64(s.done) / s.spent.Seconds()
}

// harvested is in how much of the idle time a free cpu, which does so much in a second, does
// as much.
func (s *sample) harvested(rate float64) float64 {
	idle := s.window - s.job - max(s.others, 0)
	if idle <= 0 || rate == 0 {
		return 0
	}
	return float64(s.done) / (rate * idle.Seconds())
}

// judge says whether the machine is too noisy.
func (r *Report) judge() {
	var why []string
	n := &r.Noise
	if n.Others > noisyOthers {
		why = append(why, fmt.Sprintf("other programs, or the host, used %.0f %% of the cpu", 100*n.Others))
	}
	if n.Latency > noisyLatency {
		why = append(why, fmt.Sprintf("the p99 of the server alone moved by %.0f %% between rounds", 100*n.Latency))
	}
	if n.Throughput > noisyThroughput {
		why = append(why, fmt.Sprintf("the throughput of a job alone moved by %.0f %% between rounds", 100*n.Throughput))
	}
	if r.Rounds < 3 {
		why = append(why, "fewer than 3 rounds have no spread to speak of")
	}
	r.Noisy, n.Why = len(why) > 0, strings.Join(why, "; ")
}

func summarize(m *measurement, samples []sample) Result {
	column := func(of func(sample) float64) []float64 {
		var list []float64
		for _, s := range samples {
			list = append(list, of(s))
		}
		slices.Sort(list)
		return list
	}
	throughput := column(func(s sample) float64 { return s.Units / s.Wall.Seconds() })
	p99 := column(func(s sample) float64 { return s.P99 })
	r := Result{
		Job: m.job, Placement: m.placement, Beside: Nothing,
		P50: median(column(func(s sample) float64 { return s.P50 })), P99: median(p99),
		P999:       median(column(func(s sample) float64 { return s.P999 })),
		Throughput: median(throughput),
		LeastP99:   p99[0], GreatestP99: p99[len(p99)-1],
		LeastThroughput: throughput[0], GreatestThroughput: throughput[len(throughput)-1],
		WakeP50: median(column(func(s sample) float64 { return s.WakeP50 })),
		WakeP99: median(column(func(s sample) float64 { return s.WakeP99 })),
	}
	if m.beside == nil {
		r.Placement = Same
	} else {
		r.Beside = m.beside.name
	}
	return r
}

func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[n/2] + sorted[(n-1)/2]) / 2
}

// spread is the greatest over the least, less one.
func spread(least, greatest float64) float64 {
	if least <= 0 {
		return 0
	}
	return greatest/least - 1
}

// alone is the same job without anything beside it.
func (r *Report) alone(job string) *Result {
	for i := range r.Results {
		if r.Results[i].Job == job && r.Results[i].Beside == Nothing {
			return &r.Results[i]
		}
	}
	return nil
}

// change formats how much a figure differs from the one alone.
func change(now, alone float64) string {
	if alone <= 0 {
		return ""
	}
	return fmt.Sprintf("%+.1f %%", 100*(now/alone-1))
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, Linux %s, %d rounds, medians\n\n", r.CPU, r.KernelRelease, r.Rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "job\tbeside\tcpu\tp50 µs\tp99 µs\tof rounds\tp99.9 µs\tp99\tthroughput\tof rounds\tthroughput")
	for i := range r.Results {
		x := &r.Results[i]
		alone := r.alone(x.Job)
		var latency [5]string
		if x.Job == Server {
			latency = [5]string{
				fmt.Sprintf("%.0f", x.P50), fmt.Sprintf("%.0f", x.P99), fmt.Sprintf("%.0f–%.0f", x.LeastP99, x.GreatestP99),
				fmt.Sprintf("%.0f", x.P999), change(x.P99, alone.P99),
			}
		}
		placement := x.Placement
		if x.Beside == Nothing {
			placement = ""
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.1f\t%.1f–%.1f\t%s\n", x.Job, shorten(x.Beside), placement, strings.Join(latency[:], "\t"),
			x.Throughput, x.LeastThroughput, x.GreatestThroughput, change(x.Throughput, alone.Throughput))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nthe server had its cpu back: p50 %.0f µs, p99 %.0f µs after it woke up (alone %.0f and %.0f µs)\n",
		r.Yield.P50, r.Yield.P99, r.Yield.AloneP50, r.Yield.AloneP99)
	for _, h := range r.Harvest {
		fmt.Fprintf(w, "of what a load of %.0f %% left idle, %.1f %% was harvested (%.1f–%.1f %%): %.1f %% of the time, of which a loop got %.1f %%\n",
			100*h.ForeignLoad, 100*h.Share, 100*h.Least, 100*h.Greatest, 100*h.OfTime, 100*h.Yardstick)
	}
	if r.Noisy {
		fmt.Fprintf(w, "\nThis machine is too noisy to tell a percent: %s.\n", r.Noise.Why)
	}
	return nil
}

// shorten keeps a command to one column.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 40 {
		return string(r[:39]) + "…"
	}
	return s
}
