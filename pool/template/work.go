package template

import (
	"encoding/binary"
	"fmt"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// MaxScriptSig is the largest script of a coinbase input (consensus rule bad-cb-length).
const MaxScriptSig = 100

// Options say how to build a coinbase.
type Options struct {
	PayoutScript   []byte // output script that gets the whole reward
	ExtranonceSize int    // bytes of extranonce1 and extranonce2 together, 1 to 40
	Tag            []byte // text in the coinbase, at most 40 bytes
	// Instance sets the coinbases of several proxies with one payout script apart,
	// so that equal extranonces never mean equal work. At most 8 bytes.
	Instance []byte
}

// Work is a template with its coinbase: all that is needed to mine and to assemble
// a block. It does not change once made.
type Work struct {
	*Template
	Branch []chainhash.Hash // merkle branch of the coinbase, internal byte order
	// Coinbase1 and Coinbase2 surround the extranonce in the coinbase's
	// serialization without witness.
	Coinbase1, Coinbase2 []byte
	ExtranonceSize       int
}

// New builds the coinbase and the merkle branch for a template.
func New(t *Template, o Options) (*Work, error) {
	w := &Work{Template: t, Branch: branch(t.Transactions)}
	return w, w.build(o)
}

// Resized is the same work for extranonces of another size.
func (w *Work) Resized(o Options) (*Work, error) {
	other := &Work{Template: w.Template, Branch: w.Branch}
	return other, other.build(o)
}

func (w *Work) build(o Options) error {
	if o.ExtranonceSize < 1 || o.ExtranonceSize > 40 {
		return fmt.Errorf("coinbase: %d bytes of extranonce, want 1 to 40", o.ExtranonceSize)
	}
	if len(o.Tag) > 40 || len(o.Instance) > 8 {
		return fmt.Errorf("coinbase: tag of %d bytes (at most 40) or instance of %d (at most 8)", len(o.Tag), len(o.Instance))
	}
	if len(o.PayoutScript) == 0 {
		return fmt.Errorf("coinbase: no payout script")
	}
	head := append(heightPush(w.Height), byte(o.ExtranonceSize))
	var tail []byte
	if len(o.Tag) > 0 {
		tail = append(append(tail, byte(len(o.Tag))), o.Tag...)
	}
	if len(o.Instance) > 0 {
		tail = append(append(tail, byte(len(o.Instance))), o.Instance...)
	}
	if size := len(head) + o.ExtranonceSize + len(tail); size > MaxScriptSig {
		return fmt.Errorf("coinbase: script of %d bytes, at most %d: shorten the tag", size, MaxScriptSig)
	} else if size+len(w.CoinbaseAux) <= MaxScriptSig {
		tail = append(append([]byte(nil), w.CoinbaseAux...), tail...)
	}
	scriptLen := len(head) + o.ExtranonceSize + len(tail)

	c1 := binary.LittleEndian.AppendUint32(nil, 1) // version
	c1 = append(c1, 1)                             // one input
	c1 = append(c1, make([]byte, 32)...)
	c1 = append(c1, 0xff, 0xff, 0xff, 0xff, byte(scriptLen))
	w.Coinbase1 = append(c1, head...)

	c2 := append(tail, 0xff, 0xff, 0xff, 0xff) // sequence
	outputs := 1
	if w.Commitment != nil {
		outputs = 2
	}
	c2 = append(c2, byte(outputs))
	c2 = appendOutput(c2, w.CoinbaseValue, o.PayoutScript)
	if w.Commitment != nil {
		c2 = appendOutput(c2, 0, w.Commitment)
	}
	w.Coinbase2 = append(c2, 0, 0, 0, 0) // lock time
	w.ExtranonceSize = o.ExtranonceSize
	return nil
}

func appendOutput(b []byte, value int64, script []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(value))
	b = appendVarInt(b, uint64(len(script)))
	return append(b, script...)
}

// Parts are what is searched: see Work.
func (w *Work) Parts() (coinbase1, coinbase2 []byte, branch []chainhash.Hash) {
	return w.Coinbase1, w.Coinbase2, w.Branch
}

// Block assembles the complete block for a header found with the extranonce.
func (w *Work) Block(header [80]byte, extranonce []byte) []byte {
	size := 80 + 9 + len(w.Coinbase1) + len(extranonce) + len(w.Coinbase2) + 36
	for i := range w.Transactions {
		size += w.Transactions[i].Size()
	}
	b := append(make([]byte, 0, size), header[:]...)
	b = appendVarInt(b, uint64(1+len(w.Transactions)))
	b = w.appendCoinbase(b, extranonce)
	for i := range w.Transactions {
		b = w.Transactions[i].Append(b)
	}
	return b
}

// appendCoinbase adds marker, flag and witness (BIP 144) exactly if the coinbase
// commits to witnesses: nodes refuse the one without the other.
func (w *Work) appendCoinbase(b, extranonce []byte) []byte {
	if w.Commitment == nil {
		b = append(b, w.Coinbase1...)
		b = append(b, extranonce...)
		return append(b, w.Coinbase2...)
	}
	b = append(b, w.Coinbase1[:4]...)
	b = append(b, 0, 1)
	b = append(b, w.Coinbase1[4:]...)
	b = append(b, extranonce...)
	end := len(w.Coinbase2) - 4
	b = append(b, w.Coinbase2[:end]...)
	b = append(b, 1, 32)
	b = append(b, make([]byte, 32)...) // the reserved value that the commitment is made with
	return append(b, w.Coinbase2[end:]...)
}

// heightPush is the block height as the minimal push that BIP 34 demands.
func heightPush(height int64) []byte {
	if height >= 1 && height <= 16 {
		return []byte{0x50 + byte(height)} // OP_1 … OP_16
	}
	var number []byte
	for v := height; v > 0; v >>= 8 {
		number = append(number, byte(v))
	}
	if len(number) > 0 && number[len(number)-1]&0x80 != 0 {
		number = append(number, 0) // the top bit would be the sign
	}
	return append([]byte{byte(len(number))}, number...)
}

// appendVarInt adds a number in Bitcoin's variable-length form ("CompactSize").
func appendVarInt(b []byte, n uint64) []byte {
	switch {
	case n < 0xfd:
		return append(b, byte(n))
	case n <= 0xffff:
		return binary.LittleEndian.AppendUint16(append(b, 0xfd), uint16(n))
	case n <= 0xffffffff:
		return binary.LittleEndian.AppendUint32(append(b, 0xfe), uint32(n))
	default:
		return binary.LittleEndian.AppendUint64(append(b, 0xff), n)
	}
}
