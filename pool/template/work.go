package template

import (
	"encoding/binary"
	"fmt"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// MaxScriptSig is the largest script of a coinbase input (consensus rule bad-cb-length).
const MaxScriptSig = 100

// MaxExtranonce and the other bounds of Options leave room for all of them: height, extranonce,
// tag and instance are 5, 1+40, 1+40 and 1+8 bytes of script at most.
const MaxExtranonce = 40

// Options say how to build a coinbase.
type Options struct {
	PayoutScript   []byte // output script that gets the whole reward
	ExtranonceSize int    // bytes of extranonce1 and extranonce2 together, 1 to MaxExtranonce
	Tag            []byte // text in the coinbase, at most 40 bytes
	// Instance sets the coinbases of several proxies with one payout script apart,
	// so that equal extranonces never mean equal work. At most 8 bytes.
	Instance []byte
}

// Work is a block without its header: what is searched, and how a solution becomes a
// block. Whatever can give these three can be mined for. It does not change once made.
type Work interface {
	// Coinbase is what surrounds the extranonce in the coinbase's serialization without
	// witness.
	Coinbase() (before, after []byte)
	// Branch is the merkle branch of the coinbase, internal byte order.
	Branch() []chainhash.Hash
	// Solve assembles the complete block of a header found with the extranonce; nil:
	// only the upstream can do that.
	Solve(header [80]byte, extranonce []byte) []byte
}

// Candidate is the Work of a node's template: the template with a coinbase.
type Candidate struct {
	*Template
	branch        []chainhash.Hash
	before, after []byte // the extranonce, in the coinbase
}

// New builds the coinbase and the merkle branch for a template.
func New(t *Template, o Options) (*Candidate, error) {
	c := &Candidate{Template: t, branch: branch(t.Transactions)}
	return c, c.build(o)
}

// Again is the same block with another coinbase.
func (c *Candidate) Again(o Options) (*Candidate, error) {
	other := &Candidate{Template: c.Template, branch: c.branch}
	return other, other.build(o)
}

// Of is the same block with the same coinbase, of a template with the same transactions in
// another form; nil: without any, it cannot be solved.
func (c *Candidate) Of(t *Template) *Candidate {
	other := *c
	other.Template = t
	return &other
}

func (c *Candidate) build(o Options) error {
	if o.ExtranonceSize < 1 || o.ExtranonceSize > MaxExtranonce {
		return fmt.Errorf("coinbase: %d bytes of extranonce, want 1 to %d", o.ExtranonceSize, MaxExtranonce)
	}
	if len(o.Tag) > 40 || len(o.Instance) > 8 {
		return fmt.Errorf("coinbase: tag of %d bytes (at most 40) or instance of %d (at most 8)", len(o.Tag), len(o.Instance))
	}
	if len(o.PayoutScript) == 0 {
		return fmt.Errorf("coinbase: no payout script")
	}
	head := append(heightPush(c.Height), byte(o.ExtranonceSize))
	var tail []byte
	if len(o.Tag) > 0 {
		tail = append(append(tail, byte(len(o.Tag))), o.Tag...)
	}
	if len(o.Instance) > 0 {
		tail = append(append(tail, byte(len(o.Instance))), o.Instance...)
	}
	// What the node wishes to have in it is left out where there is no room.
	if len(head)+o.ExtranonceSize+len(tail)+len(c.CoinbaseAux) <= MaxScriptSig {
		tail = append(append([]byte(nil), c.CoinbaseAux...), tail...)
	}
	scriptLen := len(head) + o.ExtranonceSize + len(tail)

	c1 := binary.LittleEndian.AppendUint32(nil, 1) // version
	c1 = append(c1, 1)                             // one input
	c1 = append(c1, make([]byte, 32)...)
	c1 = append(c1, 0xff, 0xff, 0xff, 0xff, byte(scriptLen))
	c.before = append(c1, head...)

	c2 := append(tail, 0xff, 0xff, 0xff, 0xff) // sequence
	outputs := 1
	if c.Commitment != nil {
		outputs = 2
	}
	c2 = append(c2, byte(outputs))
	c2 = appendOutput(c2, c.CoinbaseValue, o.PayoutScript)
	if c.Commitment != nil {
		c2 = appendOutput(c2, 0, c.Commitment)
	}
	c.after = append(c2, 0, 0, 0, 0) // lock time
	return nil
}

func appendOutput(b []byte, value int64, script []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(value))
	b = appendVarInt(b, uint64(len(script)))
	return append(b, script...)
}

// Coinbase implements Work.
func (c *Candidate) Coinbase() (before, after []byte) { return c.before, c.after }

// Branch implements Work.
func (c *Candidate) Branch() []chainhash.Hash { return c.branch }

// Solve implements Work.
func (c *Candidate) Solve(header [80]byte, extranonce []byte) []byte {
	size := 80 + 9 + len(c.before) + len(extranonce) + len(c.after) + 36
	for i := range c.Transactions {
		size += c.Transactions[i].Size()
	}
	b := append(make([]byte, 0, size), header[:]...)
	b = appendVarInt(b, uint64(1+len(c.Transactions)))
	b = c.appendCoinbase(b, extranonce)
	for i := range c.Transactions {
		b = c.Transactions[i].Append(b)
	}
	return b
}

// appendCoinbase adds marker, flag and witness (BIP 144) exactly if the coinbase
// commits to witnesses: nodes refuse the one without the other.
func (c *Candidate) appendCoinbase(b, extranonce []byte) []byte {
	if c.Commitment == nil {
		b = append(b, c.before...)
		b = append(b, extranonce...)
		return append(b, c.after...)
	}
	b = append(b, c.before[:4]...)
	b = append(b, 0, 1)
	b = append(b, c.before[4:]...)
	b = append(b, extranonce...)
	end := len(c.after) - 4
	b = append(b, c.after[:end]...)
	b = append(b, 1, 32)
	b = append(b, make([]byte, 32)...) // the reserved value that the commitment is made with
	return append(b, c.after[end:]...)
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
