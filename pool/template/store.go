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

	known   map[chainhash.Hash]known // those of the last template, by txid
	scratch []byte
	scan    txscan.Scanner
}

// known is a transaction that was looked at.
type known struct {
	raw   []byte
	wrong error // its hashes are others; nil: they are not
}

// Compact is t, to be kept: it has nothing of the node's reply any more, and what the
// template before has too it has in common with that. An error says that its transactions are
// not those of its merkle root; the template is given all the same.
func (s *Store) Compact(t *Template) (_ *Template, err error) {
	compact := *t
	compact.Transactions = make([]Transaction, len(t.Transactions))
	now := make(map[chainhash.Hash]known, len(t.Transactions))
	for i := range t.Transactions {
		tx := &t.Transactions[i]
		s.scratch = tx.Append(s.scratch[:0])
		k := s.known[tx.TxID]
		if !bytes.Equal(k.raw, s.scratch) { // the same txid can come with another witness
			k.raw = bytes.Clone(s.scratch)
			k.wrong = s.check(tx, k.raw)
			compact.Memory += int64(len(k.raw))
		}
		if k.wrong != nil && err == nil {
			err = fmt.Errorf("transaction %d: %w", i+1, k.wrong)
		}
		now[tx.TxID] = k
		compact.Transactions[i] = Transaction{TxID: tx.TxID, raw: k.raw}
	}
	if twice := len(t.Transactions) - len(now); twice > 0 && err == nil {
		err = fmt.Errorf("%d of %d transactions are there twice", twice, len(t.Transactions))
	}
	compact.Memory += int64(len(compact.Transactions)) * int64(unsafe.Sizeof(Transaction{}))
	if len(now) > 0 { // an empty block is what precedes the next full one
		s.known = now
	}
	return &compact, err
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
