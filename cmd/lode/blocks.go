package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/pool/node"
	"lode/scheduler"
)

// blockSubmitter lets the scheduler give found blocks to the nodes by itself, should
// the proxy that found them be gone.
type blockSubmitter struct{ nodes []*node.Node }

// newBlockSubmitter takes the nodes among the upstreams; nil: there is none.
func newBlockSubmitter(upstreams []scheduler.Upstream, log *slog.Logger) (*blockSubmitter, error) {
	s := new(blockSubmitter)
	for _, u := range upstreams {
		address, isNode := strings.CutPrefix(u.URL, "node:")
		if !isNode {
			continue
		}
		n, err := node.New(node.Options{
			URL: address, Credentials: node.Credentials{User: u.User, Password: u.Password}, CA: u.CA, Logger: log,
		})
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, n)
	}
	if len(s.nodes) == 0 {
		return nil, nil
	}
	return s, nil
}

func (s *blockSubmitter) close() {
	for _, n := range s.nodes {
		n.Close()
	}
}

// orphanDepth: a block counts as orphaned when another one in its place is so deep.
const orphanDepth = 6

// SubmitBlock submits to every node and then asks whether the block is in the main
// chain of one: no answer to a submission proves that.
func (s *blockSubmitter) SubmitBlock(ctx context.Context, block []byte) (scheduler.BlockFate, error) {
	fate := scheduler.BlockFate{State: "submitted"}
	if len(block) < wire.MaxBlockHeaderPayload {
		return fate, fmt.Errorf("%w: it has %d bytes", scheduler.ErrBlockInvalid, len(block))
	}
	hash := chainhash.DoubleHashH(block[:wire.MaxBlockHeaderPayload])
	var errs []error
	invalid, answered := 0, false
	for _, n := range s.nodes {
		verdict, reason, err := n.Submit(ctx, block)
		if err == nil && verdict == node.Invalid {
			invalid++
			err = fmt.Errorf("node %s: %s", n.URL(), reason)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		answered = true
		h, err := n.Header(ctx, hash)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if h.Confirmations > 0 {
			return scheduler.BlockFate{State: "confirmed", Confirmations: uint32(min(h.Confirmations, 1<<30))}, nil
		}
		if depth := beside(ctx, n, h.Height); depth >= orphanDepth {
			fate = scheduler.BlockFate{State: "orphaned", Confirmations: uint32(min(depth, 1<<30))}
		}
	}
	switch {
	case invalid == len(s.nodes):
		return fate, fmt.Errorf("%w: %w", scheduler.ErrBlockInvalid, errors.Join(errs...))
	case !answered:
		return fate, errors.Join(errs...)
	}
	return fate, nil
}

// beside is how deep the block is that a node's main chain has at a height; 0: it is
// not known (btcd does not tell the height of a block beside its chain).
func beside(ctx context.Context, n *node.Node, height int64) int64 {
	if height <= 0 {
		return 0
	}
	top, err := n.Height(ctx)
	if err != nil {
		return 0
	}
	return max(0, top-height+1)
}

// Tip asks the nodes in turn.
func (s *blockSubmitter) Tip(ctx context.Context) (scheduler.Tip, error) {
	var errs []error
	for _, n := range s.nodes {
		tip, err := tipOf(ctx, n)
		if err == nil {
			return tip, nil
		}
		errs = append(errs, err)
	}
	return scheduler.Tip{}, errors.Join(errs...)
}

func tipOf(ctx context.Context, n *node.Node) (scheduler.Tip, error) {
	id, err := n.Identify(ctx)
	if err != nil {
		return scheduler.Tip{}, err
	}
	best, err := n.BestBlock(ctx)
	if err != nil {
		return scheduler.Tip{}, err
	}
	h, err := n.Header(ctx, best)
	if err != nil {
		return scheduler.Tip{}, err
	}
	// Only the main network and signets have no rule for blocks without work.
	return scheduler.Tip{Bits: h.Bits, Easy: id.Network.Name != "mainnet" && id.Network.Name != "signet"}, nil
}
