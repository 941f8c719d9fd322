package upstream

import (
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// ErrViolation is what no honest pool does.
var ErrViolation = errors.New("the pool's job is not what it should be")

// maxAhead is how far a job's time may be ahead of our clock (the rule of nodes).
const maxAhead = 2 * time.Hour

const (
	// retargetBlocks is after how many blocks bits change, by a factor of 4 at most.
	retargetBlocks = 2016
	// easyBits are those of difficulty 1.
	easyBits = 0x1d00ffff
)

// strange is a pool's tip that is none of our nodes'.
type strange struct {
	tip     chainhash.Hash
	height  int64     // as the pool has it, or a node; 0: unknown
	told    int64     // as a node has it; 0: unknown
	against time.Time // since when there are two witnesses
	noted   time.Time // when people were told
	answers map[int]Answer
}

// Question is one for a node: what does it know of the block? Told answers it.
type Question struct {
	Node  int // index of the source
	Block chainhash.Hash
}

// Answer is what a node says of a block.
type Answer uint8

// Answers.
const (
	Silent  Answer = iota // it cannot be asked
	Unknown               // it does not have the block
	Side                  // it has it, beside its main chain
	Main                  // it has it in its main chain
)

// askInterval is that of questions to one node.
const askInterval = 2 * time.Second

// trust draws the conclusions about one source.
func (a *Arbiter) trust(now time.Time, i int) {
	s := &a.sources[i]
	if s.kind == Node {
		return
	}
	if !s.distrust.IsZero() && !now.Before(s.distrust) {
		s.distrust, s.reason, s.refused = time.Time{}, nil, 0
	}
	if now.Before(s.distrust) {
		return
	}
	if s.refused >= refusalCount && now.Sub(s.refuses) > refusalTime {
		s.distrust, s.reason = now.Add(distrustTime), fmt.Errorf("it refused the last %d shares", s.refused)
		a.note(i, "upstream is left for "+distrustTime.String(), s.reason)
		s.refused = 0
		return
	}
	if s.has == nil {
		return
	}
	if err := a.violation(now, i); err != nil {
		a.Condemn(now, i, err)
	}
}

// violation says what a pool did that no honest one does.
func (a *Arbiter) violation(now time.Time, i int) error {
	s := &a.sources[i]
	w := s.has
	if t := time.Unix(int64(w.Time), 0); t.After(now.Add(maxAhead)) {
		return fmt.Errorf("%w: its time is %v", ErrViolation, t.UTC())
	}
	var onTip, elsewhere opinions
	for j := range a.sources {
		switch o := &a.sources[j]; {
		case o.kind != Node || o.has == nil || a.outvoted(now, j, w):
		case o.has.Tip == w.Tip:
			onTip.add(a.onTip(w, o.has))
		case !o.has.old(now):
			elsewhere.add(a.sameChain(w, o.has))
		}
	}
	if onTip.n > 0 {
		s.strange = strange{noted: s.strange.noted}
		return onTip.err
	}
	if elsewhere.err != nil {
		return elsewhere.err
	}
	return a.examine(now, i)
}

// outvoted reports whether another node contradicts a node where it is with the pool.
func (a *Arbiter) outvoted(now time.Time, node int, w *Work) bool {
	for k := range a.sources {
		if o := &a.sources[k]; o.kind == Node && k != node && o.has != nil && !o.has.old(now) &&
			a.sameChain(a.sources[node].has, o.has) != nil && a.sameChain(w, o.has) == nil {
			return true
		}
	}
	return false
}

// opinions are those of several nodes. Where they contradict each other one of them is
// wrong, and that may be the one that speaks against the pool.
type opinions struct {
	n   int
	err error // what all of them have against it; nil: nothing
}

func (o *opinions) add(err error) {
	if o.n == 0 || err == nil {
		o.err = err
	}
	o.n++
}

// onTip judges a job on the tip that a node has too. Where late blocks are easy two values
// of bits are right at once, each for other times.
func (a *Arbiter) onTip(w, ours *Work) error {
	either := a.chain.Easy && w.Bits != ours.Bits && (w.Bits == easyBits || ours.Bits == easyBits)
	switch {
	case w.Bits != ours.Bits && !either:
		return fmt.Errorf("%w: nbits %08x, our node says %08x", ErrViolation, w.Bits, ours.Bits)
	case w.Height > 0 && w.Height != ours.Height:
		return fmt.Errorf("%w: height %d, our node says %d", ErrViolation, w.Height, ours.Height)
	case w.Time < ours.MinTime && !either:
		return fmt.Errorf("%w: its time %d is before the least valid %d", ErrViolation, w.Time, ours.MinTime)
	}
	return nil
}

// oldTime is for how long no node's chain stands still. Bitcoin Core gives no work then,
// unless it is told to.
const oldTime = 24 * time.Hour

// old reports whether a node's work is on a chain that stands still: it says nothing of
// where others are.
func (w *Work) old(now time.Time) bool {
	return w.MinTime > 0 && now.Sub(time.Unix(int64(w.MinTime), 0)) > oldTime
}

// sameChain compares work with that of a node on another tip, whose chain does not stand
// still. Between two retargets bits are equal, and one changes them by a factor of 4 at
// most: those of other chains differ by much more.
func (a *Arbiter) sameChain(w, ours *Work) error {
	if !a.chain.Steady || w.Height == 0 || ours.Height == 0 {
		return nil
	}
	if apart := w.Height - ours.Height; apart > retargetBlocks || apart < -retargetBlocks {
		return fmt.Errorf("%w: height %d, our node is at %d", ErrViolation, w.Height, ours.Height)
	}
	small, great := blockchain.CompactToBig(w.Bits), blockchain.CompactToBig(ours.Bits)
	if small.Cmp(great) > 0 {
		small, great = great, small
	}
	if w.Height/retargetBlocks != ours.Height/retargetBlocks {
		// The compact form of bits rounds: a hair more than 4 is right.
		small = small.Mul(small, big.NewInt(4001))
		small.Div(small, big.NewInt(1000))
	}
	if small.Cmp(great) >= 0 {
		return nil
	}
	return fmt.Errorf("%w: nbits %08x at height %d, our node has %08x at %d", ErrViolation, w.Bits, w.Height, ours.Bits, ours.Height)
}

// examine looks into a tip that none of our nodes has.
func (a *Arbiter) examine(now time.Time, i int) error {
	s := &a.sources[i]
	x := &s.strange
	_, doubted := a.witnesses(now, i)
	if x.answers == nil || !doubted && x.tip != s.has.Tip {
		// A new one; if there was a witness against the one before, that stays the one to
		// be explained.
		noted := x.noted
		*x = strange{tip: s.has.Tip, answers: map[int]Answer{}, noted: noted}
		if s.has.Height > 0 {
			x.height = s.has.Height - 1
		}
	}
	if w := s.has; x.told > 0 && w.Tip == x.tip && w.Height > 0 && w.Height != x.told+1 {
		return fmt.Errorf("%w: height %d, but it builds on block %d", ErrViolation, w.Height, x.told)
	}
	witnesses, _ := a.witnesses(now, i)
	if witnesses < 2 {
		x.against = time.Time{}
		return nil
	}
	if x.against.IsZero() {
		x.against = now
	}
	if now.Sub(x.against) >= strangeTime {
		return fmt.Errorf("%w: it is on block %v, and %d witnesses as high do not have it in their chain", ErrViolation, x.tip, witnesses)
	}
	return nil
}

// witnesses counts those against a pool's strange tip: nodes that are as high and do not
// have it, or higher and have it beside their chain, and pools on the tip of such a node; less
// those that are on it themselves: two blocks of one height are nobody's fault, and either may
// get the next. any: there is one. A node that the pool has left behind is none when it has not
// moved for long.
func (a *Arbiter) witnesses(now time.Time, i int) (n int, any bool) {
	x := &a.sources[i].strange
	if x.answers == nil {
		return 0, false
	}
	tips := map[chainhash.Hash]bool{}
	for j := range a.sources {
		s := &a.sources[j]
		answer := x.answers[j]
		if w := a.sources[i].has; s.has != nil && w != nil && w.Height-s.has.Height >= 2 && now.Sub(s.moved) >= stuckTime {
			continue
		}
		if s.kind != Node || s.has == nil || x.height == 0 {
			continue
		}
		if tip := s.has.Height - 1; answer == Unknown && tip >= x.height || answer == Side && tip > x.height {
			tips[s.has.Tip] = true
			n++
		}
	}
	any = n > 0
	for j := range a.sources {
		s := &a.sources[j]
		if j == i || s.kind == Node || s.has == nil || !s.distrust.IsZero() {
			continue
		}
		switch {
		case tips[s.has.Tip]:
			n++
		case a.sources[i].has != nil && s.has.Tip == a.sources[i].has.Tip:
			n--
		}
	}
	return n, any
}

// asked is when a node was asked last, and for whose tip.
type asked struct {
	at     time.Time
	source int
}

// questions are those whose time has come. A node is asked for the tips of all in turn.
func (a *Arbiter) questions(now time.Time) (list []Question) {
	for j := range a.sources {
		node, last := &a.sources[j], &a.asked[j]
		if node.kind != Node || node.has == nil || now.Sub(last.at) < askInterval {
			continue
		}
		for k := range a.sources {
			i := (last.source + 1 + k) % len(a.sources)
			if x := &a.sources[i].strange; x.answers != nil && a.sources[i].has != nil && x.answers[j] != Main {
				*last = asked{now, i}
				list = append(list, Question{Node: j, Block: x.tip})
				break
			}
		}
	}
	return list
}

// Told takes a node's answer to a question; height is that of the block, if it has it.
func (a *Arbiter) Told(now time.Time, q Question, answer Answer, height int64) {
	for i := range a.sources {
		s := &a.sources[i]
		x := &s.strange
		if x.answers == nil || x.tip != q.Block {
			continue
		}
		x.answers[q.Node] = answer
		if height > 0 {
			x.height, x.told = height, height
			if s.has != nil && s.has.Tip == x.tip && s.has.Height == 0 {
				s.has.Height = height + 1
			}
		}
		if answer == Main {
			x.against = time.Time{}
		}
		if answer == Unknown && now.Sub(x.noted) > distrustTime {
			x.noted = now
			a.note(i, "upstream is on a block that our node does not know: the node may be behind, or the pool on a fork", nil)
		}
	}
}
