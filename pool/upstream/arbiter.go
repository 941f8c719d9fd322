// Package upstream decides which of several sources of work – Bitcoin nodes, other
// people's pools – is mined for. It does no I/O and reads no clock.
//
// An Arbiter is told what the sources give and say, and answers with a Decision: for
// whom to mine, whether the miners need a job, what is to be asked. What it goes by:
//
//   - The first source of the list that gives work is mined for. One that comes back is
//     preferred when it has been back for the hold-down.
//   - Nobody is taken to a lower height, unless nothing else has come for a long time.
//   - Nodes are our own: one node that is ahead shows that a source is behind. A pool's
//     word for its height counts half.
//   - A pool that contradicts a node on the same tip is left for a while. A tip that our
//     node does not know is most probably one that it has yet to hear of: the node is no
//     witness, before it is as high itself and a second one agrees.
//   - Whatever sources do, miners get a paced flow of jobs.
package upstream

import (
	"fmt"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Kind is what a source is.
type Kind uint8

// Kinds.
const (
	Node Kind = iota // our own
	Pool             // somebody else's
)

// Work is what a source gives, as far as it is judged by.
type Work struct {
	Tip           chainhash.Hash // the block that is built on
	Height        int64          // of the block that is to be found; 0: unknown
	Bits          uint32
	Time, MinTime uint32 // unix seconds; MinTime of nodes alone
	Made          any    // a pointer to what the caller makes jobs of
	Clean         bool   // the source wants earlier work forgotten
}

// Options of an Arbiter.
type Options struct {
	Kinds []Kind // best source first
	// HoldDown is how long a better source must be back before it is preferred.
	HoldDown time.Duration
	// StartPatience is how long after the start a better source is waited for.
	StartPatience time.Duration
}

// What is suffered, and for how long.
const (
	// nodePatience and poolPatience are how long the source that is mined for may be
	// behind another: blocks do not reach everybody at once.
	nodePatience = 10 * time.Second
	poolPatience = 30 * time.Second
	// stuckTime is after which one pool's word is enough against a source whose tip has
	// not moved, if the pool is two blocks ahead at least: e^-3 of blocks take as long.
	stuckTime = 30 * time.Minute
	// plausibleLead is by how many blocks a pool may say to be ahead of a source whose tip
	// moves: for more than that one of them is wrong, and the list has its order.
	plausibleLead = 6
	// floorTime is for how long no source is mined for that is lower than the last one.
	floorTime = 10 * time.Minute
	// fallPatience is how long a source must say that its chain became shorter: behind a
	// balancer two nodes may take turns.
	fallPatience = 5 * time.Second
	// strangeTime is how long a pool may be on a block against which there are two
	// witnesses.
	strangeTime = 30 * time.Second
	// distrustTime is for how long a source is left alone that did what no honest one does.
	distrustTime = 5 * time.Minute
	// A pool that refuses all shares for refusalTime, refusalCount at least, is left.
	refusalTime  = time.Minute
	refusalCount = 10
)

// Arbiter decides. It is not for several goroutines at once.
type Arbiter struct {
	o       Options
	started time.Time
	sources []source
	active  int // -1: none
	chain   Chain

	floor   floor
	pace    pace
	sent    Work    // what was published last
	sentFor int     // the source that it was of; -1: nothing was published yet
	asked   []asked // last, of each source
	notes   []Note
}

// source is what is known of one.
type source struct {
	kind  Kind
	known bool   // it has given work once, or said that it has none
	has   *Work  // nil: nothing
	err   error  // why
	told  string // what people were told of that last; "": nothing
	words pace   // of telling them
	// tip is the last one, and moved when it was another one.
	tip   chainhash.Hash
	moved time.Time
	// other is a lower chain, or (of a node) another one as high, that it speaks of
	// now, and otherSince since when.
	other      *Work
	otherSince time.Time

	up      bool // it can be mined for
	changed time.Time
	why     string    // what is against it, if it gives work
	behind  time.Time // since when others are ahead; zero: none is

	distrust time.Time // until then it is left alone
	reason   error
	refused  int       // shares in a row
	refuses  time.Time // since when

	strange strange
}

// floor is the height below which nothing is mined.
type floor struct {
	Work       // with the height
	source int // whose height it is; its own word may lower it
	at     time.Time
}

// Note is something that people should know.
type Note struct {
	Source int
	Text   string
	Err    error
}

// Decision is what is to be done.
type Decision struct {
	Active int // source to mine for; -1: none
	// Publish: miners are to get Work of the active source, Switched: it is another
	// source than before.
	Publish, Switched bool
	Work              Work
	// Again is when to decide once more, if nothing else happens; zero: not.
	Again time.Time
	Ask   []Question
	Notes []Note
}

// New makes an Arbiter.
func New(now time.Time, o Options) *Arbiter {
	a := &Arbiter{
		o: o, started: now, active: -1, sentFor: -1,
		sources: make([]source, len(o.Kinds)), asked: make([]asked, len(o.Kinds)),
	}
	for i, kind := range o.Kinds {
		a.sources[i].kind = kind
	}
	return a
}

// Start sets the time from which StartPatience runs.
func (a *Arbiter) Start(now time.Time) { a.started = now }

// Chain is what the rules of the network say of bits.
type Chain struct {
	Steady bool // they change each 2016 blocks only, by a factor of 4 at most
	Easy   bool // blocks that come late may have those of difficulty 1
}

// OnChain tells what the rules of the network are. It is to be called when that is known.
func (a *Arbiter) OnChain(c Chain) { a.chain = c }

// Give tells of a source's work.
func (a *Arbiter) Give(now time.Time, i int, w Work) {
	s := &a.sources[i]
	s.known, s.err, s.told = true, nil, ""
	if s.has != nil && s.fell(&w) {
		if s.other == nil {
			s.otherSince = now
		}
		s.other = &w
		return
	}
	if s.has != nil && s.has.Clean && (a.sentFor != i || s.has.Made != a.sent.Made) {
		w.Clean = true // of work that the miners did not get
	}
	s.accept(now, w)
}

// fell reports whether work means that the source has left its chain.
func (s *source) fell(w *Work) bool {
	if w.Height == 0 || s.has.Height == 0 {
		return false
	}
	// A pool must be followed where it goes on the same height: it refuses the rest.
	return w.Height < s.has.Height || w.Height == s.has.Height && w.Tip != s.has.Tip && s.kind == Node
}

func (s *source) accept(now time.Time, w Work) {
	if s.tip != w.Tip || s.moved.IsZero() {
		s.tip, s.moved = w.Tip, now
	}
	s.has, s.other = &w, nil
}

// Lose tells that a source gives no work any more, and why.
func (a *Arbiter) Lose(now time.Time, i int, err error) {
	s := &a.sources[i]
	// Some come and go all the time, some have another word for it each time.
	if text := err.Error(); s.told != text && s.words.ready(now, wordsBurst, wordsInterval) {
		s.told = text
		a.note(i, "upstream gives no work", err)
	}
	s.known, s.has, s.other, s.err = true, nil, nil, err
}

// Condemn leaves a source alone that did what no honest one does.
func (a *Arbiter) Condemn(now time.Time, i int, err error) {
	s := &a.sources[i]
	if !now.Before(s.distrust) {
		a.note(i, "upstream is not trusted for "+distrustTime.String(), err)
	}
	s.known, s.distrust, s.reason, s.refused = true, now.Add(distrustTime), err, 0
	s.has, s.other, s.err = nil, nil, err // it may be old by the time that the source is trusted again
	s.strange = strange{}
	if a.floor.source == i {
		a.floor = floor{} // its word was worth nothing
	}
}

// Share tells of a pool's answer to a share.
func (a *Arbiter) Share(now time.Time, i int, accepted bool) {
	s := &a.sources[i]
	switch {
	case accepted:
		s.refused = 0
		return
	case s.refused == 0:
		s.refuses = now
	}
	s.refused++
}

func (a *Arbiter) note(i int, text string, err error) {
	a.notes = append(a.notes, Note{i, text, err})
}

// Decide says what is to be done now. It is to be called after each piece of news, and
// from time to time.
func (a *Arbiter) Decide(now time.Time) Decision {
	for i := range a.sources {
		s := &a.sources[i]
		if s.other != nil && now.Sub(s.otherSince) >= fallPatience {
			if a.floor.source == i {
				a.floor.Height = min(a.floor.Height, s.other.Height)
			}
			s.accept(now, *s.other)
		}
		a.trust(now, i)
	}
	d := Decision{Ask: a.questions(now)}
	for i := range a.sources {
		s := &a.sources[i]
		why := a.against(now, i)
		up := why == "" && s.has != nil
		if up != s.up || s.changed.IsZero() && s.known {
			s.up, s.changed = up, now
		}
		if s.why = why; s.has == nil {
			s.why = ""
		}
	}
	a.active = a.choose(now)
	d.Active = a.active
	if a.active >= 0 {
		a.publish(now, &d)
	} else {
		a.sentFor = -1 // miners may be idle by then: they get the same work again
	}
	d.Notes, a.notes = a.notes, nil
	return d
}

// against is what speaks against mining for a source; "": nothing does.
func (a *Arbiter) against(now time.Time, i int) string {
	s := &a.sources[i]
	if s.has == nil {
		s.behind = time.Time{}
		return "it gives no work"
	}
	if now.Before(s.distrust) {
		return s.reason.Error()
	}
	lead, behind := a.lead(now, i)
	if !behind {
		s.behind = time.Time{}
	} else {
		if s.behind.IsZero() {
			s.behind = now
		}
		patience := nodePatience
		if s.kind == Pool {
			patience = poolPatience
		}
		if i != a.active || now.Sub(s.behind) >= patience {
			return fmt.Sprintf("it is %d blocks behind another upstream", lead)
		}
	}
	if f := &a.floor; s.has.Height > 0 && s.has.Height < f.Height && i != f.source && now.Sub(f.at) < floorTime &&
		a.counts(now, i, f.source, &f.Work) && a.plausible(now, i, f.source, f.Height) {
		return fmt.Sprintf("it is at height %d, and %d was mined already", s.has.Height, f.Height)
	}
	return ""
}

// lead is by how many blocks others are ahead of a source; behind: that is certain.
func (a *Arbiter) lead(now time.Time, i int) (lead int64, behind bool) {
	s := &a.sources[i]
	if s.has.Height == 0 {
		return 0, false
	}
	votes := 0
	for j := range a.sources {
		o := &a.sources[j]
		if j == i || o.has == nil || o.has.Height <= s.has.Height || now.Before(o.distrust) || !a.counts(now, i, j, o.has) {
			continue
		}
		lead = max(lead, o.has.Height-s.has.Height)
		if votes++; o.kind == Node {
			votes++
		}
	}
	return lead, votes >= 2 || votes == 1 && lead >= 2 && now.Sub(s.moved) >= stuckTime
}

// choose returns the source to mine for, -1 if there is none.
func (a *Arbiter) choose(now time.Time) int {
	if a.active >= 0 && a.sources[a.active].up {
		for i := range a.active {
			s := &a.sources[i]
			if s.up && now.Sub(s.changed) >= a.o.HoldDown && !a.lower(now, i, a.active) {
				return i
			}
		}
		return a.active
	}
	best := -1
	for i := range a.sources {
		s := &a.sources[i]
		if s.up && (best < 0 || a.lower(now, best, i)) {
			best = i
		}
		if best < 0 && !s.known && now.Sub(a.started) < a.o.StartPatience {
			return -1 // it may still connect
		}
	}
	return best
}

// lower reports whether one source is lower than another, by a word that counts: that of
// a pool does not count against our own node.
func (a *Arbiter) lower(now time.Time, i, j int) bool {
	mine, other := &a.sources[i], &a.sources[j]
	return mine.has.Height > 0 && mine.has.Height < other.has.Height && (mine.kind == Pool || other.kind == Node) &&
		a.counts(now, i, j, other.has) && a.plausible(now, i, j, other.has.Height)
}

// counts reports whether it may count against source i what source j gives, or gave:
// nothing speaks against j yet, and its work is of the same chain, on another tip.
func (a *Arbiter) counts(now time.Time, i, j int, w *Work) bool {
	ours := a.sources[i].has
	return a.credible(now, j) && w.Tip != ours.Tip && (ours.old(now) || a.sameChain(w, ours) == nil)
}

// plausible reports whether a height that source j names may count against source i.
func (a *Arbiter) plausible(now time.Time, i, j int, height int64) bool {
	s := &a.sources[i]
	return a.sources[j].kind == Node || height-s.has.Height <= plausibleLead || now.Sub(s.moved) >= stuckTime
}

// credible reports whether the height that a source names may count: nothing speaks
// against it yet.
func (a *Arbiter) credible(now time.Time, i int) bool {
	if a.sources[i].kind == Node {
		return true
	}
	_, doubted := a.witnesses(now, i)
	return !doubted
}

// publish says whether the miners are to get the active source's work.
func (a *Arbiter) publish(now time.Time, d *Decision) {
	s := &a.sources[a.active]
	if f, h := &a.floor, s.has.Height; h > 0 && (h >= f.Height || f.source == a.active || now.Sub(f.at) >= floorTime || a.sameChain(&f.Work, s.has) != nil) {
		a.floor = floor{*s.has, a.active, now}
	}
	d.Switched = a.sentFor != a.active
	if !d.Switched && s.has.Made == a.sent.Made {
		return
	}
	if at := a.pace.next(now, jobsBurst, jobsInterval); at.After(now) {
		d.Again = at
		return
	}
	a.pace.take(now, jobsInterval)
	a.sent, a.sentFor = *s.has, a.active
	d.Publish, d.Work = true, *s.has
}

// State is what is thought of one source.
type State struct {
	Known, Up, Active bool
	Since             time.Time // of the last change of Up
	Height            int64
	Err               error  // why it gives no work
	Why               string // what else speaks against it; "": nothing
}

// State tells of one source.
func (a *Arbiter) State(i int) State {
	s := &a.sources[i]
	st := State{Known: s.known, Up: s.up, Active: i == a.active, Since: s.changed, Err: s.err, Why: s.why}
	if s.has != nil {
		st.Height = s.has.Height
	}
	return st
}

// Active is the source that is mined for; -1: none.
func (a *Arbiter) Active() int { return a.active }
