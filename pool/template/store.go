package template

import (
	"bytes"
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Store shares transactions among successive templates: most of one are in the next, and
// jobs made of both are remembered. It is for one goroutine.
type Store struct {
	known   map[chainhash.Hash][]byte // those of the last template, by txid
	scratch []byte
}

// Compact is t, to be kept: it has nothing of the node's reply any more, and what the
// template before has too it has in common with that.
func (s *Store) Compact(t *Template) *Template {
	compact := *t
	compact.Transactions = make([]Transaction, len(t.Transactions))
	known := make(map[chainhash.Hash][]byte, len(t.Transactions))
	for i := range t.Transactions {
		tx := &t.Transactions[i]
		s.scratch = tx.Append(s.scratch[:0])
		raw := s.known[tx.TxID]
		if !bytes.Equal(raw, s.scratch) { // the same txid can come with another witness
			raw = bytes.Clone(s.scratch)
			compact.Memory += int64(len(raw))
		}
		known[tx.TxID] = raw
		compact.Transactions[i] = Transaction{TxID: tx.TxID, raw: raw}
	}
	compact.Memory += int64(len(compact.Transactions)) * int64(unsafe.Sizeof(Transaction{}))
	if len(known) > 0 { // an empty block is what precedes the next full one
		s.known = known
	}
	return &compact
}
