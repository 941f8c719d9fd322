// Package template turns a getblocktemplate reply into what miners search and
// what a node accepts: coinbase, merkle branch, block. It does no I/O.
//
// Parse reads a reply, New makes Work of it, Work.Solve assembles the block of a
// found header. A reply is several megabytes, and miners wait for the work in it:
// it is read once, and what only a found block needs is decoded only then.
//
//	t, err := template.Parse(reply)
//	w, err := template.New(t, template.Options{PayoutScript: script, ExtranonceSize: 12})
//	raw := w.Solve(header, extranonce)
package template

import (
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Template is a getblocktemplate reply (BIP 22, 23, 145), parsed.
type Template struct {
	Version      uint32
	PreviousHash chainhash.Hash // internal byte order
	Height       int64
	Bits         uint32
	// CurrentTime, MinTime and MaxTime are unix seconds; MaxTime is 0 where the
	// node does not say (Bitcoin Core).
	CurrentTime, MinTime, MaxTime uint32
	// FixedTime says that blocks must have CurrentTime: the node lists what may be
	// changed (mutable), and time is not in the list.
	FixedTime     bool
	CoinbaseValue int64  // satoshis: subsidy and fees
	CoinbaseAux   []byte // raw script bytes for the coinbase
	// Commitment is the script of the witness commitment output; nil: none is needed.
	Commitment   []byte
	Transactions []Transaction // without the coinbase, in block order
	// RequiredBits are bits of the version that a block must have as they are here
	// (vbrequired).
	RequiredBits uint32
	// LongPollID and WorkID go back to the node as they came, raw JSON; "": there is none.
	LongPollID, WorkID string
	// Expires is for how long the template holds; 0: the node does not say.
	Expires time.Duration
	// ManyAlgorithms says that the chain has several proofs of work, and the version tells
	// which one (in its bits 8 to 11).
	ManyAlgorithms bool
	// Stale says that work on the template before this one is useless (submitold false).
	Stale bool
	Rules []string
	// Memory is what a template that a Store made compact takes beside the one before it,
	// in bytes; else 0.
	Memory int64
}

// HasRule reports whether the node named the rule, with or without its "!".
func (t *Template) HasRule(name string) bool {
	return hasRule(t.Rules, name) || hasRule(t.Rules, "!"+name)
}

func hasRule(rules []string, name string) bool {
	for _, rule := range rules {
		if rule == name {
			return true
		}
	}
	return false
}

// Next is a template for an empty block on a tip that has just replaced this
// template's own: what can be mined until the node has made a real one. Bits,
// version and rules must be known to stay what they are.
func (t *Template) Next(tip chainhash.Hash, height, subsidy int64, medianTime, now uint32) *Template {
	next := *t
	next.Transactions = nil
	if t.Commitment != nil {
		next.Commitment = commitmentScript(witnessCommitment(nil))
	}
	next.PreviousHash, next.Height, next.CoinbaseValue = tip, height, subsidy
	next.MinTime = medianTime + 1
	next.CurrentTime = max(now, next.MinTime)
	next.MaxTime, next.LongPollID, next.WorkID, next.Expires, next.Stale = 0, "", "", 0, true
	return &next
}
