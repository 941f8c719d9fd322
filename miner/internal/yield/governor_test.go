package yield

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// step is one call and its answer.
type step struct {
	ran, off time.Duration
	slow     bool
	after    time.Duration // of a park, if woke
	woke     bool
	want     time.Duration
}

func batch(ran, off, want time.Duration) step { return step{ran: ran, off: off, want: want} }

func slow(ran, want time.Duration) step { return step{ran: ran, slow: true, want: want} }

func woke(after, want time.Duration) step { return step{after: after, woke: true, want: want} }

func TestGovernor(t *testing.T) {
	for name, steps := range map[string][]step{
		"nobody": {batch(100*us, 0, 0), batch(100*us, 20*us, 0), batch(time.Hour, 49*us, 0)},
		"an aside that finds nobody, and the next only when it has been earned": {
			batch(5*ms, 60*us, aside), woke(60*us, 0),
			batch(9900*us, 60*us, 0), batch(100*us, 60*us, aside), woke(0, 0),
			batch(19*ms, 60*us, 0), batch(ms, 60*us, aside), woke(0, 0),
			batch(39*ms, 60*us, 0), batch(ms, 60*us, aside), woke(0, 0),
			batch(39*ms, 60*us, 0), batch(ms, 60*us, aside), woke(ms, aside), woke(0, 0), // somebody
			batch(9900*us, 60*us, 0), batch(100*us, 60*us, aside), woke(0, 0),
		},
		"somebody by chance": {
			batch(5*ms, ms, aside), woke(ms, aside), woke(2*ms, aside), woke(10*us, 0), batch(100*us, 0, 0),
			batch(4*ms, ms, 0), // not due yet
		},
		"somebody who stays: longer and longer": {
			batch(5*ms, ms, aside), woke(ms, aside), woke(ms, aside), woke(ms, firstPark),
			woke(ms, aside), woke(ms, 2*firstPark),
			woke(ms, aside), woke(ms, 4*firstPark),
			woke(0, 0), // the kernel let the thread go first, or nobody is there now
			batch(400*us, ms, 0), batch(200*us, ms, aside), woke(ms, 8*firstPark),
			woke(ms, aside), woke(0, 0), // shorter again
			batch(ms, ms, aside), woke(ms, 8*firstPark),
		},
		"the other thread of the core": {
			slow(500*us, 0), slow(400*us, 0), slow(100*us, ms), woke(ms, 0),
			slow(100*us, 2*ms), woke(0, 0), slow(100*us, 4*ms), woke(0, 0),
			batch(100*us, 0, 0),              // free again
			slow(900*us, 0), batch(us, 0, 0), // a hiccup
			slow(900*us, 0), slow(100*us, 4*ms), // half as long, doubled
		},
	} {
		t.Run(name, func(t *testing.T) {
			var g Governor
			for i, s := range steps {
				var got time.Duration
				if s.woke {
					got = g.Woke(s.after)
				} else {
					got = g.Batch(s.ran, s.off, s.slow)
				}
				if got != s.want {
					t.Fatalf("step %d, %+v: park for %v", i, s, got)
				}
			}
		})
	}
}

// A thread yields until somebody is met, and again when asides without yields found nobody:
// but not while somebody may be there, and not for ever without asking anew.
func TestGovernorYields(t *testing.T) {
	var g Governor
	// share is that of others, as long as the thread runs for a time, in batches.
	run := func(all time.Duration, share float64, after time.Duration) (asked time.Duration) {
		t.Helper()
		const batch = 300 * us
		for ran := time.Duration(0); ran < all; ran += batch {
			if !g.Yields() {
				asked += batch
			}
			park := g.Batch(batch, time.Duration(share/(1-share)*float64(batch)), false)
			for range 4 { // and then a batch whatever is: see patience in package miner
				if park > 0 {
					park = g.Woke(after)
				}
			}
		}
		return asked
	}
	expect := func(when string, want bool) {
		t.Helper()
		if g.Yields() != want {
			t.Errorf("%s: yields %v", when, !want)
		}
	}
	expect("alone", true)
	run(10*ms, 0.5, 0)
	expect("others have had little so far", true)
	run(20*ms, 0.5, 0)
	expect("an aside or two found nobody", false)
	run(50*ms, 0.5, 0)
	expect("six found nobody", true)
	run(900*ms, 0.5, 0)
	expect("most of a second later", true)
	if asked := run(100*time.Second, 0.5, 0); asked < 100*ms || asked > 300*ms { // after 1, 2, 4 … s
		t.Errorf("asked for %v of 100 s", asked)
	}
	expect("while nobody is there but who serves", true)
	if asked := run(5*time.Second, 0.5, ms); asked > 100*ms {
		t.Errorf("who is met by chance had no yields for %v", asked)
	}
	run(5*time.Second, 0.1, 0)
	expect("less is going on", true)
	if asked := run(100*ms, 0.6, 0); asked == 0 {
		t.Error("more is going on, and nobody asks")
	}
	run(time.Second, 0.6, 0)
	expect("it was nobody who computes", true)
	run(5*time.Second, 0.1, 0)
	run(500*ms, 0.6, ms)
	expect("somebody computes", false)
	run(100*ms, 0.6, 0)
	expect("he is gone", true)
	if asked := run(1100*ms, 0.6, 0); asked == 0 {
		t.Error("after somebody was met the thread trusts for a minute as before")
	}
}

