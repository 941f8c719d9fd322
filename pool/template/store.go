package template

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/internal/txscan"
	"lode/stratum/merkle"
)

// Store shares transactions among successive templates: most of one are in the next, and
// jobs made of both are remembered. It is for one goroutine.
type Store struct {
	// Strict says that transactions have the form that Bitcoin's have, so that they can be
	// held against their hashes.
	Strict bool

	known   map[chainhash.Hash][]byte // those of the last template, by txid
	scratch []byte
	scan    txscan.Scanner
}

// Compact is t, to be kept: it has nothing of the node's reply any more, and what the
// template before has too it has in common with that. A template whose transactions are not
// those of its merkle root is an error: no node takes a block of it.
func (s *Store) Compact(t *Template) (*Template, error) {
	compact := *t
	compact.Transactions = make([]Transaction, len(t.Transactions))
	known := make(map[chainhash.Hash][]byte, len(t.Transactions))
	for i := range t.Transactions {
		tx := &t.Transactions[i]
		s.scratch = tx.Append(s.scratch[:0])
		raw := s.known[tx.TxID]
		if !bytes.Equal(raw, s.scratch) { // the same txid can come with another witness
			raw = bytes.Clone(s.scratch)
			if err := s.check(tx, raw); err != nil {
				return nil, fmt.Errorf("block template: transaction %d: %w", i+1, err)
			}
			compact.Memory += int64(len(raw))
		}
		known[tx.TxID] = raw
		compact.Transactions[i] = Transaction{TxID: tx.TxID, raw: raw}
	}
	if len(known) < len(t.Transactions) {
		return nil, fmt.Errorf("block template: %d of its %d transactions are there twice", len(t.Transactions)-len(known), len(t.Transactions))
	}
	compact.Memory += int64(len(compact.Transactions)) * int64(unsafe.Sizeof(Transaction{}))
	if len(known) > 0 { // an empty block is what precedes the next full one
		s.known = known
	}
	return &compact, nil
}

// check compares a transaction with the hashes that the node gives for it.
func (s *Store) check(tx *Transaction, raw []byte) error {
	if !s.Strict {
		return nil
	}
	s.scan.Reset(raw)
	id, _ := s.scan.Transaction()
	err := s.scan.End()
	switch {
	case err != nil:
		return err
	case id != tx.TxID:
		return fmt.Errorf("txid is %v, of the data it is %v", tx.TxID, id)
	case tx.wtxid != nil && merkle.Double(raw) != hashFromHex(tx.wtxid):
		return fmt.Errorf("hash is %.64s, of the data it is %v", tx.wtxid, merkle.Double(raw))
	}
	return nil
}
