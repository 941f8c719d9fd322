package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lode/pool/blocks"
	"lode/pool/node"
	"lode/pool/nodesource"
	"lode/pool/poolsource"
	"lode/pool/source"
	"lode/pool/space"
	"lode/pool/upstream"
	"lode/stratum"
)

// upstreams are what is mined for.
type upstreams struct {
	sources []source.Source
	nodes   []blocks.Node // of those of the sources that are nodes
}

// surroundings are what sources need besides the configuration.
type surroundings struct {
	home     *space.Space // where miners of nodes search
	instance []byte       // sets our coinbases apart
	now      func() time.Time
	// join takes a node's network for that of all, or refuses it; network is that of all.
	join    func(name string) error
	network func() string
	restore func(ctx context.Context, node int, height int64) (int, error)
	note    func(hash, what string)
}

var errNoUpstream = errors.New("no upstream: give node:http://host:port or stratum+tcp://host:port")

// makeSources reads the upstreams of a configuration.
func makeSources(c *Config, in *surroundings) (u upstreams, err error) {
	if len(c.Upstreams) == 0 {
		return u, errNoUpstream
	}
	for i := range c.Upstreams {
		if err := u.add(c, &c.Upstreams[i], in); err != nil {
			return u, fmt.Errorf("upstream %d: %w", i+1, err)
		}
	}
	return u, nil
}

func (u *upstreams) add(c *Config, from *Upstream, in *surroundings) error {
	address, isNode := strings.CutPrefix(from.URL, "node:")
	switch {
	case isNode:
		n, err := node.New(node.Options{
			URL: address, CA: from.CA, ZMQ: from.ZMQ, EmptyFirst: c.EmptyFirst, Logger: c.Logger,
			Credentials: node.Credentials{User: from.User, Password: from.Password, PasswordFile: from.PasswordFile, CookieFile: from.CookieFile},
		})
		if err != nil {
			return err
		}
		i := len(u.nodes)
		u.nodes = append(u.nodes, n)
		u.sources = append(u.sources, nodesource.New(nodesource.Options{
			Node: n, Payout: c.PayoutAddress, Tag: c.CoinbaseTag, Instance: in.instance,
			Mask: c.mask(), Space: in.home, Now: in.now, Logger: c.Logger, Join: in.join,
			Restore: func(ctx context.Context, height int64) (int, error) { return in.restore(ctx, i, height) },
		}))
		return nil
	case isPool(from.URL):
		s, err := poolsource.New(poolsource.Options{
			URL: from.URL, User: from.User, Password: from.Password, CA: from.CA,
			ExpectAddress: from.ExpectAddress, SuggestDifficulty: from.SuggestDifficulty,
			WholeExtranonce: c.WholeExtranonce, Mask: c.mask(),
			Network: in.network, Note: in.note, Now: in.now, Logger: c.Logger,
		})
		if err != nil {
			return err
		}
		u.sources = append(u.sources, s)
		return nil
	}
	scheme, _, _ := strings.Cut(from.URL, ":")
	return fmt.Errorf("unknown kind %.20q: want node:http://host:port, node:https://host:port, stratum+tcp://host:port or stratum+tls://host:port", scheme)
}

// isPool says whether an upstream's address is that of a Stratum pool.
func isPool(address string) bool {
	_, _, err := stratum.ParseURL(address)
	return err == nil
}

// network is that of our nodes, once one was asked.
type network struct {
	mu   sync.Mutex // guards the rest
	name string     // "": unknown
}

func (n *network) get() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.name
}

// join refuses nodes of different networks in one list.
func (n *network) join(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.name == "" {
		n.name = name
	}
	if n.name != name {
		return fmt.Errorf("it is on %s, another upstream on %s: all must be on one network", name, n.name)
	}
	return nil
}

// join takes a node's network for that of all.
func (p *Proxy) join(name string) error {
	if err := p.network.join(name); err != nil {
		return err
	}
	p.director.OnChain(upstream.Chain{
		Steady: name == "mainnet" || name == "signet", Easy: name == "testnet3" || name == "testnet4",
	})
	return nil
}

// awaitBlocks waits until found blocks are where they are to go: on disk, offered to all
// nodes, answered by the pool whose they are. It does so for the time of a drain at most.
func (p *Proxy) awaitBlocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	ok := p.keeper.Flush(ctx)
	for _, s := range p.sources {
		if pool, isPool := s.(source.Pool); isPool {
			ok = pool.AwaitBlocks(ctx) && ok
		}
	}
	if !ok {
		p.log.Error("ending while found blocks are pending: the journal has those that are on disk, and the next start goes on with them")
	}
}
