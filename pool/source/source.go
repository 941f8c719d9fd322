// Package source is the seam between the proxy and what it mines for: a Source is one
// upstream, a Reporter hears what it gives. Kinds of source are packages of their own,
// nodesource and poolsource.
package source

import (
	"context"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/upstream"
)

// Source is an upstream.
type Source interface {
	// URL is its address, without credentials.
	URL() string
	Kind() upstream.Kind
	// Run has it report what it has, until ctx ends.
	Run(ctx context.Context, r Reporter)
	// Check tries it out, and changes nothing: what was found, and what is wrong.
	Check(ctx context.Context) (string, error)
	// Close frees what is kept for calls after Run.
	Close()
}

// Reporter takes the news of one source.
type Reporter interface {
	// Work is new work.
	Work(w *jobs.Work)
	// Lost tells that there is no work any more, and why.
	Lost(err error)
	// Condemned tells that the source did what no honest one does.
	Condemned(err error)
	// Share tells of an answer to a share. It may be called where nothing may be waited
	// for.
	Share(accepted bool)
}

// Witness is a Source that knows the chain.
type Witness interface {
	Source
	// Notify says that there may be a new block.
	Notify()
	// Ask says what it knows of a block, and the block's height; 0: unknown.
	Ask(ctx context.Context, block chainhash.Hash) (upstream.Answer, int64)
}

// Pool is a Source that takes shares.
type Pool interface {
	Source
	// Answers counts its answers to shares.
	Answers() map[string]uint64
	// AwaitBlocks waits until it has answered to all blocks, or ctx ends: false.
	AwaitBlocks(ctx context.Context) bool
}