// Whatever happens, a park is bounded, nobody is disturbed while nobody is seen, and
// asides that find nobody cost a tenth of the time at the most.
func TestGovernorKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g Governor
		var ran, idle, park time.Duration
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			if park > 0 {
				was := park
				after := time.Duration(rapid.IntRange(0, 2000).Draw(t, "after")) * us
				park = g.Woke(after)
				if after < late && was == aside {
					idle += was
				}
			} else {
				one := time.Duration(rapid.IntRange(1, 10000).Draw(t, "ran")) * us
				ran += one
				off := time.Duration(rapid.IntRange(0, 500).Draw(t, "off")) * us
				if park = g.Batch(one, off, false); park > 0 && off < LossLeast {
					t.Fatal("parked for nobody")
				}
			}
			if park < 0 || park > mostPark {
				t.Fatalf("park for %v", park)
			}
			if idle > ran/suspected*aside {
				t.Fatalf("%v of %v were idle", idle, ran)
			}
		}
	})
}

func TestSensor(t *testing.T) {
	s := Sensor{Slow: true}
	if s.Odd(100*us, 1000) || s.Odd(99*us, 1000) || s.Odd(105*us, 1000) {
		t.Error("a batch on a free core is odd")
	}
	if !s.Odd(160*us, 1000) {
		t.Error("a batch that lost 61 µs is not odd")
	}
	if off, slow := s.Split(160*us, 60*us, 1000); off != 60*us || slow {
		t.Errorf("off the cpu for 60 µs: %v, %v", off, slow)
	}
	if off, slow := s.Split(160*us, 0, 1000); off != 0 || !slow {
		t.Errorf("never off the cpu: %v, %v", off, slow)
	}
	// What was lost in other batches is not this one's.
	if off, slow := s.Split(160*us, time.Second, 1000); off != 61*us || slow {
		t.Errorf("off the cpu for a second altogether: %v, %v", off, slow)
	}
	// A clock that falls for good becomes the normal one in a while.
	for range 3 * window {
		s.Odd(150*us, 1000)
	}
	if s.Odd(150*us, 1000) {
		t.Error("after two windows the slower clock is still odd")
	}
	if s.Slow = false; s.Odd(199*us, 1000) {
		t.Error("slow batches are odd where nobody can be on the core's other thread")
	}
	s.Forget()
	if s.Odd(time.Second, 1) || s.Floor() != 1e9 {
		t.Errorf("the first batch is odd, floor %v", s.Floor())
	}
}

func TestQuota(t *testing.T) {
	var q Quota
	if q.Sample(1000, 500) != 1 {
		t.Error("what was before counts")
	}
	// A group that may use 1.5 of 2 cpus, at 10 periods a second: whoever wants more is
	// stopped in every period.
	var periods, throttled uint64 = 1000, 500
	var last []float64
	share := 1.0
	for range 1000 {
		periods += 10
		if share > 0.75 {
			throttled += 10
		}
		share = q.Sample(periods, throttled)
		last = append(last, share)
	}
	last = last[500:]
	if slices.Max(last) > 0.76 || slices.Min(last) < 0.5 {
		t.Errorf("between %v and %v of 0.75", slices.Min(last), slices.Max(last))
	}
	stops := 0
	for _, s := range last {
		if s > 0.75 {
			stops++
		}
	}
	if stops > len(last)/20 {
		t.Errorf("stopped in %d of %d seconds", stops, len(last))
	}
	// Another group, whose counters are smaller.
	if q.Sample(1, 1) > 1 {
		t.Error("more than all")
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		n       int
		share   float64
		threads int
		duty    float64
	}{
		{4, 1, 4, 1},
		{4, 0.5, 2, 1},
		{4, 0.6, 3, 0.8},
		{1, 0.25, 1, 0.25},
		{2, 0.01, 1, 0.02},
	} {
		threads, duty := Spread(c.n, c.share)
		if threads != c.threads || duty < c.duty-1e-9 || duty > c.duty+1e-9 {
			t.Errorf("%v of %d: %d threads at %v", c.share, c.n, threads, duty)
		}
	}
}
