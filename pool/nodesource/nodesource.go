// Package nodesource makes work of a Bitcoin node: its block templates, with our
// coinbase, and before that what the node should know and does not.
//
//	nodesource.go  the source: templates come, and go on as work
//	work.go        what miners search of a template
//	late.go        testnets' rule for blocks that come late
//	clock.go       a node whose clock is off
package nodesource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/node"
	"lode/pool/source"
	"lode/pool/space"
	"lode/pool/template"
	"lode/pool/upstream"
	"lode/stratum"
)

const (
	// ExtranonceSize is that of the usual miner, in bytes.
	ExtranonceSize = 12
	// restoreTimeout bounds how long a node that came back is given blocks before it is
	// mined for.
	restoreTimeout = 10 * time.Second
	// restoreInterval is the least time between two attempts with a node that was not
	// away: behind a balancer there may be two.
	restoreInterval = 30 * time.Second
)

// Options of a Source. All but Restore must be set.
type Options struct {
	Node   *node.Node
	Payout string // address that gets the reward; "": the first template fails
	Tag    string // text for the coinbase
	// Instance sets our coinbases apart from those of other proxies, 4 bytes. The key of
	// the job follows it.
	Instance []byte
	Mask     uint32       // version bits that miners may roll
	Space    *space.Space // where miners search
	// Join is told the network of the node; an error refuses it.
	Join func(network string) error
	// Restore gives the node those of our blocks that it should have and has not, of
	// blocks below height, and says how many it took; nil: there are none.
	Restore func(ctx context.Context, height int64) (took int, err error)
	Now     func() time.Time
	Logger  *slog.Logger
}

// Source gives work by getblocktemplate. It implements source.Witness.
type Source struct {
	o     Options
	node  *node.Node
	log   *slog.Logger
	store template.Store // shares transactions among its templates

	// script and network belong together: they are found at the first template, and
	// again when the node was lost.
	script  []byte
	network node.Network
	// top is the height of the newest template; 0: the node was away. restored is when
	// it was given blocks.
	top      int64
	restored time.Time
	// tipTime is that of the block tip, on testnets; crossing asks for a template when
	// their rule for late blocks begins to hold.
	tip      chainhash.Hash
	tipTime  uint32
	crossing *time.Timer
	clockOff bool // the node's is far ahead of ours
	// doubted: people know why nobody may take the blocks of the last template.
	doubted bool
	// toldVersion: people know why versions are not rolled.
	toldVersion bool
}

var _ source.Witness = (*Source)(nil)

// New makes a source of a node.
func New(o Options) *Source { return &Source{o: o, node: o.Node, log: o.Logger} }

// URL implements source.Source.
func (s *Source) URL() string { return "node:" + s.node.URL() }

// Kind implements source.Source.
func (s *Source) Kind() upstream.Kind { return upstream.Node }

// Notify implements source.Witness.
func (s *Source) Notify() { s.node.Notify() }

// Close implements source.Source.
func (s *Source) Close() { s.node.Close() }

// Ask implements source.Witness.
func (s *Source) Ask(ctx context.Context, block chainhash.Hash) (upstream.Answer, int64) {
	h, err := s.node.Header(ctx, block)
	switch {
	case errors.Is(err, node.ErrUnknownBlock):
		return upstream.Unknown, 0
	case err != nil:
		return upstream.Silent, 0
	case h.Confirmations < 1:
		return upstream.Side, h.Height
	}
	return upstream.Main, h.Height
}

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, report source.Reporter) {
	s.node.Watch(ctx, node.Events{
		Template: func(t *template.Template) {
			t = s.restore(ctx, t)
			since := s.o.Now()
			w, err := s.make(ctx, t, since)
			if err != nil {
				report.Lost(err)
				return
			}
			report.Work(w)
			s.doubt(errors.Join(w.Origin.(*work).compact(&s.store), s.network.CheckBits(w.Bits)))
		},
		Lost: func(err error) {
			s.forget()
			report.Lost(err)
		},
	})
	if s.crossing != nil {
		s.crossing.Stop()
	}
}

// forget has all that is known of the node be found again: it may come back as another.
func (s *Source) forget() { s.script, s.top = nil, 0 }

