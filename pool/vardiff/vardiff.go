// Package vardiff chooses share difficulties: so high that a miner sends about the
// wanted number of shares per minute, and changed so that no share is refused
// because of a change. It is pure: time comes in with each call.
//
// A Miner estimates and decides, a Book remembers which difficulty holds for which
// job.
package vardiff

import (
	"math"
	"time"
)

// Config is common to all miners of a server. Difficulties are pdiff.
type Config struct {
	SharesPerMinute float64 // wanted per miner; 0: 15
	Min, Max        float64 // bounds; 0: 1e-6 and 1e12
}

func (c Config) withDefaults() Config {
	if c.SharesPerMinute <= 0 {
		c.SharesPerMinute = 15
	}
	if c.Min <= 0 {
		c.Min = 1e-6
	}
	if c.Max <= 0 {
		c.Max = 1e12
	}
	return c
}

// The rules, in words:
//
//   - A window begins with each change. It holds n shares of summed difficulty W in
//     the time T, so the miner does W/T of work per second, known to about 1/√n.
//   - The wanted difficulty is W/T divided by the wanted rate. It is taken if it
//     differs from the present one by more than chance explains (certainty standard
//     deviations, and minBand in any case), and not within settle of the last change.
//   - Many times too many shares are no chance even when few: burst allows a change
//     at once, by up to maxStep.
//   - Without shares for idle times the wanted pause the difficulty falls in steps, but
//     not below what the kind of device takes, nor below a silence-th of what the miner
//     has proved to be good for: a silent miner is off, not slow.
//   - What comes at once after a silence was found in it: a line that was cut brings minutes'
//     worth of shares in an instant. Of those one counts, unless that goes on and on.
//   - A miner's wish is where it begins anew, and no more: shares decide after that. A
//     wish that was heard before is no news, others are granted wishInterval apart.
const (
	settle    = 20 * time.Second
	minBand   = 1.4
	certainty = 3.0
	// burst: this many shares, at least burstRatio too fast.
	burst      = 6
	burstRatio = 6.0
	maxStep    = 1000.0
	// idle: expected shares that did not come. e^-8 is 1 in 3000.
	idle     = 8.0
	idleStep = 4.0
	// proof: with so many shares, in settle at least, a miner has shown its rate.
	proof   = 3
	silence = 64.0
	// catchUp is for how long after a silence shares may be late. There may be lateMost of
	// them, and lateMore times as many as are wanted: who sends pulses is no cut line.
	catchUp  = 2 * time.Second
	lateMost = 1000.0
	lateMore = 4.0
	// maxFall bounds one fall that shares are the reason for.
	maxFall = 8.0
	// window: evidence older than this loses half of its weight.
	window = 4 * time.Minute
	// wishInterval is settle for wishes; wishRange is how far below its proven
	// difficulty a miner may wish itself.
	wishInterval = 20 * time.Second
	wishRange    = 16.0
)

// Miner is what is known of one miner. The zero value is not ready: use New.
type Miner struct {
	difficulty float64
	least      float64 // of its kind of device, or as it said; 0: none
	proven     float64 // that gives it the wanted rate, from its shares; 0: it has not shown
	work       float64 // summed difficulty of the window's shares
	shares     float64 // number of the window's shares
	began      time.Time
	changed    time.Time
	idling     bool      // the last change was for silence
	last       time.Time // share
	late       time.Time // until then shares may be those of a silence
	taken      float64   // late shares that did not count, less what is allowed since

	heard, granted wishes // the last ones
	wished         time.Time
}

// wishes are difficulties that a miner asks for, 0: none: to begin anew with, and not to be
// below.
type wishes struct{ begin, least float64 }

// Wish is a difficulty that a miner asks for. Least says that it cannot do with less.
type Wish struct {
	Difficulty float64
	Least      bool
}

// New is a miner that starts at a difficulty; least is the lowest that its kind of device
// takes, 0: any.
func New(c Config, now time.Time, start, least float64) Miner {
	c = c.withDefaults()
	m := Miner{least: least, began: now, changed: now}
	m.difficulty = clamp(start, m.floor(c), c.Max)
	return m
}

// Again is the miner on another connection: what it does is judged anew, what is known of
// it stays.
func (m Miner) Again(now time.Time) Miner {
	m.set(now, m.difficulty)
	return m
}

// floor is the lowest difficulty that the miner may get.
func (m *Miner) floor(c Config) float64 { return min(max(c.Min, m.least), c.Max) }

// Difficulty is the present one.
func (m *Miner) Difficulty() float64 { return m.difficulty }

// Rate is the miner's work in difficulty per second over the present window.
func (m *Miner) Rate(now time.Time) float64 {
	seconds := now.Sub(m.began).Seconds()
	if seconds <= 0 {
		return 0
	}
	return m.work / seconds
}

