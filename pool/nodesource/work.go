package nodesource

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/template"
	"lode/stratum"
)

// work is what a node's work is made of. It implements jobs.Origin.
type work struct {
	made     atomic.Pointer[template.Candidate] // the template: as the node gave it, then compact
	coinbase coinbase
	node     string // URL of the one that gave a work id
}

// coinbase says how coinbases look.
type coinbase struct {
	script   []byte // payout script
	tag      []byte
	instance []byte // sets the coinbases of this proxy apart
}

// options are for extranonces of size bytes.
func (c *coinbase) options(size int, key jobs.Key) template.Options {
	return template.Options{
		PayoutScript: c.script, ExtranonceSize: size, Tag: c.tag,
		Instance: binary.BigEndian.AppendUint32(slices.Clone(c.instance), uint32(key)),
	}
}

func (s *Source) coinbase() coinbase { return coinbase{s.script, []byte(s.o.Tag), s.o.Instance} }

// Make gives each job a coinbase of its own: a miner that begins anew with a job's
// extranonces must not find the shares of the job before once more.
func (w *work) Make(size int, key jobs.Key) (template.Work, error) {
	c, err := w.made.Load().Again(w.coinbase.options(size, key))
	if err != nil {
		return nil, err
	}
	return &solvable{c.Of(nil), w}, nil
}

// compact has the template kept in a form that shares what it can with the one before.
// It is called when miners have their job. An error says that no node will take its blocks.
func (w *work) compact(store *template.Store) error {
	c := w.made.Load()
	t, err := store.Compact(c.Template)
	w.made.Store(c.Of(t))
	return err
}

// Memory implements jobs.Keeper.
func (w *work) Memory() int64 { return w.made.Load().Memory }

// WorkID implements jobs.Named.
func (w *work) WorkID() (id, node string) { return w.made.Load().WorkID, w.node }

// OwnCoinbase implements jobs.Origin.
func (w *work) OwnCoinbase() bool { return true }

// CapDifficulty implements jobs.Origin: a node takes blocks alone.
func (w *work) CapDifficulty(d float64) float64 { return d }

// Transactions implements jobs.Lister. Of more than is wanted nothing is made: miners may ask
// for those of many jobs in turn.
func (w *work) Transactions(most int) ([][]byte, bool) {
	list := w.made.Load().Transactions
	size := 0
	for i := range list {
		if size += list[i].Size(); size > most {
			return nil, false
		}
	}
	raw := make([][]byte, len(list))
	for i := range raw {
		raw[i] = list[i].Append(nil)
	}
	return raw, true
}

// solvable is what is searched; the transactions are those of the work, which are needed
// for a block alone. It implements template.Work.
type solvable struct {
	candidate *template.Candidate // without its Template
	from      *work
}

func (s *solvable) Coinbase() (before, after []byte) { return s.candidate.Coinbase() }
func (s *solvable) Branch() []chainhash.Hash         { return s.candidate.Branch() }

func (s *solvable) Solve(header [80]byte, extranonce []byte) []byte {
	return s.candidate.Of(s.from.made.Load().Template).Solve(header, extranonce)
}

// work makes work of a template that the node gave at a time.
func (s *Source) work(t *template.Template, since time.Time) (*jobs.Work, error) {
	network, err := stratum.TargetFromBits(t.Bits)
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	origin := &work{coinbase: s.coinbase()}
	if t.WorkID != "" {
		origin.node = s.node.URL()
	}
	c, err := template.New(t, origin.coinbase.options(ExtranonceSize, 0))
	if err != nil {
		return nil, err
	}
	origin.made.Store(c)
	mask := s.o.Mask
	if s.network.NoVersionRolling || s.versionMeansMore(t) {
		mask = 0
	}
	// Of the bits that BIP 323 adds to those of BIP 320 a node may have set some to
	// signal with; there are enough others.
	mask &^= t.RequiredBits | t.Version&(stratum.WideVersionMask&^stratum.DefaultVersionMask)
	if t.ManyAlgorithms {
		mask &= stratum.DefaultVersionMask
	}
	minTime := t.MinTime
	if minTime == 0 {
		minTime = t.CurrentTime
	}
	maxTime, now := t.MaxTime, max(t.CurrentTime, t.MinTime)
	if t.FixedTime {
		minTime, maxTime = now, now
	}
	return &jobs.Work{
		Prev: t.PreviousHash, Height: t.Height, Bits: t.Bits,
		Network: network, NetworkDifficulty: float64(network.Difficulty()),
		Version: t.Version &^ mask, Mask: mask,
		Time: now, MinTime: minTime, MaxTime: maxTime,
		Since: since, Space: s.o.Space, Origin: origin,
	}, nil
}

// versionMeansMore reports whether bits of the version are no mere signals, as far as can be
// known: chains that are mined along with others have an id there.
func (s *Source) versionMeansMore(t *template.Template) bool {
	if s.network.Known() || t.Version&stratum.DefaultVersionMask == 0 {
		return false
	}
	if !s.toldVersion {
		s.toldVersion = true
		s.log.Warn("the chain is not known, and its version has bits of the mask set, an id perhaps: miners are not offered to roll versions",
			"upstream", s.URL(), "network", s.network.Name, "version", fmt.Sprintf("%08x", t.Version))
	}
	return true
}
