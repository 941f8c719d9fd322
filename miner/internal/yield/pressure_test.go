package yield

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// host is a machine on which others wait for some share of the time, depending on the
// share that the threads use.
type host struct {
	others func(now time.Duration, share float64) float64
	own    float64 // share of the time that the engine's group waits besides
	alone  bool    // the threads meet nobody
}

// watch samples it each second and returns the shares.
func (h host) watch(p *Pressure, begin, all time.Duration) (shares []float64) {
	var w Waiting
	share := 1.0
	for now := begin; now < begin+all; now += time.Second {
		w.At = now
		own := time.Duration(h.own * float64(time.Second))
		w.Own += own
		w.Machine += own + time.Duration(h.others(now, share)*float64(time.Second))
		if !h.alone {
			w.Met++
		}
		share = p.Sample(w)
		shares = append(shares, share)
	}
	return shares
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}

func TestPressure(t *testing.T) {
	always := func(x float64) func(time.Duration, float64) float64 {
		return func(time.Duration, float64) float64 { return x }
	}
	// Who uses more than half of the machine lets others wait.
	overHalf := func(_ time.Duration, share float64) float64 { return max(0, share-0.5) }
	for name, c := range map[string]struct {
		host           host
		least, most    float64 // mean of the shares in ten minutes
		lowest, latest float64 // at least, of any and of the last
	}{
		"nobody waits":                               {host{others: always(0)}, 1, 1, 1, 1},
		"a little waiting":                           {host{others: always(0.09)}, 1, 1, 1, 1},
		"only the engine's own threads wait":         {host{others: always(0), own: 0.9}, 1, 1, 1, 1},
		"others wait for cpus that they do not meet": {host{others: always(0.8), alone: true}, 1, 1, 1, 1},
		"others wait whatever the engine does":       {host{others: always(0.8)}, 0.9, 0.97, 0.25, 0.25},
		"fewer threads help":                         {host{others: overHalf}, 0.45, 0.65, 0.25, 0.4},
		"fewer threads help, and some wait besides":  {host{others: overHalf, own: 0.5}, 0.45, 0.65, 0.25, 0.4},
		"fewer threads help, but never enough":       {host{others: func(_ time.Duration, s float64) float64 { return s / 2 }}, 0.25, 0.97, 0.25, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			var p Pressure
			shares := c.host.watch(&p, time.Hour, 10*time.Minute)
			m, low, last := mean(shares), slices.Min(shares), shares[len(shares)-1]
			t.Logf("mean %.2f, least %.2f, last %.2f", m, low, last)
			if m < c.least || m > c.most || low < c.lowest || last < c.latest {
				t.Errorf("want mean %v to %v, least %v, last %v", c.least, c.most, c.lowest, c.latest)
			}
		})
	}
}

// All is given back within a minute and a half after the others have gone.
func TestPressureEnds(t *testing.T) {
	var p Pressure
	const until = 5 * time.Minute
	h := host{others: func(now time.Duration, share float64) float64 {
		if now > until {
			return 0
		}
		return share
	}}
	shares := h.watch(&p, 0, until+90*time.Second)
	if low := slices.Min(shares[:300]); low > 0.5 {
		t.Errorf("at least a share of %v while others waited", low)
	}
	if last := shares[len(shares)-1]; last != 1 {
		t.Errorf("a share of %v in the end", last)
	}
}

// A machine that is always busy is tried ever more seldom: in a day the engine has lost
// next to nothing by it.
func TestPressureLearnsThatItIsFutile(t *testing.T) {
	var p Pressure
	shares := host{others: func(time.Duration, float64) float64 { return 0.9 }}.watch(&p, 0, 24*time.Hour)
	if m := mean(shares[12*3600:]); m < 0.995 {
		t.Errorf("mean share %v in the second half of a day", m)
	}
}

// Whatever the counters do, the share keeps its bounds, and readings of another group,
// whose counters are smaller, change nothing.
func TestPressureKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Pressure
		was := 1.0
		counter := rapid.Int64Range(0, int64(1000*time.Hour))
		for range rapid.IntRange(1, 100).Draw(t, "samples") {
			w := Waiting{
				At: time.Duration(counter.Draw(t, "at")), Machine: time.Duration(counter.Draw(t, "machine")), Own: time.Duration(counter.Draw(t, "own")),
				Met: rapid.Uint64Range(0, 3).Draw(t, "met"),
			}
			back := p.known && (w.At < p.last.At || w.Machine < p.last.Machine || w.Own < p.last.Own)
			share := p.Sample(w)
			if share < pressureLeast || share > 1 {
				t.Fatalf("share %v", share)
			}
			if back && share != was {
				t.Fatalf("counters that fell changed the share from %v to %v", was, share)
			}
			was = share
		}
	})
}

// On the machine that the traces are from others waited for each other all the time, whatever the
// engine did: it is tried once whether fewer threads help, and then all of them hash. With
// a quota, fewer threads run than the kernel stops.
func TestPressureTraces(t *testing.T) {
	for _, c := range []struct {
		name   string
		others float64 // share of the time that others waited at least: the trace is what it is called
		stops  float64 // share of the periods in which the group was stopped, at least
		quota  float64 // share of the time in the end, at most
	}{{"waiting", 0.5, 0, 1}, {"computing", 0.5, 0, 1}, {"quota", 0, 0.15, 0.75}} {
		t.Run(c.name, func(t *testing.T) {
			var p Pressure
			var q Quota
			var shares []float64
			quota := 1.0
			list := loadPressure(t, c.name)
			for _, r := range list {
				shares = append(shares, p.Sample(r.Waiting))
				if r.periods > 0 {
					quota = q.Sample(r.periods, r.throttled)
				}
			}
			first, last := list[0], list[len(list)-1]
			others := float64(last.Machine-first.Machine-last.Own+first.Own) / float64(last.At-first.At)
			stops := float64(last.throttled-first.throttled) / max(1, float64(last.periods-first.periods))
			t.Logf("others waited %.2f of the time, stopped in %.2f of the periods; shares from %.2f, last %.2f, of the quota %.2f",
				others, stops, slices.Min(shares), shares[len(shares)-1], quota)
			if others < c.others || stops < c.stops {
				t.Error("the trace is not what it is called")
			}
			if slices.Min(shares) < pressureLeast || shares[len(shares)-1] != 1 || quota > c.quota {
				t.Errorf("shares %.2f, of the quota %.2f", shares, quota)
			}
			if cuts := changes(shares); cuts > trials+1 {
				t.Errorf("%d changes: %.2f", cuts, shares)
			}
		})
	}
}

// changes counts how often a share changed.
func changes(shares []float64) (n int) {
	for i := 1; i < len(shares); i++ {
		if shares[i] != shares[i-1] {
			n++
		}
	}
	return n
}

// starvation is a line of a trace.
type starvation struct {
	Waiting
	periods, throttled uint64
}

// loadPressure reads what was recorded by go test ./miner -run RecordPressure.
func loadPressure(t *testing.T, name string) (list []starvation) {
	t.Helper()
	f, err := traces.Open("testdata/" + name + ".pressure")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			t.Log(lines.Text())
			continue
		}
		var s starvation
		if _, err := fmt.Sscan(lines.Text(), &s.At, &s.Machine, &s.Own, &s.Met, &s.periods, &s.throttled); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		list = append(list, s)
	}
	return list
}