// Suggest notes the miner's wishes, and grants them if the last ones were granted long
// enough ago; else that is left to Share and Tick. A difficulty of 0 is none.
func (m *Miner) Suggest(c Config, now time.Time, list ...Wish) (difficulty float64, changed bool) {
	for _, wish := range list {
		switch {
		case !(wish.Difficulty > 0): // NaN too
		case wish.Least:
			m.heard.least = wish.Difficulty
		default:
			m.heard.begin = wish.Difficulty
		}
	}
	return m.grant(c.withDefaults(), now)
}

// grant grants the wishes that were heard last, if it is time.
func (m *Miner) grant(c Config, now time.Time) (difficulty float64, changed bool) {
	if m.heard == m.granted || !m.wished.IsZero() && now.Sub(m.wished) < wishInterval {
		return m.difficulty, false
	}
	before, d := m.granted, m.difficulty
	m.granted, m.wished = m.heard, now
	if least := m.granted.least; least != before.least {
		m.least = least
		d = max(d, least)
	}
	if begin := m.granted.begin; begin != before.begin {
		d = begin
		// Who asks for less than its kind of device takes less, but not than it said.
		m.least = max(min(m.least, begin), m.granted.least)
	}
	return m.set(now, clamp(max(d, m.proven/wishRange), m.floor(c), c.Max))
}

// Share notes an accepted share that was judged at the difficulty credited.
func (m *Miner) Share(c Config, now time.Time, credited float64) (difficulty float64, changed bool) {
	c = c.withDefaults()
	missing := now.Sub(m.last).Seconds() * c.SharesPerMinute / 60
	m.last = now
	m.taken = max(m.taken-missing*lateMore, 0)
	switch {
	case m.proven > 0 && missing >= idle:
		m.late = now.Add(catchUp)
	case now.Before(m.late) && m.taken < lateMost:
		m.taken++
		return m.difficulty, false
	}
	m.work += credited
	m.shares++
	if m.shares >= proof && now.Sub(m.began) >= settle {
		m.proven = m.Rate(now) / (c.SharesPerMinute / 60)
	}
	return m.decide(c, now)
}

// Tick is to be called every few seconds: it notices silence.
func (m *Miner) Tick(c Config, now time.Time) (difficulty float64, changed bool) {
	return m.decide(c.withDefaults(), now)
}

func (m *Miner) decide(c Config, now time.Time) (float64, bool) {
	if d, changed := m.grant(c, now); changed {
		return d, true
	}
	elapsed := now.Sub(m.began)
	if elapsed <= 0 {
		elapsed = time.Millisecond
	}
	rate := c.SharesPerMinute / 60
	expected := elapsed.Seconds() * rate
	if m.shares < 1 {
		if expected < idle {
			return m.difficulty, false
		}
		return m.fall(c, now)
	}
	wanted := m.work / elapsed.Seconds() / rate
	ratio := wanted / m.difficulty
	early := now.Sub(m.changed) < settle
	switch {
	case m.shares >= burst && ratio >= burstRatio:
		// A short window exaggerates: the shares of the first instant may have been
		// found before it began.
		wanted = min(wanted, m.difficulty*maxStep)
	case early:
		return m.difficulty, false
	default:
		band := max(minBand, math.Exp(certainty/math.Sqrt(max(m.shares, 1))))
		if m.shares < expected && m.shares < 9 {
			// Too few shares is measured against what was expected: silence is
			// evidence too.
			band = max(minBand, math.Exp(certainty/math.Sqrt(expected)))
		}
		if ratio < band && ratio > 1/band {
			m.age(elapsed)
			return m.difficulty, false
		}
		wanted = max(wanted, m.difficulty/maxFall)
	}
	return m.set(now, clamp(wanted, m.floor(c), c.Max))
}

// fall answers silence.
func (m *Miner) fall(c Config, now time.Time) (float64, bool) {
	step := idleStep
	if m.idling {
		step *= idleStep // it is not chance any more
	}
	// Where the difficulty is below that already, for good reason, it stays.
	low := min(max(m.floor(c), m.proven/silence), m.difficulty)
	d, changed := m.set(now, clamp(m.difficulty/step, low, c.Max))
	m.idling = true
	return d, changed
}

// age halves the window's weight when it has become long, so that a miner that
// slows down or speeds up is noticed.
func (m *Miner) age(elapsed time.Duration) {
	if elapsed < window {
		return
	}
	m.work /= 2
	m.shares /= 2
	m.began = m.began.Add(elapsed / 2)
}

func (m *Miner) set(now time.Time, difficulty float64) (float64, bool) {
	m.began, m.work, m.shares, m.idling = now, 0, 0, false
	if difficulty == m.difficulty {
		return difficulty, false
	}
	m.difficulty, m.changed = difficulty, now
	return difficulty, true
}

// clamp bounds a difficulty and rounds it as miners like it: whole from 1 on, three
// digits below.
func clamp(d, low, high float64) float64 {
	if !(d > low) { // NaN too
		return low
	}
	if d >= high {
		return high
	}
	if d >= 1000 {
		return math.Round(d)
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(d)))
	d = math.Round(d*scale) / scale
	if d >= 2 {
		d = math.Round(d)
	}
	return min(max(d, low), high)
}
