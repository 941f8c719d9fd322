package yield

import (
	"bufio"
	"embed"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Recorded by go test ./miner -run RecordTraces, on the machines that their first lines name.
//
//go:embed testdata
var traces embed.FS

// recorded is a batch of a trace.
type recorded struct {
	wall, cpu time.Duration
	hashes    int
}

func load(t *testing.T, name string) (list []recorded) {
	t.Helper()
	f, err := traces.Open("testdata/" + name + ".trace")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			t.Log(lines.Text())
			continue
		}
		var r recorded
		if _, err := fmt.Sscan(lines.Text(), &r.wall, &r.cpu, &r.hashes); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		list = append(list, r)
	}
	return list
}

// What a thread lost is found, and a cpu of its own leads to few asides only, though on
// this shared host batches took up to twice as long: the core's other half was busy.
func TestTraces(t *testing.T) {
	for _, c := range []struct {
		name            string
		lost            float64 // share of the time that is lost at least
		least, greatest int     // parks, if each finds nobody, so that they become rare
	}{
		{"alone", 0, 0, 20},
		{"computing", 0.3, 10, 1000},
		{"serving", 0.3, 5, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s Sensor
			var g Governor
			var wall, gone, found time.Duration
			var odd, parks int
			list := load(t, c.name)
			for _, r := range list {
				wall += r.wall
				gone += max(0, r.wall-r.cpu)
				if !s.Odd(r.wall, r.hashes) {
					g.Batch(r.wall, 0, false)
					continue
				}
				odd++
				off, slow := s.Split(r.wall, r.wall-r.cpu, r.hashes)
				found += off
				if g.Batch(r.wall-off, off, slow && s.Slow) > 0 {
					parks++
					g.Woke(0)
				}
			}
			t.Logf("%d batches in %v, %v off the cpu, of which %v were found in %d odd ones; %d parks", len(list), wall, gone, found, odd, parks)
			if float64(gone) < c.lost*float64(wall) {
				t.Errorf("the trace is not what it is called")
			}
			if found < gone*9/10-10*time.Millisecond {
				t.Errorf("found %v of %v off the cpu", found, gone)
			}
			if parks < c.least || parks > c.greatest {
				t.Errorf("%d parks", parks)
			}
		})
	}
}
