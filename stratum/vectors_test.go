package stratum

import (
	"encoding/hex"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func wirePrev(t testing.TB, s string) chainhash.Hash {
	h, err := parseHash([]byte(`"` + s + `"`))
	if err != nil {
		t.Fatal(err)
	}
	return swapWords(h)
}

// simnetJob is height 1 of simnet, with version rolling.
func simnetJob() *Job {
	prev, err := parseHash([]byte(`"69d77af62a669b5d8e3dff72e02dbbdb137ba6bf91b94b975c6d110d683e86bd"`))
	if err != nil {
		panic(err)
	}
	return &Job{
		ID: "4f1a", PrevBlock: swapWords(prev),
		Coinbase1: unhex("01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff18510c"),
		Coinbase2: unhex("092f6578616d706c652fffffffff0100f2052a010000001976a9140102030405060708090a0b0c0d0e0f101112131488ac00000000"),
		Version:   0x20000000, Bits: 0x207fffff, Time: 0x6553f100, Clean: true,
	}
}
