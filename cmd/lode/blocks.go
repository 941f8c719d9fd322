package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

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

// SubmitBlock submits to every node and then asks whether the block is in the main
// chain of one: no answer to a submission proves that.
func (s *blockSubmitter) SubmitBlock(ctx context.Context, block []byte) (string, error) {
	const header = 80
	if len(block) < header {
		return "", fmt.Errorf("block of %d bytes", len(block))
	}
	hash := chainhash.DoubleHashH(block[:header])
	var errs []error
	answered := false
	for _, n := range s.nodes {
		verdict, reason, err := n.Submit(ctx, block)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if verdict == node.Invalid {
			errs = append(errs, fmt.Errorf("node %s: %s", n.URL(), reason))
			continue
		}
		answered = true
		h, err := n.Header(ctx, hash)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if h.Confirmations > 0 {
			return "confirmed", nil
		}
	}
	if !answered {
		return "", errors.Join(errs...)
	}
	return "submitted", nil
}
