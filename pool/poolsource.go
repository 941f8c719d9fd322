package pool

import (
	"context"
	"errors"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// poolWork is the part of work that a pool gave.
type poolWork struct {
	difficulty float64
}

func (w *poolWork) fill(*stratum.Job, int) error { return errors.New("no") }

func (w *poolWork) forward(j *job, in *stratum.Share, extranonce1 []byte, hash *chainhash.Hash) {}

type poolSource struct{}

func newPoolSource(p *Proxy, index int, u Upstream) (*poolSource, error) {
	return nil, errors.New("stratum upstreams come next")
}

func (*poolSource) url() string                   { return "" }
func (*poolSource) notify()                       {}
func (*poolSource) run(context.Context, reporter) {}
