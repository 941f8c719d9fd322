package txscan_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/wire"
	"pgregory.net/rapid"

	"lode/internal/txscan"
)

// Whatever transactions there are, each is read as btcd reads it, and no part of one is taken
// for a whole.
func TestTransactions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		var all []*wire.MsgTx
		for range rapid.IntRange(1, 3).Draw(t, "transactions") {
			tx := wire.NewMsgTx(rapid.Int32().Draw(t, "version"))
			tx.LockTime = rapid.Uint32().Draw(t, "lock time")
			script := rapid.SliceOfN(rapid.Byte(), 0, 300)
			for range rapid.IntRange(1, 4).Draw(t, "inputs") {
				tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{Index: rapid.Uint32().Draw(t, "index")}, script.Draw(t, "script"), rapid.SliceOfN(script, 0, 3).Draw(t, "witness")))
			}
			for range rapid.IntRange(0, 4).Draw(t, "outputs") {
				tx.AddTxOut(wire.NewTxOut(rapid.Int64().Draw(t, "value"), script.Draw(t, "script")))
			}
			var b bytes.Buffer
			if err := tx.Serialize(&b); err != nil {
				t.Fatal(err)
			}
			all, data = append(all, tx), append(data, b.Bytes()...)
		}
		var s txscan.Scanner
		s.Reset(data)
		for _, tx := range all {
			if id, script := s.Transaction(); id != tx.TxHash() || !bytes.Equal(script, tx.TxIn[0].SignatureScript) {
				t.Fatalf("%v with %x, want %v with %x", id, script, tx.TxHash(), tx.TxIn[0].SignatureScript)
			}
		}
		if err := s.End(); err != nil {
			t.Fatal(err)
		}
		s.Reset(data[:rapid.IntRange(0, len(data)-1).Draw(t, "cut")])
		for range all {
			s.Transaction()
		}
		if err := s.End(); !errors.Is(err, txscan.ErrForm) {
			t.Fatalf("what is cut off: %v", err)
		}
		s.Reset(append(data, 7))
		for range all {
			s.Transaction()
		}
		if err := s.End(); err == nil || errors.Is(err, txscan.ErrForm) {
			t.Fatalf("what has something behind it: %v", err)
		}
	})
}

// Lengths of all sizes.
func TestLengths(t *testing.T) {
	for _, size := range []int{0, 252, 253, 65535, 65536, 5 << 20} {
		tx := wire.NewMsgTx(1)
		tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{}, make([]byte, size), nil))
		tx.AddTxIn(wire.NewTxIn(&wire.OutPoint{}, make([]byte, size), nil))
		var b bytes.Buffer
		if err := tx.Serialize(&b); err != nil {
			t.Fatal(err)
		}
		var s txscan.Scanner
		s.Reset(b.Bytes())
		if id, script := s.Transaction(); id != tx.TxHash() || len(script) != size || s.End() != nil {
			t.Errorf("scripts of %d: %v with %d, %v", size, id, len(script), s.End())
		}
	}
}

// Numbers that are lies are refused, and cost no memory.
func TestLies(t *testing.T) {
	const version, end = "02000000", "00000000"
	input := strings.Repeat("ff", 36) + "00" + end
	for name, text := range map[string]string{
		"nothing":                             "",
		"no inputs":                           version + "00" + "00" + end,
		"800,000 inputs":                      version + "fe00350c00" + input,
		"3,000,000 outputs":                   version + "01" + input + "fec0c62d00" + "00",
		"4,000,000 parts of a witness":        version + "0001" + "01" + input + "00" + "fe00093d00" + "00",
		"scripts longer than there is data":   version + "02" + strings.Repeat("ff", 36) + "fe00000400" + strings.Repeat("00", 1<<18) + end + strings.Repeat("ff", 36) + "fe00093d00" + "00",
		"more than there can be":              version + "ffffffffffffffffff" + input,
		"a number longer than it need be":     version + "fd0100" + input + "00" + end,
		"one of 5 bytes":                      version + "01" + strings.Repeat("ff", 36) + "feffff0000" + strings.Repeat("00", 65535) + end + "00" + end,
		"one of 9 bytes":                      version + "ff0100000000000000" + input + "00" + end,
		"the end in a number":                 version + "01" + strings.Repeat("ff", 36) + "fd00",
		"a witness of nothing":                version + "0001" + "01" + input + "00" + "00" + end,
		"a flag that means something unknown": version + "0003" + "01" + input + "00" + "00" + end,
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var s txscan.Scanner
		if n := testing.AllocsPerRun(1, func() {
			s.Reset(data)
			s.Transaction()
		}); n > 0 || !errors.Is(s.End(), txscan.ErrForm) {
			t.Errorf("%s: %v, %v allocations", name, s.End(), n)
		}
	}
}
