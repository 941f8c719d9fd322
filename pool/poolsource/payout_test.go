package poolsource

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/pool/upstream"
	"lode/stratum"
)

type chainHash = chainhash.Hash

// coinbase is one that pays to scripts, parted at an extranonce of 4 bytes.
func coinbase(t *testing.T, outputs ...*wire.TxOut) (before, after []byte) {
	t.Helper()
	tx := wire.NewMsgTx(1)
	tx.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&chainhash.Hash{}, 1<<32-1), []byte{3, 1, 2, 3, 0xee, 0xee, 0xee, 0xee}, nil))
	tx.TxOut = outputs
	var b bytes.Buffer
	if err := tx.SerializeNoWitness(&b); err != nil {
		t.Fatal(err)
	}
	before, after, _ = bytes.Cut(b.Bytes(), []byte{0xee, 0xee, 0xee, 0xee})
	return before, after
}

// TestPayout: a pool's coinbase must pay something to the address, whatever else it does.
func TestPayout(t *testing.T) {
	const address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	ours, err := hex.DecodeString("0014751e76e8199196d454941c45d1b3a323f1433bd6")
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{0x00, 0x14}, make([]byte, 20)...)
	for name, c := range map[string]struct {
		expect, network string
		outputs         []*wire.TxOut
		cut             int // bytes of the coinbase that are missing
		violation       bool
		fault           bool // of the configuration
	}{
		"nothing is expected":     {"", "", []*wire.TxOut{wire.NewTxOut(5, other)}, 0, false, false},
		"it pays":                 {address, "", []*wire.TxOut{wire.NewTxOut(5, other), wire.NewTxOut(1, ours)}, 0, false, false},
		"on our network":          {address, "mainnet", []*wire.TxOut{wire.NewTxOut(5, ours)}, 0, false, false},
		"it pays somebody else":   {address, "", []*wire.TxOut{wire.NewTxOut(5, other)}, 0, true, false},
		"it pays nothing":         {address, "", []*wire.TxOut{wire.NewTxOut(5, other), wire.NewTxOut(0, ours)}, 0, true, false},
		"no outputs":              {address, "", nil, 0, true, false},
		"it cannot be read":       {address, "", []*wire.TxOut{wire.NewTxOut(5, ours)}, 5, true, false},
		"of another network":      {address, "testnet3", []*wire.TxOut{wire.NewTxOut(5, ours)}, 0, false, true},
		"no address":              {"nonsense", "", []*wire.TxOut{wire.NewTxOut(5, ours)}, 0, false, true},
		"a script, on any":        {"script:" + hex.EncodeToString(ours), "testnet3", []*wire.TxOut{wire.NewTxOut(5, ours)}, 0, false, false},
		"a script it pays not to": {"script:51", "", []*wire.TxOut{wire.NewTxOut(5, ours)}, 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *Options) {
				o.ExpectAddress, o.Network = c.expect, func() string { return c.network }
			})
			before, after := coinbase(t, c.outputs...)
			a := &stratum.Assignment{
				Job:         &stratum.Job{Coinbase1: before, Coinbase2: after[:len(after)-c.cut]},
				Extranonce1: []byte{1}, Extranonce2Size: 3,
			}
			if err := b.checkPayout(a); errors.Is(err, upstream.ErrViolation) != c.violation || (err != nil) != (c.violation || c.fault) {
				t.Errorf("%v; want a violation: %v, a fault: %v", err, c.violation, c.fault)
			}
		})
	}
}
