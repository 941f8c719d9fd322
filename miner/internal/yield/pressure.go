package yield

import "time"

// Waiting is what a machine tells at a moment of those who wait for a cpu.
type Waiting struct {
	At time.Duration // of any clock that does not jump
	// Machine is for how long somebody waited on the machine, Own for how long a thread of
	// the engine's control group did: counters of Linux' pressure stall information. What
	// is Machine's and not Own's is somebody else's waiting, at least.
	Machine, Own time.Duration
	// Met counts how often the engine's threads met somebody on their cpus.
	Met uint64
}

const (
	// pressureWindow is what is looked at together: who waits for a moment only is the
	// business of Governor.
	pressureWindow = 5 * time.Second
	// Others who wait for more than pressing of the time are too many, for less than calm
	// nobody; between these nothing changes.
	pressing, calm = 0.10, 0.02
	// pressureLeast is the least share: what is left has sensors.
	pressureLeast = 0.25
	// pressureBack is given back in each calm window, pressureSoon in those after calmLong.
	pressureBack, pressureSoon = 0.02, 0.25
	calmLong                   = 6
	// A cut helps if others wait for this part of what they waited before, at most. After
	// trials that do not help in a row all is taken back, for futileFirst, and twice as long,
	// up to futileMost, each time that it is found again.
	helps                   = 0.75
	trials                  = 3
	futileFirst, futileMost = time.Minute, time.Hour
)

// Pressure finds the share of the threads' time that leaves others enough cpus. What a
// thread feels on its own cpu tells nothing of those who wait for another one because
// this one looks taken: between control groups of the same weight whoever wakes up stands
// behind whoever runs. The machine knows how long tasks wait. But the engine's own waiting is
// part of that, and on many machines others wait whatever the engine does. So it is believed
// only as a second witness: after the group's own waiting is taken off, while the threads
// meet somebody, and for as long as using less does help. The zero value is ready.
type Pressure struct {
	known bool
	last  Waiting

	cut     float64
	quiet   int     // calm windows in a row
	before  float64 // what others waited when a cut began to be tried; 0: none is
	tried   int
	futile  int           // times that all was taken back, since it was calm for long
	ignored time.Duration // nothing is cut before
}

// Sample takes a reading, once a second or so, and returns the share, from 0.25 to 1.
func (p *Pressure) Sample(w Waiting) float64 {
	if !p.known || w.Machine < p.last.Machine || w.Own < p.last.Own || w.At < p.last.At {
		p.known, p.last = true, w // the first, or another group's
		return 1 - p.cut
	}
	if passed := w.At - p.last.At; passed >= pressureWindow {
		others := (w.Machine - p.last.Machine) - (w.Own - p.last.Own)
		p.window(w.At, float64(others)/float64(passed), w.Met != p.last.Met)
		p.last = w
	}
	return 1 - p.cut
}

// window takes the share of a time in which others waited, and whether threads met any.
func (p *Pressure) window(now time.Duration, others float64, met bool) {
	switch {
	case others >= pressing && met && now >= p.ignored:
		p.quiet = 0
		p.press(now, others)
	case others >= pressing:
		p.giveBack(pressureBack) // they wait for something else
	case others < calm:
		p.before = 0
		if p.quiet++; p.quiet >= calmLong {
			p.futile = 0
			p.giveBack(pressureSoon)
		} else {
			p.giveBack(pressureBack)
		}
	default:
		p.quiet = 0
	}
}

func (p *Pressure) press(now time.Duration, others float64) {
	if p.before > 0 && others > helps*p.before {
		if p.tried++; p.tried >= trials {
			p.cut, p.before, p.tried = 0, 0, 0
			p.ignored = now + min(futileFirst<<min(p.futile, 10), futileMost)
			p.futile++
			return
		}
	} else {
		p.before, p.tried = others, 0
	}
	p.cut = min(1-pressureLeast, p.cut+(1-p.cut)/4)
}

func (p *Pressure) giveBack(part float64) { p.cut = max(0, p.cut-part) }
