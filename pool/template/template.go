// Package template turns a getblocktemplate reply into what miners search and
// what a node accepts: coinbase, merkle branch, block. It does no I/O.
//
// Parse reads a reply, New makes Work of it, Work.Block assembles the block of a
// found header.
//
//	t, err := template.Parse(reply)
//	w, err := template.New(t, template.Options{PayoutScript: script, ExtranonceSize: 12})
//	raw := w.Block(header, extranonce)
package template

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum"
)

// Limits of what a template may hold; a reply beyond them is refused.
const (
	maxHeight  = 1<<31 - 1
	maxValue   = 21_000_000 * 100_000_000 // satoshis
	maxTxCount = 100_000
	maxAuxSize = 80
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
	CoinbaseValue                 int64  // satoshis: subsidy and fees
	CoinbaseAux                   []byte // raw script bytes for the coinbase
	// Commitment is the script of the witness commitment output; nil: none is needed.
	Commitment   []byte
	Transactions []Transaction // without the coinbase, in block order
	LongPollID   string
	WorkID       string
	// Stale says that work on the template before this one is useless (submitold false).
	Stale bool
	Rules []string
}

// Transaction is one of a Template's transactions.
type Transaction struct {
	Data        []byte         // complete serialization
	TxID, WTxID chainhash.Hash // internal byte order
	Fee         int64          // satoshis
}

type reply struct {
	Version       *int64                     `json:"version"`
	Previous      string                     `json:"previousblockhash"`
	Transactions  []replyTx                  `json:"transactions"`
	CoinbaseValue *int64                     `json:"coinbasevalue"`
	CoinbaseTxn   json.RawMessage            `json:"coinbasetxn"`
	CoinbaseAux   map[string]json.RawMessage `json:"coinbaseaux"`
	Bits          string                     `json:"bits"`
	Height        *int64                     `json:"height"`
	CurTime       *int64                     `json:"curtime"`
	MinTime       int64                      `json:"mintime"`
	MaxTime       int64                      `json:"maxtime"`
	LongPollID    string                     `json:"longpollid"`
	WorkID        string                     `json:"workid"`
	SubmitOld     *bool                      `json:"submitold"`
	Rules         []string                   `json:"rules"`
	Commitment    string                     `json:"default_witness_commitment"`
}

type replyTx struct {
	Data string `json:"data"`
	TxID string `json:"txid"`
	Hash string `json:"hash"`
	Fee  int64  `json:"fee"`
}

// Parse reads the result of getblocktemplate in the dialects of Bitcoin Core and btcd.
func Parse(result []byte) (*Template, error) {
	var r reply
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	t, err := r.template()
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	return t, nil
}

func (r *reply) template() (*Template, error) {
	switch {
	case r.Height == nil || *r.Height < 1 || *r.Height > maxHeight:
		return nil, errors.New("height is missing or out of range")
	case r.CoinbaseValue == nil && len(r.CoinbaseTxn) > 0:
		return nil, errors.New("the node insists on its own coinbase (coinbasetxn); coinbasevalue is needed")
	case r.CoinbaseValue == nil || *r.CoinbaseValue < 0 || *r.CoinbaseValue > maxValue:
		return nil, errors.New("coinbasevalue is missing or out of range")
	case r.Version == nil || *r.Version < -1<<31 || *r.Version > 1<<32-1:
		return nil, errors.New("version is missing or out of range")
	case r.CurTime == nil || !isTime(*r.CurTime) || !isTime(r.MinTime) || !isTime(r.MaxTime):
		return nil, errors.New("curtime, mintime or maxtime is missing or out of range")
	case len(r.Transactions) > maxTxCount:
		return nil, fmt.Errorf("%d transactions", len(r.Transactions))
	}
	t := &Template{
		Version:       uint32(*r.Version),
		Height:        *r.Height,
		CurrentTime:   uint32(*r.CurTime),
		MinTime:       uint32(r.MinTime),
		MaxTime:       uint32(r.MaxTime),
		CoinbaseValue: *r.CoinbaseValue,
		LongPollID:    r.LongPollID,
		WorkID:        r.WorkID,
		Stale:         r.SubmitOld != nil && !*r.SubmitOld,
		Rules:         r.Rules,
	}
	if len(r.Previous) != 64 {
		return nil, fmt.Errorf("previousblockhash %.80q is not 64 hex digits", r.Previous)
	}
	if err := chainhash.Decode(&t.PreviousHash, r.Previous); err != nil {
		return nil, fmt.Errorf("previousblockhash: %w", err)
	}
	bits, err := strconv.ParseUint(r.Bits, 16, 32)
	if err != nil || len(r.Bits) != 8 {
		return nil, fmt.Errorf("bits %.20q are not 8 hex digits", r.Bits)
	}
	t.Bits = uint32(bits)
	if _, err := stratum.TargetFromBits(t.Bits); err != nil {
		return nil, err
	}
	if t.CoinbaseAux, err = auxBytes(r.CoinbaseAux); err != nil {
		return nil, err
	}
	if t.Transactions, err = transactions(r.Transactions); err != nil {
		return nil, err
	}
	if err := r.checkRules(); err != nil {
		return nil, err
	}
	return t, r.commitment(t)
}

// isTime allows 0 for a member that is absent.
func isTime(seconds int64) bool { return seconds >= 0 && seconds <= 1<<32-1 }

