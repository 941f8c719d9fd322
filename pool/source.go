package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/node"
	"lode/pool/template"
)

// source is an upstream: it runs until ctx ends and reports what it has.
type source interface {
	// url is the upstream's address without credentials.
	url() string
	run(ctx context.Context, report reporter)
	// notify says that there may be a new block.
	notify()
}

// reporter takes news of a source: see report.
type reporter interface {
	work(w *jobs.Work)
	lost(err error)
	condemned(err error)
	share(accepted bool)
}

// nodeSource gives work by getblocktemplate.
type nodeSource struct {
	index int
	node  *node.Node
	p     *Proxy
	// script and network belong together: they are found at the first template, and
	// again when the node was lost.
	script  []byte
	store   template.Store // shares transactions among its templates
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
}

// restoreTimeout bounds how long a node that came back is given blocks before it is
// mined for.
const restoreTimeout = 10 * time.Second

// restoreInterval is the least time between two attempts with a node that was not away:
// behind a balancer there may be two.
const restoreInterval = 30 * time.Second

func (s *nodeSource) url() string { return "node:" + s.node.URL() }
func (s *nodeSource) notify()     { s.node.Notify() }

func (s *nodeSource) run(ctx context.Context, report reporter) {
	s.node.Watch(ctx, node.Events{
		Template: func(t *template.Template) {
			t = s.restore(ctx, t)
			since := time.Now()
			w, err := s.make(ctx, t, since)
			if err != nil {
				report.lost(err)
				return
			}
			report.work(w)
			w.Origin.(*nodeWork).compact(&s.store)
		},
		Lost: func(err error) {
			s.script, s.top = nil, 0
			report.lost(err)
		},
	})
	if s.crossing != nil {
		s.crossing.Stop()
	}
}

// restore gives the node those of our blocks that it should have and has not, and
// returns its template after that. It does so when the node was away or its chain has
// become shorter: work on what is left of it would compete with our own blocks.
func (s *nodeSource) restore(ctx context.Context, t *template.Template) *template.Template {
	again := s.top == 0 || t.Height < s.top && time.Since(s.restored) > restoreInterval
	s.top = t.Height
	if !again {
		return t
	}
	s.restored = time.Now()
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	took, err := s.p.keeper.Restore(ctx, slices.Index(s.p.nodes, s.node), t.Height)
	if err != nil {
		s.p.log.Warn("a node that came back does not take blocks; mining for it all the same", "node", s.node.URL(), "error", err)
	}
	if took == 0 {
		return t
	}
	fresh, err := s.node.Template(ctx)
	if err != nil {
		s.p.log.Warn("no new template after handing in blocks; mining with the old one", "node", s.node.URL(), "error", err)
		return t
	}
	s.top = fresh.Height
	return fresh
}

func (s *nodeSource) make(ctx context.Context, t *template.Template, since time.Time) (*jobs.Work, error) {
	if s.script == nil {
		if err := s.learn(ctx); err != nil {
			return nil, err
		}
	}
	t = s.boundTime(ctx, t)
	w, err := template.New(t, s.p.coinbaseOptions(s.script, ownExtranonceSize, make([]byte, instanceSize)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(), err)
	}
	mask := s.p.mask()
	if s.network.NoVersionRolling {
		mask = 0
	}
	work, err := newNodeWork(s.index, t, s.p.nodeOrigin(w, s.script), mask, since)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(), err)
	}
	work.Space = s.p.home
	return work, nil
}

// learn finds the node's network and checks the payout address against it.
func (s *nodeSource) learn(ctx context.Context) error {
	id, err := s.node.Identify(ctx)
	if err != nil {
		return err
	}
	if s.p.config.PayoutAddress == "" {
		return fmt.Errorf("%s: no payout address: give --payout-address with an address of %s", s.url(), id.Network.Name)
	}
	script, err := id.Network.PayoutScript(s.p.config.PayoutAddress)
	if err != nil {
		return err
	}
	if err := s.p.sameNetwork(id.Network.Name); err != nil {
		return fmt.Errorf("%s: %w", s.url(), err)
	}
	s.script, s.network = script, id.Network
	s.p.log.Info("node found", "node", s.node.URL(), "network", id.Network.Name, "software", id.Software)
	return nil
}

// makeSources reads the upstreams of a configuration.
func (p *Proxy) makeSources() error {
	if len(p.config.Upstreams) == 0 {
		return fmt.Errorf("no upstream: give node:http://host:port or stratum+tcp://host:port")
	}
	for i, u := range p.config.Upstreams {
		address, isNode := strings.CutPrefix(u.URL, "node:")
		switch {
		case isNode:
			n, err := node.New(node.Options{
				URL: address, CA: u.CA, ZMQ: u.ZMQ, EmptyFirst: p.config.EmptyFirst, Logger: p.log,
				Credentials: node.Credentials{User: u.User, Password: u.Password, PasswordFile: u.PasswordFile, CookieFile: u.CookieFile},
			})
			if err != nil {
				return fmt.Errorf("upstream %d: %w", i+1, err)
			}
			p.nodes = append(p.nodes, n)
			p.sources = append(p.sources, &nodeSource{index: i, node: n, p: p})
		case strings.HasPrefix(u.URL, "stratum+tcp://"), strings.HasPrefix(u.URL, "stratum+tls://"), strings.HasPrefix(u.URL, "stratum+ssl://"):
			s, err := newPoolSource(p, i, u)
			if err != nil {
				return fmt.Errorf("upstream %d: %w", i+1, err)
			}
			p.sources = append(p.sources, s)
		default:
			scheme, _, _ := strings.Cut(u.URL, ":")
			return fmt.Errorf("upstream %d: unknown kind %.20q: want node:http://host:port, node:https://host:port, stratum+tcp://host:port or stratum+tls://host:port", i+1, scheme)
		}
	}
	p.prepareArbiter()
	return nil
}
