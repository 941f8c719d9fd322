package core

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// rollout replaces miners that work by settings or an executor of before: first one,
// and when its successor does its work a few at a time, so that never more are ended
// than new ones were seen to work. When new ones fail, it stops; and if there is a
// binary that ran before, new tasks get that one again.
type rollout struct {
	begun    bool
	old      []*Task // to be replaced; some are not any more
	killed   int
	proved   int           // of the new, not more than killed
	missing  int           // were killed, and nothing came in their place; not in killed
	failures int           // of the new, since one last did its work
	against  int           // of these, that may be the binary's fault
	at       time.Duration // of the last success or kill
	stopped  string        // why; "": it goes on
	back     bool          // new tasks get the fallback
}

const (
	// mostUnavailable is the share of miners that may be replaced at a time, as one in.
	mostUnavailable = 20
	// mostFailures is how many new tasks may fail in a row.
	mostFailures = 3
	// stalledAfter is how long a successor is waited for that does not come: its
	// agent may be gone, or its cpus be somebody else's.
	stalledAfter = 15 * time.Minute
	// whyMissing is said when too many did not come.
	whyMissing = "miners were ended and no new ones came in their place: others may have taken their cpus"
	// badFor is how long a binary that did not run is not tried again.
	badFor = time.Hour
	// rollLooks is at how many miners a tick looks.
	rollLooks = 1000
)

// artifact is the executor that new tasks get.
func (c *Core) artifact() Artifact {
	if c.rollout.back {
		return c.set.Fallback
	}
	return Artifact{c.set.ArtifactURL, c.set.ArtifactDigest, c.set.ArtifactArchive}
}

// beginRollout looks for what is to be replaced. It is called whenever that changes
// for other tasks than new ones.
func (c *Core) beginRollout() {
	c.rollout.old = nil
	for _, t := range c.tasks {
		c.count(t, -1)
		if t.run.old = t.Kind == KindMiner && c.outdated(t); t.run.old && t.Kill == "" {
			c.rollout.old = append(c.rollout.old, t)
		}
		c.count(t, 1)
	}
	slices.SortFunc(c.rollout.old, byID)
}

func byID(a, b *Task) int { return strings.Compare(a.ID, b.ID) }

// rememberBad goes on where the process before stopped, before anything is launched.
func (c *Core) rememberBad() {
	if c.rollout.begun {
		return
	}
	c.rollout.begun = true
	b := c.state.Bad
	if b == nil {
		return
	}
	if b.Digest != c.set.ArtifactDigest || c.now.Sub(b.At) >= badFor {
		c.state.Bad, c.dirty = nil, true
		return
	}
	c.stopRollout(b.Why, b.Runs)
}

// rolloutDone says that no miner is left to be replaced that Mesos can see.
func (c *Core) rolloutDone() bool { return c.sums.old == 0 }

// roll replaces a few more.
func (c *Core) roll() {
	r := &c.rollout
	if r.stopped != "" {
		c.troubled("upgrade", "replacing tasks stopped: "+r.stopped)
	}
	if r.stopped != "" || len(r.old) == 0 || !c.settled() || c.best() != healthServing {
		return
	}
	switch code, _ := c.minersWanted(); code {
	case reasonNone, reasonPace, reasonEnough:
	default:
		return // they would not be launched again
	}
	most := max(1, c.sums.miners/mostUnavailable)
	if r.killed > r.proved && c.clock-r.at > stalledAfter {
		if r.missing >= most { // an operator may say that it is to go on
			c.troubled("upgrade", "replacing tasks waits: "+whyMissing)
			return
		}
		r.killed, r.missing, r.at = r.killed-1, r.missing+1, c.clock
	}
	room := most
	if r.proved == 0 {
		room = 1
	}
	room -= max(r.killed-r.proved, c.sums.flight)
	for range min(len(r.old), rollLooks) {
		if room <= 0 {
			return
		}
		t := r.old[0]
		r.old[0] = nil
		r.old = r.old[1:]
		switch {
		case t.run.index < 0 || t.Kill != "":
		case t.State != stateRunning: // nobody knows for how long
			r.old = append(r.old, t)
		default:
			c.kill(t, WhyOutdated)
			r.killed, r.at = r.killed+1, c.clock
			room--
		}
	}
}

// rolloutProved notes that a task of this process does its work.
func (c *Core) rolloutProved(t *Task) {
	r := &c.rollout
	if c.outdated(t) {
		return
	}
	r.failures, r.against = 0, 0
	if r.stopped == "" {
		c.settle("upgrade") // it may have waited
	}
	switch {
	case t.Kind != KindMiner:
	case r.proved < r.killed:
		r.proved, r.at = r.proved+1, c.clock
	case r.missing > 0: // here it is
		r.missing--
	}
}

// rolloutFailed notes that a task failed that never did its work; tried says that it was
// tried at all, and not refused.
func (c *Core) rolloutFailed(t *Task, cause string, tried bool) {
	r := &c.rollout
	final := r.back || c.set.Fallback.Digest == "" // else one that stopped may still go back
	if r.stopped != "" && final || t.run.proved || !t.run.fresh || c.outdated(t) || t.Digest != c.set.ArtifactDigest ||
		r.killed == 0 && c.set.Fallback.Digest == "" {
		return
	}
	r.failures++
	if tried && cause != causeNoFetch && cause != causeNoUser {
		r.against++
	}
	if r.failures < mostFailures {
		return
	}
	runs := r.against == 0 || c.runsWell(t.Digest)
	if runs && (r.killed == 0 || r.stopped != "") { // nothing is being replaced: it is the agents' fault
		r.failures, r.against = 0, 0
		return
	}
	why := fmt.Sprintf("%d new tasks failed: %s", r.failures, cause)
	if t.Digest != c.set.Fallback.Digest {
		c.state.Bad, c.dirty = &BadArtifact{Digest: t.Digest, Why: why, At: c.now, Runs: runs}, true
	}
	c.stopRollout(why, runs)
}

// runsWell says that a task does its work with an executor.
func (c *Core) runsWell(digest string) bool {
	for _, t := range c.tasks {
		if t.Digest == digest && t.run.proved && t.State == stateRunning {
			return true
		}
	}
	return false
}

// stopRollout ends the replacing. New tasks get the fallback, unless others run well
// with the new binary.
func (c *Core) stopRollout(why string, runs bool) {
	r := &c.rollout
	r.stopped, r.failures, r.against = why, 0, 0
	r.back = !runs && c.set.Fallback.Digest != "" && c.set.Fallback.Digest != c.set.ArtifactDigest
	if r.back { // what kept the new one from running says nothing of the old one
		c.causes.forget(c)
		c.proxies.reset()
	}
	c.beginRollout() // by what new tasks get now
	c.troubled("upgrade", "replacing tasks stopped: "+why)
	c.notice(slog.LevelWarn, "replacing tasks stops: the new ones do not work", "error", why,
		"executor", c.set.ArtifactDigest, "new tasks get", c.artifact().Digest, "left", len(r.old))
}
