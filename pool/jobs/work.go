// Package jobs holds what miners search: the work of an upstream, the jobs made of it,
// and the table of those that shares may still come for. It does no I/O and has no clock
// of its own.
//
//	work     what an upstream has to be searched: the base of one job or several
//	job      work under a number of its own
//	edition  one of the 16 forms of a job, each with an id: see Editions
//	key      number and edition in one; written with base 36 it is the id
//	variant  an edition for one size of the extranonce, ready to be sent and to be
//	         searched
package jobs

import (
	"bytes"
	"slices"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/space"
	"lode/pool/template"
	"lode/stratum"
)

// timeRoom is how far a miner may move a job's time ahead, in seconds (the common
// bound of pools; nodes refuse 7200 s ahead of their clock).
const timeRoom = 7000

// Refusals for the time of a share.
var (
	ErrTimeTooOld = &stratum.Error{Code: stratum.CodeOther, Text: "Time too old"}
	ErrTimeTooNew = &stratum.Error{Code: stratum.CodeOther, Text: "Time too new"}
)

// Work is what an upstream has to be searched: the common base of several jobs.
type Work struct {
	Source  int // index of the upstream, as its Reporter knows it
	Prev    chainhash.Hash
	Height  int64 // 0: unknown
	Bits    uint32
	Network stratum.Target
	// NetworkDifficulty is that of Network.
	NetworkDifficulty float64
	Version           uint32 // with the bits of Mask cleared
	Mask              uint32
	Time              uint32 // unix seconds, as the other times
	MinTime, MaxTime  uint32 // MaxTime 0: none
	Since             time.Time
	Clean             bool         // the upstream wants earlier jobs forgotten
	Space             *space.Space // where it is searched
	Origin            Origin
	Taker             Taker // the upstream, where it takes shares; nil: it takes blocks alone
}

// Origin is the kind of upstream that work comes from.
type Origin interface {
	// Make makes what is searched with extranonces of size bytes (extranonce1 and
	// extranonce2 together). The key tells apart what must not have the same hashes.
	Make(size int, key Key) (template.Work, error)
	// OwnCoinbase says that the coinbase of each key is another. Where it is not, keys
	// differ in time alone.
	OwnCoinbase() bool
	// CapDifficulty bounds the difficulty of a share by what the upstream asks for.
	CapDifficulty(d float64) float64
}

// Keeper is an Origin that needs memory for as long as its job is remembered.
type Keeper interface {
	Memory() int64 // bytes
}

// Lister is an Origin that knows a block's transactions.
type Lister interface {
	// Transactions are those of the block but for the coinbase, serialized; ok: they have
	// no more than most bytes.
	Transactions(most int) (list [][]byte, ok bool)
}

// Named is an Origin whose blocks have to be handed in with an id.
type Named interface {
	// WorkID is the id that the node of that URL gave, raw JSON; "": none.
	WorkID() (id, node string)
}

// Taker is an upstream that takes shares.
type Taker interface {
	// Take hands a share on, unless it is too easy for the upstream. version is that of
	// its header, extranonce1 the miner's.
	Take(in *stratum.Share, version uint32, extranonce1 []byte, hash *chainhash.Hash)
	// TakeBlock hands on a share that is a block, in any case. record is called before,
	// with the upstream's address, and says whether the block is to be heard of.
	TakeBlock(in *stratum.Share, version uint32, extranonce1 []byte, hash string, record func(pool string) bool)
}

// Again is the work for one more job on the same base, at a later time; nil: there is
// nothing new to be searched in it yet.
func (w *Work) Again(now time.Time) *Work {
	next := *w
	if w.Origin.OwnCoinbase() {
		return &next
	}
	// The editions have taken the next seconds.
	behind := now.Sub(w.Since) / time.Second
	if behind < Editions {
		return nil
	}
	next.Time += uint32(min(behind, 1<<20))
	next.Since = w.Since.Add(behind * time.Second)
	if w.MaxTime > 0 {
		if next.Time = min(next.Time, w.MaxTime-Editions+1); next.Time < w.Time+Editions {
			return nil
		}
	}
	return &next
}

// after is the work with a time that no edition of a job before had, if the same is searched in
// it otherwise: miners begin anew with each job.
func (w *Work) after(before *Work) *Work {
	if w.Time >= before.Time+Editions || !w.like(before) {
		return w
	}
	next := *w
	next.Time = before.Time + Editions
	if w.MaxTime > 0 {
		next.Time = min(next.Time, w.MaxTime-Editions+1)
	}
	return &next
}

// like reports whether two works of a pool have the same coinbases and transactions.
func (w *Work) like(before *Work) bool {
	if w.Origin.OwnCoinbase() || before.Origin.OwnCoinbase() || w.Prev != before.Prev || w.Space != before.Space {
		return false
	}
	size := w.Space.Size() + w.Space.Rest()
	a, err := w.Origin.Make(size, 0)
	b, err2 := before.Origin.Make(size, 0)
	if err != nil || err2 != nil || !slices.Equal(a.Branch(), b.Branch()) {
		return false
	}
	a1, a2 := a.Coinbase()
	b1, b2 := b.Coinbase()
	return bytes.Equal(a1, b1) && bytes.Equal(a2, b2)
}

// TimeError judges a share's time.
func (w *Work) TimeError(ntime uint32) *stratum.Error {
	switch {
	case ntime < w.MinTime:
		return ErrTimeTooOld
	case uint64(ntime) > uint64(w.Time)+timeRoom, w.MaxTime > 0 && ntime > w.MaxTime:
		return ErrTimeTooNew
	}
	return nil
}

// Possible reports whether a block may have a time, as far as is known: what bounds a pool's
// job are rules for shares.
func (w *Work) Possible(ntime uint32) bool {
	return w.Taker != nil || ntime >= w.MinTime && (w.MaxTime == 0 || ntime <= w.MaxTime)
}