// restore gives the node those of our blocks that it should have and has not, and
// returns its template after that. It does so when the node was away or its chain has
// become shorter: work on what is left of it would compete with our own blocks.
func (s *Source) restore(ctx context.Context, t *template.Template) *template.Template {
	now := s.o.Now()
	again := s.top == 0 || t.Height < s.top && now.Sub(s.restored) > restoreInterval
	s.top = t.Height
	if !again || s.o.Restore == nil {
		return t
	}
	s.restored = now
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	took, err := s.o.Restore(ctx, t.Height)
	if err != nil {
		s.log.Warn("a node that came back does not take blocks; mining for it all the same", "node", s.node.URL(), "error", err)
	}
	if took == 0 {
		return t
	}
	fresh, err := s.node.Template(ctx)
	if err != nil {
		s.log.Warn("no new template after handing in blocks; mining with the old one", "node", s.node.URL(), "error", err)
		return t
	}
	s.top = fresh.Height
	return fresh
}

func (s *Source) make(ctx context.Context, t *template.Template, since time.Time) (*jobs.Work, error) {
	if s.script == nil {
		if err := s.learn(ctx); err != nil {
			return nil, err
		}
	}
	t = s.boundClock(s.boundTime(ctx, t), since)
	if err := checkTime(t, since); err != nil {
		return nil, fmt.Errorf("%s: %w", s.URL(), err)
	}
	w, err := s.work(t, since)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.URL(), err)
	}
	return w, nil
}

// doubt warns of a template that contradicts itself. It is mined all the same: better for
// nothing than not to mine what other nodes may take. nil: there is none to warn of.
func (s *Source) doubt(why error) {
	if why != nil && !s.doubted {
		s.log.Warn("other nodes will hardly take blocks of the node's template", "node", s.node.URL(), "why", why)
	}
	s.doubted = why != nil
}

// learn finds the node's network and checks the payout address against it.
func (s *Source) learn(ctx context.Context) error {
	id, err := s.node.Identify(ctx)
	if err != nil {
		return err
	}
	if s.o.Payout == "" {
		return fmt.Errorf("%s: no payout address: give --payout-address with an address of %s", s.URL(), id.Network.Name)
	}
	script, err := id.Network.PayoutScript(s.o.Payout)
	if err != nil {
		return err
	}
	if err := s.o.Join(id.Network.Name); err != nil {
		return fmt.Errorf("%s: %w", s.URL(), err)
	}
	s.script, s.network = script, id.Network
	s.store.Strict = id.Network.Known()
	s.log.Info("node found", "node", s.node.URL(), "network", id.Network.Name, "software", id.Software)
	return nil
}

// trials is how many trial blocks a node judges while others come.
const trials = 5

// Check implements source.Source: it goes the way of a block as far as one can without
// proof of work.
func (s *Source) Check(ctx context.Context) (string, error) {
	id, err := s.node.Identify(ctx)
	if err != nil {
		return "", err
	}
	if err := s.o.Join(id.Network.Name); err != nil {
		return "", err
	}
	if err := s.learn(ctx); err != nil {
		return "", err
	}
	t, err := s.node.Template(ctx)
	if err != nil {
		return "", err
	}
	for try := 1; ; try++ {
		reason, err := s.proposeTrial(ctx, t)
		if err != nil {
			return "", fmt.Errorf("trial block: %w", err)
		}
		if reason == "" {
			break
		}
		// A block that came meanwhile makes any other on the one before it a bad one.
		tip := t.PreviousHash
		if t, err = s.node.Template(ctx); err != nil {
			return "", err
		}
		if t.PreviousHash == tip || try == trials {
			return "", fmt.Errorf("the node would refuse a block made of its template: %s", reason)
		}
	}
	return fmt.Sprintf("%s on %s, next block %d with %d transactions, trial block would be accepted",
		id.Software, id.Network.Name, t.Height, len(t.Transactions)), nil
}

// proposeTrial asks the node to judge a block made of the template.
func (s *Source) proposeTrial(ctx context.Context, t *template.Template) (reason string, err error) {
	trial := s.coinbase()
	c, err := template.New(t, trial.options(ExtranonceSize, 0))
	if err != nil {
		return "", err
	}
	extranonce := make([]byte, ExtranonceSize)
	j := stratum.Job{PrevBlock: t.PreviousHash, MerkleBranch: c.Branch(), Bits: t.Bits}
	j.Coinbase1, j.Coinbase2 = c.Coinbase()
	header, _ := j.HeaderBytes(nil, extranonce, nil, t.Version, max(t.CurrentTime, t.MinTime), 0)
	return s.node.Propose(ctx, c.Solve(header, extranonce))
}
