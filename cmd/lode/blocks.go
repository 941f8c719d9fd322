package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/internal/txscan"
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
	found := newFindings()
	if len(block) < wire.MaxBlockHeaderPayload {
		return found.fate, fmt.Errorf("%w: it has %d bytes", scheduler.ErrBlockInvalid, len(block))
	}
	hash := chainhash.DoubleHashH(block[:wire.MaxBlockHeaderPayload])
	invalid, answered := 0, false
	for _, n := range s.nodes {
		verdict, reason, err := n.Submit(ctx, block, "")
		if err == nil && verdict == node.Invalid {
			invalid++
			err = fmt.Errorf("node %s: %s", n.URL(), reason)
		}
		if err != nil {
			found.errs = append(found.errs, err)
			continue
		}
		answered = true
		if found.add(fateAt(ctx, n, hash, heightOf(block))) {
			return found.fate, nil
		}
	}
	switch {
	case invalid == len(s.nodes):
		return found.fate, fmt.Errorf("%w: %w", scheduler.ErrBlockInvalid, errors.Join(found.errs...))
	case !answered:
		return found.fate, errors.Join(found.errs...)
	}
	return found.fate, nil
}

// BlockFate asks every node for a block, until one has it in its main chain.
func (s *blockSubmitter) BlockFate(ctx context.Context, hash string, height int64) (scheduler.BlockFate, error) {
	found := newFindings()
	h, err := chainhash.NewHashFromStr(hash)
	if err != nil {
		return found.fate, err
	}
	for _, n := range s.nodes {
		if found.add(fateAt(ctx, n, *h, height)) {
			return found.fate, nil
		}
	}
	if len(found.errs) == len(s.nodes) {
		return found.fate, errors.Join(found.errs...)
	}
	return found.fate, nil
}

// findings is what nodes have said of a block so far, and why others have not.
type findings struct {
	fate scheduler.BlockFate
	errs []error
}

func newFindings() *findings { return &findings{fate: scheduler.BlockFate{State: "submitted"}} }

// add takes in what a node says, and tells whether nothing can outdo it.
func (f *findings) add(said scheduler.BlockFate, err error) (final bool) {
	switch {
	case err != nil:
		f.errs = append(f.errs, err)
	case said.State == "confirmed" || said.State == "orphaned":
		f.fate = said
	}
	return err == nil && said.State == "confirmed"
}

// fateAt is what one node says of a block; height is where it belongs, should the node
// not tell. One that the node does not have is beside its chain, too.
func fateAt(ctx context.Context, n *node.Node, hash chainhash.Hash, height int64) (scheduler.BlockFate, error) {
	h, err := n.Header(ctx, hash)
	switch {
	case err != nil && !errors.Is(err, node.ErrUnknownBlock):
		return scheduler.BlockFate{}, err
	case err == nil && h.Confirmations > 0:
		return scheduler.BlockFate{State: "confirmed", Confirmations: uint32(min(h.Confirmations, 1<<30))}, nil
	}
	if depth := beside(ctx, n, hash, cmp.Or(max(h.Height, 0), height)); depth >= orphanDepth {
		return scheduler.BlockFate{State: "orphaned", Confirmations: uint32(min(depth, 1<<30))}, nil
	}
	return scheduler.BlockFate{State: "submitted"}, nil
}

// beside is how deep the block is that a node's main chain has in the place of another
// one; 0: there is none, or it is not known.
func beside(ctx context.Context, n *node.Node, hash chainhash.Hash, height int64) int64 {
	if height <= 0 {
		return 0
	}
	top, err := n.Height(ctx)
	if err != nil || top < height {
		return 0
	}
	if there, err := n.BlockAt(ctx, height); err != nil || there == hash {
		return 0
	}
	return top - height + 1
}

// heightOf is the height that a block says in its coinbase (BIP 34); 0: none. btcd does
// not tell that of a block beside its chain.
func heightOf(block []byte) int64 {
	var s txscan.Scanner
	s.Reset(block)
	s.Bytes(wire.MaxBlockHeaderPayload)
	s.Number() // of transactions
	_, script := s.Transaction()
	if len(script) == 0 {
		return 0
	}
	const op1, op16 = 0x51, 0x60
	n := int(script[0])
	switch {
	case n >= op1 && n <= op16:
		return int64(n - op1 + 1)
	case n == 0 || n > 5 || n >= len(script):
		return 0
	}
	height := int64(0)
	for i := n; i > 0; i-- { // the lowest byte comes first
		height = height<<8 | int64(script[i])
	}
	return height
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
