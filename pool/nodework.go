package pool

import (
	"encoding/binary"
	"fmt"
	"time"

	"lode/pool/jobs"
	"lode/pool/template"
	"lode/stratum"
)

// nodeWork is what a node's work is made of. It implements jobs.Origin.
type nodeWork struct {
	made     *template.Work
	script   []byte // payout script
	instance []byte // sets the coinbases of this proxy apart
	options  func(script []byte, size int, instance []byte) template.Options
}

// Template gives each job a coinbase of its own: a miner that begins anew with a job's
// extranonces must not find the shares of the job before once more.
func (w *nodeWork) Template(size int, key jobs.Key) (jobs.Template, error) {
	instance := binary.BigEndian.AppendUint32(append([]byte(nil), w.instance...), uint32(key))
	return w.made.Resized(w.options(w.script, size, instance))
}

// OwnCoinbase implements jobs.Origin.
func (w *nodeWork) OwnCoinbase() bool { return true }

// CapDifficulty implements jobs.Origin: a node takes blocks alone.
func (w *nodeWork) CapDifficulty(d float64) float64 { return d }

// nodeOrigin makes the origin of a node's work.
func (p *Proxy) nodeOrigin(made *template.Work, script []byte) *nodeWork {
	return &nodeWork{made: made, script: script, instance: p.instance, options: p.coinbaseOptions}
}

// newNodeWork makes work of a template.
func newNodeWork(source int, t *template.Template, origin *nodeWork, mask uint32, since time.Time) (*jobs.Work, error) {
	network, err := stratum.TargetFromBits(t.Bits)
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	mask &^= t.RequiredBits
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
