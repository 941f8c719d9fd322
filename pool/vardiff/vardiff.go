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
//   - Without shares for idle times the wanted pause the difficulty falls in steps.
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
	// window: evidence older than this loses half of its weight.
	window = 4 * time.Minute
)

// Miner is what is known of one miner. The zero value is not ready: use New.
type Miner struct {
	difficulty float64
	floor      float64 // the miner's own wish, 0: none
	work       float64 // summed difficulty of the window's shares
	shares     float64 // number of the window's shares
	began      time.Time
	changed    time.Time
	idling     bool // the last change was for silence
}

// New is a miner that starts at a difficulty.
func New(c Config, now time.Time, start float64) Miner {
	c = c.withDefaults()
	return Miner{difficulty: clamp(start, c.Min, c.Max), began: now, changed: now}
}

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

// Suggest is the miner's wish: it is taken at once, and not undercut later except
// for silence.
func (m *Miner) Suggest(c Config, now time.Time, wish float64) (difficulty float64, changed bool) {
	c = c.withDefaults()
	m.floor = wish
	return m.set(now, clamp(wish, c.Min, c.Max))
}

// Share notes an accepted share that was judged at the difficulty credited.
func (m *Miner) Share(c Config, now time.Time, credited float64) (difficulty float64, changed bool) {
	m.work += credited
	m.shares++
	return m.decide(c.withDefaults(), now)
}

// Tick is to be called every few seconds: it notices silence.
func (m *Miner) Tick(c Config, now time.Time) (difficulty float64, changed bool) {
	return m.decide(c.withDefaults(), now)
}

func (m *Miner) decide(c Config, now time.Time) (float64, bool) {
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
		step := idleStep
		if m.idling {
			step *= idleStep // it is not chance any more
		}
		d, changed := m.set(now, clamp(m.difficulty/step, c.Min, c.Max))
		m.idling = true
		return d, changed
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
		wanted = max(wanted, m.difficulty/8)
	}
	if m.floor > 0 && wanted < m.floor && m.difficulty >= m.floor {
		wanted = m.floor
	}
	return m.set(now, clamp(wanted, c.Min, c.Max))
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