// checkRules refuses a template with a rule that changes how blocks are built and
// that this package does not know (a leading "!", BIP 9).
func (r *reply) checkRules() error {
	for _, rule := range r.Rules {
		switch rule {
		case "!segwit", "!signet":
			// What "!signet" demands is in the block's solution: the node package
			// lets it pass only where the challenge is trivial.
		default:
			if len(rule) > 0 && rule[0] == '!' {
				return fmt.Errorf("rule %.40q must be understood to mine, and is not", rule)
			}
		}
	}
	return nil
}

// commitment finds the script of the witness commitment. Core sends the whole script
// always, even before segwit is active; btcd sends the 32-byte commitment alone, and
// only where a transaction has a witness.
func (r *reply) commitment(t *Template) error {
	witness := false
	for i := range t.Transactions {
		if t.Transactions[i].hasWitness() {
			witness = true
			break
		}
	}
	if !witness && len(r.Rules) > 0 && !hasRule(r.Rules, "!segwit") && !hasRule(r.Rules, "segwit") {
		return nil // the node speaks of rules, and segwit is not among them
	}
	switch len(r.Commitment) {
	case 0:
		if witness {
			t.Commitment = commitmentScript(witnessCommitment(t.Transactions))
		}
		return nil
	case 2 * chainhash.HashSize:
		raw, err := hex.DecodeString(r.Commitment)
		if err != nil {
			return fmt.Errorf("default_witness_commitment: %w", err)
		}
		t.Commitment = commitmentScript(chainhash.Hash(raw))
		return nil
	default:
		raw, err := hex.DecodeString(r.Commitment)
		if err != nil || len(raw) < commitmentSize || len(raw) > 100 || string(raw[:len(commitmentPrefix)]) != commitmentPrefix {
			return fmt.Errorf("default_witness_commitment %.100q is neither a script nor a hash", r.Commitment)
		}
		t.Commitment = raw
		return nil
	}
}

func hasRule(rules []string, name string) bool {
	for _, rule := range rules {
		if rule == name {
			return true
		}
	}
	return false
}

// HasRule reports whether the node named the rule, with or without its "!".
func (t *Template) HasRule(name string) bool {
	return hasRule(t.Rules, name) || hasRule(t.Rules, "!"+name)
}

// auxBytes joins the blobs of coinbaseaux in the order of their names. Blobs that
// leave no room in the coinbase are left out: including them is only a wish (BIP 22).
func auxBytes(aux map[string]json.RawMessage) ([]byte, error) {
	names := make([]string, 0, len(aux))
	for name := range aux {
		names = append(names, name)
	}
	sort.Strings(names)
	var out []byte
	for _, name := range names {
		var text string
		if err := json.Unmarshal(aux[name], &text); err != nil {
			return nil, fmt.Errorf("coinbaseaux %.40q: %w", name, err)
		}
		blob, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("coinbaseaux %.40q: %w", name, err)
		}
		if len(out)+len(blob) <= maxAuxSize {
			out = append(out, blob...)
		}
	}
	return out, nil
}

func transactions(list []replyTx) ([]Transaction, error) {
	txs := make([]Transaction, len(list))
	for i := range list {
		r, tx := &list[i], &txs[i]
		data, err := hex.DecodeString(r.Data)
		if err != nil {
			return nil, fmt.Errorf("transaction %d: data: %w", i+1, err)
		}
		if len(data) < 10 {
			return nil, fmt.Errorf("transaction %d: %d bytes of data", i+1, len(data))
		}
		// Servers from before segwit send only hash, which is the txid then.
		txid, wtxid := r.TxID, r.Hash
		if txid == "" {
			txid = wtxid
		}
		if wtxid == "" {
			wtxid = txid
		}
		if len(txid) != 64 || len(wtxid) != 64 {
			return nil, fmt.Errorf("transaction %d: txid or hash is not 64 hex digits", i+1)
		}
		if err := chainhash.Decode(&tx.TxID, txid); err != nil {
			return nil, fmt.Errorf("transaction %d: txid: %w", i+1, err)
		}
		if err := chainhash.Decode(&tx.WTxID, wtxid); err != nil {
			return nil, fmt.Errorf("transaction %d: hash: %w", i+1, err)
		}
		tx.Data, tx.Fee = data, r.Fee
	}
	return txs, nil
}

// hasWitness looks for marker and flag of BIP 144 after the version.
func (tx *Transaction) hasWitness() bool {
	return tx.Data[4] == 0 && tx.Data[5] == 1
}

// Empty is the template for a block without transactions on the same parent.
func (t *Template) Empty() *Template {
	empty := *t
	empty.Transactions = nil
	for i := range t.Transactions {
		empty.CoinbaseValue -= t.Transactions[i].Fee
	}
	if t.Commitment != nil {
		empty.Commitment = commitmentScript(witnessCommitment(nil))
	}
	return &empty
}

// Next is a template for an empty block on a tip that has just replaced this
// template's own: what can be mined until the node has made a real one. Bits,
// version and rules must be known to stay what they are.
func (t *Template) Next(tip chainhash.Hash, height, subsidy int64, medianTime, now uint32) *Template {
	next := t.Empty()
	next.PreviousHash, next.Height, next.CoinbaseValue = tip, height, subsidy
	next.MinTime = medianTime + 1
	next.CurrentTime = max(now, next.MinTime)
	next.MaxTime, next.LongPollID, next.WorkID, next.Stale = 0, "", "", true
	return next
}
