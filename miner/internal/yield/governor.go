// Package yield decides when a hashing thread gives its cpu to others, from nothing
// but how long its own batches of hashes and its own sleeps took.
//
// On a free core a batch takes always the same time. Sensor compares: a batch that
// took longer was either off the cpu for a while (somebody else ran there, or the
// host of a virtual machine gave the core away) or slowed down (somebody runs on the
// other thread of the core). Governor turns this into parks, in which the thread
// sleeps; the sleep is a probe itself, since a thread of SCHED_IDLE that wakes up on
// a busy cpu has to wait. Quota fits the threads to a limit of a control group, and
// Pressure to what others wait for.
//
// All are pure: samples in, decisions out.
package yield

import "time"

// LossLeast is how long a thread is off the cpu in one batch for somebody to have wanted
// it; less is an interrupt or a thread of the kernel.
const LossLeast = 50 * time.Microsecond

const (
	// aside is the shortest park: long enough for whoever waits to be seen running
	// afterwards, short enough to cost nothing when nobody does.
	aside = 50 * time.Microsecond
	// late is how much later than asked a thread wakes up where others run. A timer
	// and a core that slept make tens of microseconds.
	late = 250 * time.Microsecond
	// earned is for how long a thread is on the cpu before an aside that finds nobody
	// costs no more than a hundredth of it, and half of that after each that found nobody
	// down to an eighth; suspected: while somebody seems to be there it may cost ten times
	// that.
	earned     = 100 * aside
	suspected  = 10 * aside
	mostMisses = 3
	// convincing is how many of them in a row count as enough for yields to be enough.
	convincing = 6
	// firstTrust is for how long a thread runs and yields before asides ask anew whether yields
	// are enough, and twice as long each time that they are, up to mostTrust: while asides ask,
	// who wakes up may have to wait for a tick. If others suddenly have risen more of the
	// cpu than they had, a hurry-th of that time is enough. For others who have little of it
	// nobody asks: who computes has more, whatever the kernel does.
	firstTrust, mostTrust = time.Second, 64 * time.Second
	little, risen         = 0.1, 0.2
	hurry                 = 16
	// quick and steady are over how long a share of the cpu is averaged: as it is now, and as
	// it was.
	quick, steady = 200 * time.Millisecond, 2 * time.Second
	// Asides that find somebody count for somebody who stays, those that find nobody
	// against it. Who computes is found by all of them, or by two of three where the
	// kernel lets a thread that wakes up go first. Who serves and leaves gaps is found
	// by few, by chance, and its gaps are what there is to harvest.
	found, missed    = 1, 0.75
	certain, topmost = 3, 6
	// firstPark and mostPark bound the longer parks.
	firstPark = 200 * time.Microsecond
	mostPark  = 100 * time.Millisecond
	// slowLeast is how long batches have to be slow before the thread parks.
	slowLeast = time.Millisecond
)

// Governor decides for one thread. The zero value is ready.
type Governor struct {
	ran  time.Duration // on the cpu since the last aside
	slow time.Duration // for how long batches have been slow

	state   state
	opinion float64       // that somebody stays: 0 to topmost
	misses  int           // asides that found nobody, in a row
	length  time.Duration // of the last longer park

	asks  bool          // whether yields are enough
	trust time.Duration // for how long they count as enough, if asides found that they are
	since time.Duration // on the cpu since they did
	now   float64       // the share of the cpu that others have
	usual float64
}

type state uint8

const (
	running state = iota
	stepped       // in an aside
	parked        // in a longer park for somebody on this cpu
	waiting       // in a park for somebody on the core's other thread
	probing       // running one batch after that
)

// Batch takes what was seen of a batch: how long it ran, how long the thread was off
// the cpu, and whether it was slow. It returns for how long to park; 0: go on.
func (g *Governor) Batch(ran, off time.Duration, slow bool) (park time.Duration) {
	g.ran += ran
	if g.doubts(ran, off) && off >= LossLeast && !g.asks {
		g.asks, g.misses = true, 0
	}
	if slow {
		g.slow += ran
		if g.slow >= slowLeast || g.state == probing {
			g.length = min(max(2*g.length, slowLeast), mostPark)
			g.state = waiting
			return g.length
		}
	} else {
		g.slow = 0
		if g.state == probing {
			g.length /= 2
		}
	}
	g.state = running
	due := time.Duration(earned) << min(g.misses, mostMisses)
	switch {
	case g.opinion >= certain:
		due = suspected
	case g.asks:
		due = earned
	}
	if off >= LossLeast && g.ran >= due {
		return g.step()
	}
	return 0
}

// Yields says whether the thread is to yield now and then. Between control groups of the
// same weight that is of no use to others, and a thread that yields is let go first when it
// wakes up, so that its asides find nobody. So asides ask without yields at first.
func (g *Governor) Yields() bool { return !g.asks }

// doubts says whether it is time to ask anew if yields are enough.
func (g *Governor) doubts(ran, off time.Duration) bool {
	g.since += ran
	all := ran + off
	g.now += (float64(off)/float64(max(all, 1)) - g.now) * min(1, float64(all)/float64(quick))
	g.usual += (g.now - g.usual) * min(1, float64(all)/float64(steady))
	return g.now >= little && (g.since >= g.trust || g.now >= g.usual+risen && g.since >= max(firstTrust, g.trust/hurry))
}

func (g *Governor) step() time.Duration {
	g.state, g.ran = stepped, 0
	return aside
}

// Woke takes how much later than asked the thread ran again after a park. It returns
// for how long to park once more; 0: hash.
func (g *Governor) Woke(after time.Duration) (park time.Duration) {
	was := g.state
	g.state = running
	switch {
	case was == waiting:
		g.state = probing
	case was == parked && after < late:
	case was == parked:
		// Perhaps the cpu was free for most of the park: only asides can tell.
		return g.step()
	case after < late:
		g.opinion = max(0, g.opinion-missed)
		if g.misses++; g.asks && g.misses >= convincing {
			g.asks, g.trust, g.since = false, min(max(2*g.trust, firstTrust), mostTrust), 0
		}
		g.length /= 2
	default:
		g.opinion, g.misses = min(topmost, g.opinion+found), 0
		if g.opinion < certain {
			return g.step()
		}
		if g.asks { // yields were not enough
			g.trust = 0
		}
		g.length = min(max(2*g.length, firstPark), mostPark)
		g.state = parked
		return g.length
	}
	return 0
}
