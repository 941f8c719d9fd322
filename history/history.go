// Package history keeps time series in rings of fixed size, so that a page can show
// the last day and the last month without a database: a day in steps of 10 s and 30
// days in steps of 5 min. Memory is bounded by MaxSeries whatever is recorded; the
// rings are saved to one file and survive a restart.
//
//	r := history.New()
//	r.Add(time.Now(), map[string]float64{"hashrate": 5e7})
//	http.Handle("GET /api/v1/history", r)
package history

import (
	"math"
	"slices"
	"sync"
	"time"
)

// MaxSeries bounds the number of series: values of further names are dropped. A series
// takes about 70 kB.
const MaxSeries = 64

// The rings, finest first.
var resolutions = [...]struct {
	step  time.Duration
	slots int
}{
	{10 * time.Second, 8640}, // a day
	{5 * time.Minute, 8640},  // 30 days
}

// Recorder records values of named series. It may be used by several goroutines.
type Recorder struct {
	mu    sync.Mutex // guards the rest
	rings [len(resolutions)]ring
}

// ring holds means of the values of each step.
type ring struct {
	step   int64 // seconds
	slots  int64
	newest int64 // number of the newest step, unix seconds / step; 0: nothing is recorded
	series map[string]*series
}

// series are values by slot, NaN where there is none, and the sum of the newest step.
type series struct {
	values []float32
	sum    float64
	count  int
}

// New makes an empty Recorder.
func New() *Recorder {
	r := new(Recorder)
	for i, res := range resolutions {
		r.rings[i] = ring{step: int64(res.step / time.Second), slots: int64(res.slots), series: make(map[string]*series)}
	}
	return r
}

// Add records values at a time. A series that is not in values has a gap there. Values
// of one step are averaged; a time before the newest step (a clock set back) is taken
// for the newest step, unless all that a ring holds is later.
func (r *Recorder) Add(now time.Time, values map[string]float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rings {
		r.rings[i].add(now.Unix(), values)
	}
}

func (g *ring) add(unix int64, values map[string]float64) {
	g.forward(unix / g.step)
	at := g.newest % g.slots
	for name, value := range values {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			continue
		}
		s := g.series[name]
		if s == nil {
			if len(g.series) >= MaxSeries || name == "" || len(name) > maxName {
				continue
			}
			s = newSeries(g.slots)
			g.series[name] = s
		}
		s.sum += value
		s.count++
		s.values[at] = float32(s.sum / float64(s.count))
	}
}

func newSeries(slots int64) *series {
	s := &series{values: make([]float32, slots)}
	for i := range s.values {
		s.values[i] = float32(math.NaN())
	}
	return s
}

// forward makes a step the newest, and clears what lies between. All that is recorded may
// be of a future that has been called off: then the ring begins anew.
func (g *ring) forward(step int64) {
	if step < g.newest-g.slots {
		g.newest = 0
		clear(g.series)
	}
	if step <= g.newest {
		return
	}
	first := max(g.newest+1, step-g.slots+1)
	for name, s := range g.series {
		for n := first; n <= step; n++ {
			s.values[n%g.slots] = float32(math.NaN())
		}
		s.sum, s.count = 0, 0
		if !slices.ContainsFunc(s.values, func(v float32) bool { return v == v }) {
			delete(g.series, name) // makes room for another name
		}
	}
	g.newest = step
}

// Window is an excerpt: Values of each series, one a step, oldest first; NaN: nothing
// was recorded. The last value belongs to the step that begins at Last.
type Window struct {
	Step   time.Duration
	Last   time.Time
	Series map[string][]float32
}

// Window returns the time span up to now in at most points steps: the finest ring that
// reaches back far enough, averaged where it has more.
func (r *Recorder) Window(now time.Time, span time.Duration, points int) Window {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.rings[0]
	for i := range r.rings {
		g = &r.rings[i]
		if time.Duration(g.step*g.slots)*time.Second >= span {
			break
		}
	}
	steps := min(max(int64(span/time.Second)/g.step, 1), g.slots)
	merge := (steps + int64(points) - 1) / int64(points) // steps of the ring in one of the window
	// Windows of one span begin at multiples of their step, so that a value does not
	// change from one question to the next.
	last := now.Unix() / g.step
	if last == g.newest+1 {
		last = g.newest // the step has only begun
	}
	last /= merge
	n := steps / merge
	w := Window{
		Step:   time.Duration(merge*g.step) * time.Second,
		Last:   time.Unix(last*merge*g.step, 0).UTC(),
		Series: make(map[string][]float32, len(g.series)),
	}
	for name, s := range g.series {
		values := make([]float32, n)
		for i := range values {
			values[i] = g.mean(s, (last-n+1+int64(i))*merge, merge)
		}
		w.Series[name] = values
	}
	return w
}

// mean is that of the steps that have a value; NaN: none has.
func (g *ring) mean(s *series, first, count int64) float32 {
	sum, n := 0.0, 0
	for step := max(first, g.newest-g.slots+1, 0); step < first+count && step <= g.newest; step++ {
		if v := s.values[step%g.slots]; v == v {
			sum += float64(v)
			n++
		}
	}
	if n == 0 {
		return float32(math.NaN())
	}
	return float32(sum / float64(n))
}
