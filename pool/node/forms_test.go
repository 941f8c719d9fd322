package node

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

// TestCashForms: of what a cashaddr can say that is taken which somebody can spend from, and
// nothing else, whatever its checksum is.
func TestCashForms(t *testing.T) {
	encode := func(version byte, hash []byte, spare byte) string {
		digits, err := bech32.ConvertBits(append([]byte{version}, hash...), 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		digits[len(digits)-1] |= spare
		var summed []byte
		for _, c := range []byte("bitcoincash") {
			summed = append(summed, c&31)
		}
		sum := cashSum(append(append(append(summed, 0), digits...), make([]byte, 8)...))
		for i := range 8 {
			digits = append(digits, byte(sum>>(35-5*i))&31)
		}
		var text strings.Builder
		for _, d := range digits {
			text.WriteByte("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[d])
		}
		return text.String()
	}
	hash := func(n int) []byte { return bytes.Repeat([]byte{0x5a}, n) }
	for name, c := range map[string]struct {
		version     byte
		size        int
		spare       byte
		begin, rest string // of the script; "": it is refused
	}{
		"a key":                            {0x00, 20, 0, "76a914", "88ac"},
		"a script":                         {0x08, 20, 0, "a914", "87"},
		"a key, with tokens":               {0x10, 20, 0, "76a914", "88ac"},
		"a script, with tokens":            {0x18, 20, 0, "a914", "87"},
		"a script's longer hash":           {0x0b, 32, 0, "aa20", "87"},
		"a script's longer hash, tokens":   {0x1b, 32, 0, "aa20", "87"},
		"a key's longer hash":              {0x03, 32, 0, "", ""},
		"a script's hash of another size":  {0x09, 24, 0, "", ""},
		"a hash longer than it says":       {0x08, 32, 0, "", ""},
		"a hash shorter than it says":      {0x0b, 20, 0, "", ""},
		"a kind that nobody knows":         {0x20, 20, 0, "", ""},
		"another":                          {0x28, 20, 0, "", ""},
		"the bit that is kept for later":   {0x80, 20, 0, "", ""},
		"bits behind the last byte":        {0x00, 20, 1, "", ""},
		"nothing but the kind of its hash": {0x00, 0, 0, "", ""},
	} {
		want := ""
		if c.begin != "" {
			want = c.begin + hex.EncodeToString(hash(c.size)) + c.rest
		}
		address := encode(c.version, hash(c.size), c.spare)
		for _, text := range []string{address, "bitcoincash:" + address} {
			got, err := (forms{cash: "bitcoincash"}).decode(text)
			if hex.EncodeToString(got) != want || (err == nil) != (want != "") {
				t.Errorf("%s (%s): %x, %v", name, text, got, err)
			}
		}
	}
}

// TestSegwitForms: the same of a cousin's addresses of segwit.
func TestSegwitForms(t *testing.T) {
	for name, c := range map[string]struct {
		prefix  string
		version byte
		size    int
		newer   bool // checksum
		begin   string
	}{
		"a key":                     {"nc", 0, 20, false, "0014"},
		"a script":                  {"nc", 0, 32, false, "0020"},
		"taproot":                   {"nc", 1, 32, true, "5120"},
		"the last version":          {"nc", 16, 40, true, "6028"},
		"the shortest":              {"nc", 2, 2, true, "5202"},
		"neither key nor script":    {"nc", 0, 25, false, ""},
		"too short":                 {"nc", 1, 1, true, ""},
		"too long":                  {"nc", 1, 41, true, ""},
		"a version too many":        {"nc", 17, 32, true, ""},
		"the newer checksum":        {"nc", 0, 20, true, ""},
		"the older checksum":        {"nc", 1, 32, false, ""},
		"a prefix that goes on":     {"nc1x", 0, 20, false, ""},
		"a prefix of another chain": {"bc", 0, 20, false, ""},
	} {
		program := bytes.Repeat([]byte{0x5a}, c.size)
		digits, err := bech32.ConvertBits(program, 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		encode := bech32.Encode
		if c.newer {
			encode = bech32.EncodeM
		}
		address, err := encode(c.prefix, append([]byte{c.version}, digits...))
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if c.begin != "" {
			want = c.begin + hex.EncodeToString(program)
		}
		got, err := (forms{keyHash: 52, scriptHash: 13, segwit: "nc"}).decode(address)
		if hex.EncodeToString(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s (%s): %x, %v", name, address, got, err)
		}
	}
	empty, err := bech32.Encode("nc", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (forms{segwit: "nc"}).decode(empty); err == nil {
		t.Errorf("nothing is taken for %x", got)
	}
}

// TestNextBlock: where an empty block is mined before the node has made one, its bits and its
// reward are what the chain asks for.
func TestNextBlock(t *testing.T) {
	for _, n := range Networks() {
		want := map[string][2]bool{"mainnet": {true, false}, "signet": {true, false}, "regtest": {true, true}}[n.Name]
		if got := [2]bool{n.steadyBits(4031), n.steadyBits(4032)}; got != want {
			t.Errorf("%s: its bits are those of the block before: %v, want %v", n.Name, got, want)
		}
	}
	halving := map[string]int64{"mainnet": 210_000, "testnet3": 210_000, "testnet4": 210_000, "signet": 210_000, "simnet": 210_000, "regtest": 150}
	for _, n := range Networks() {
		every, known := halving[n.Name]
		if !known {
			continue
		}
		for height, want := range map[int64]int64{1: 5e9, every - 1: 5e9, every: 25e8, 3*every - 1: 125e7, 32 * every: 1, 33 * every: 0, 64 * every: 0, 65 * every: 0} {
			if got := n.subsidy(height); got != want {
				t.Errorf("%s: %d at height %d, want %d", n.Name, got, height, want)
			}
		}
	}
}
