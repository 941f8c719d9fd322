package pool

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/template"
	"lode/stratum"
)

// nodeWork is what a node's work is made of. It implements jobs.Origin.
type nodeWork struct {
	made     atomic.Pointer[template.Work] // the template: as the node gave it, then compact
	script   []byte                        // payout script
	instance []byte                        // sets the coinbases of this proxy apart
	options  func(script []byte, size int, instance []byte) template.Options
}

// Template gives each job a coinbase of its own: a miner that begins anew with a job's
// extranonces must not find the shares of the job before once more.
func (w *nodeWork) Template(size int, key jobs.Key) (jobs.Template, error) {
	instance := binary.BigEndian.AppendUint32(append([]byte(nil), w.instance...), uint32(key))
	parts, err := w.made.Load().Resized(w.options(w.script, size, instance))
	if err != nil {
		return nil, err
	}
	parts.Template = nil
	return &nodeTemplate{parts, w}, nil
}

// compact has the template kept in a form that shares what it can with the one before.
// It is called when miners have their job.
func (w *nodeWork) compact(store *template.Store) {
	made := *w.made.Load()
	made.Template = store.Compact(made.Template)
	w.made.Store(&made)
}

// nodeTemplate is what is searched; the transactions are those of the work, which are
// needed for a block alone.
type nodeTemplate struct {
	parts *template.Work // without its Template
	from  *nodeWork
}

// Parts implements jobs.Template.
func (t *nodeTemplate) Parts() (coinbase1, coinbase2 []byte, branch []chainhash.Hash) {
	return t.parts.Parts()
}

// Block implements jobs.Template.
func (t *nodeTemplate) Block(header [80]byte, extranonce []byte) []byte {
	whole := *t.parts
	whole.Template = t.from.made.Load().Template
	return whole.Block(header, extranonce)
}

// OwnCoinbase implements jobs.Origin.
func (w *nodeWork) OwnCoinbase() bool { return true }

// CapDifficulty implements jobs.Origin: a node takes blocks alone.
func (w *nodeWork) CapDifficulty(d float64) float64 { return d }

// nodeOrigin makes the origin of a node's work.
func (p *Proxy) nodeOrigin(made *template.Work, script []byte) *nodeWork {
	w := &nodeWork{script: script, instance: p.instance, options: p.coinbaseOptions}
	w.made.Store(made)
	return w
}

// newNodeWork makes work of a template.
func newNodeWork(source int, t *template.Template, origin *nodeWork, mask uint32, since time.Time) (*jobs.Work, error) {
	network, err := stratum.TargetFromBits(t.Bits)
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	// Of the bits that BIP 323 adds to those of BIP 320 a node may have set some to
	// signal with; there are enough others.
	mask &^= t.RequiredBits | t.Version&(stratum.WideVersionMask&^stratum.DefaultVersionMask)
	minTime := t.MinTime
	if minTime == 0 {
		minTime = t.CurrentTime
	}
	maxTime, now := t.MaxTime, max(t.CurrentTime, t.MinTime)
	if t.FixedTime {
		minTime, maxTime = now, now
	}
	return &jobs.Work{
		Source: source, Prev: t.PreviousHash, Height: t.Height, Bits: t.Bits,
		Network: network, NetworkDifficulty: float64(network.Difficulty()),
		Version: t.Version &^ mask, Mask: mask,
		Time: now, MinTime: minTime, MaxTime: maxTime,
		Since: since, Origin: origin,
	}, nil
}
