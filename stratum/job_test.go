package stratum

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestHeight: BIP 34, as far as pools keep to it.
func TestHeight(t *testing.T) {
	head := make([]byte, 42)
	for script, want := range map[string]int64{
		"03a0bb0d":       900_000,
		"0100":           0, // a height of 0 is none
		"0111":           17,
		"51":             1,
		"60":             16,
		"61":             0,
		"50":             0,
		"00":             0,
		"04ffffff7f":     1<<31 - 1,
		"050000000001":   1 << 32,
		"06000000000001": 0,
		"03a0bb":         0, // it ends
		"03a0bb8d":       0, // it is negative
		"":               0,
	} {
		raw, err := hex.DecodeString(script)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := (&Job{Coinbase1: append(bytes.Clone(head), raw...)}).Height()
		if ok != (want > 0) || ok && got != want {
			t.Errorf("script %s: %d, %v; want %d", script, got, ok, want)
		}
	}
	if _, ok := new(Job).Height(); ok {
		t.Error("a height in nothing")
	}
}
