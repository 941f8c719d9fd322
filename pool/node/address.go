package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/btcutil/base58"
	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/btcsuite/btcd/txscript"
)

// scriptPrefix begins a payout address that is an output script, in hexadecimal: it works
// on every chain.
const scriptPrefix = "script:"

// maxScript bounds such a script, in bytes; that of an address has 35 at most.
const maxScript = 520

// ScriptAddress is the payout address that stands for an output script in hexadecimal.
func ScriptAddress(script string) string { return scriptPrefix + script }

// IsScript reports whether a payout address is a script, good for every chain.
func IsScript(address string) bool { return strings.HasPrefix(address, scriptPrefix) }

// parseScript reads a payout address that is a script; ok: it is one.
func parseScript(address string) (script []byte, ok bool, err error) {
	digits, ok := strings.CutPrefix(address, scriptPrefix)
	if !ok {
		return nil, false, nil
	}
	script, err = hex.DecodeString(digits)
	switch {
	case err != nil:
		return nil, true, fmt.Errorf("payout script %.80q: %w: want hexadecimal digits", digits, err)
	case len(script) == 0 || len(script) > maxScript:
		return nil, true, fmt.Errorf("payout script of %d bytes: want 1 to %d", len(script), maxScript)
	case script[0] == txscript.OP_RETURN:
		return nil, true, fmt.Errorf("payout script %.80q can never be spent (OP_RETURN)", digits)
	case len(script) == 33 && script[0]|1 == 3, len(script) == 65 && script[0] == 4:
		return nil, true, fmt.Errorf("payout script %.140q is a public key: the script that pays to it is %02x%.140sac", digits, len(script), digits)
	}
	s := txscript.MakeScriptTokenizer(0, script)
	for s.Next() {
	}
	if s.Err() != nil {
		return nil, true, fmt.Errorf("payout script %.80q can never be spent: it ends within what it pushes, a digit is missing or wrong", digits)
	}
	return script, true, nil
}

// forms are those that the addresses of a chain have.
type forms struct {
	keyHash, scriptHash byte   // versions of base58
	segwit              string // prefix of bech32; "": the chain has no segwit
	cash                string // prefix of cashaddr; "": there are none
}

var errNoForm = errors.New("not an address of this chain")

// decode makes the output script of an address.
func (f forms) decode(address string) ([]byte, error) {
	if f.cash != "" {
		if kind, hash, err := decodeCash(f.cash, address); err == nil {
			return hashScript(kind == 1, hash)
		} else if strings.HasPrefix(strings.ToLower(address), f.cash+":") {
			return nil, err
		}
	}
	if f.segwit != "" && strings.HasPrefix(strings.ToLower(address), f.segwit+"1") {
		return decodeSegwit(f.segwit, address)
	}
	hash, version, err := base58.CheckDecode(address)
	switch {
	case err != nil || version != f.keyHash && version != f.scriptHash:
		return nil, errNoForm
	default:
		return hashScript(version == f.scriptHash, hash)
	}
}

// hashScript pays to the hash of a key, or of a script.
func hashScript(isScript bool, hash []byte) ([]byte, error) {
	b := txscript.NewScriptBuilder()
	switch {
	case isScript && (len(hash) == 20 || len(hash) == 32):
		op := byte(txscript.OP_HASH160)
		if len(hash) == 32 {
			op = txscript.OP_HASH256
		}
		b.AddOp(op).AddData(hash).AddOp(txscript.OP_EQUAL)
	case !isScript && len(hash) == 20:
		b.AddOp(txscript.OP_DUP).AddOp(txscript.OP_HASH160).AddData(hash).AddOp(txscript.OP_EQUALVERIFY).AddOp(txscript.OP_CHECKSIG)
	default:
		return nil, fmt.Errorf("a hash of %d bytes", len(hash))
	}
	return b.Script()
}

// others are chains whose addresses are given by mistake: by the prefix of bech32, and the
// versions of base58.
var others = []struct {
	name     string
	segwit   string
	versions []byte
}{
	{"Litecoin, which is not mined by SHA-256d", "ltc", []byte{48, 50}},
	{"Dogecoin or DigiByte", "dgb", []byte{30, 22, 63}},
	{"Peercoin", "pc", []byte{55, 117}},
}

// strangeness says, for people, what is wrong with an address that belongs to no network
// that is known.
func strangeness(address string) string {
	const mistyped = "its checksum is wrong: a character was mistyped"
	lower := strings.ToLower(address)
	switch {
	case strings.TrimSpace(address) != address:
		return "there is a space or the end of a line in it"
	case strings.HasPrefix(lower, "bitcoin:"):
		return "give it without bitcoin: and what follows a question mark"
	}
	if at := strings.IndexByte(address, '.'); at > 0 && CheckAddress(address[:at]) == nil {
		return "give it without the name of a worker"
	}
	if script, err := hex.DecodeString(address); err == nil && len(script) > 1 {
		if _, _, err := parseScript(ScriptAddress(address)); err != nil {
			return err.Error()
		}
		return "an output script is given by --payout-script, or as script:" + address
	}
	for _, n := range Networks() {
		if prefix, _, ok := strings.Cut(lower, "1"); ok && n.params != nil && prefix == n.params.Bech32HRPSegwit {
			if _, err := decodeSegwit(prefix, address); err == nil {
				return "it is of a kind that nobody can spend from yet"
			}
		}
		if n.forms != nil && n.forms.cash != "" && strings.HasPrefix(lower, n.forms.cash+":") {
			if _, err := n.forms.decode(address); err != nil {
				return err.Error()
			}
		}
	}
	prefix, _, _, err := bech32.DecodeGeneric(address)
	payload, version, wrong := base58.CheckDecode(address)
	for _, chain := range others {
		if err == nil && prefix == chain.segwit || wrong == nil && len(payload) == 20 && bytes.IndexByte(chain.versions, version) >= 0 {
			return "it is one of " + chain.name
		}
	}
	var checksum bech32.ErrInvalidChecksum
	var mixed bech32.ErrMixedCase
	switch {
	case err == nil:
		return fmt.Sprintf("prefix %q is that of another chain: give the output script (--payout-script)", prefix)
	case errors.As(err, &checksum), errors.Is(wrong, base58.ErrChecksum):
		return mistyped
	case errors.As(err, &mixed) && strings.Contains(lower, "1q"):
		return "capital letters and small ones in one address"
	case wrong == nil && len(payload) != 20:
		return "it is a key and not an address"
	}
	return "for another chain give the output script (--payout-script)"
}

// decodeSegwit reads an address of BIP 173 or BIP 350.
func decodeSegwit(prefix, address string) ([]byte, error) {
	hrp, data, encoding, err := bech32.DecodeGeneric(address)
	if err != nil {
		return nil, err
	}
	if hrp != prefix || len(data) == 0 || data[0] > 16 {
		return nil, errNoForm
	}
	version := data[0]
	if (version == 0) != (encoding == bech32.Version0) {
		return nil, errors.New("the checksum is not that of its version")
	}
	program, err := bech32.ConvertBits(data[1:], 5, 8, false)
	if err != nil {
		return nil, err
	}
	if len(program) < 2 || len(program) > 40 || version == 0 && len(program) != 20 && len(program) != 32 {
		return nil, fmt.Errorf("a program of %d bytes", len(program))
	}
	op := byte(txscript.OP_0)
	if version > 0 {
		op = txscript.OP_1 + version - 1
	}
	return append([]byte{op, byte(len(program))}, program...), nil
}

// decodeCash reads a cashaddr, with its prefix or without. kind is 0 for the hash of a
// key, 1 for that of a script.
func decodeCash(prefix, address string) (kind byte, hash []byte, err error) {
	const (
		alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
		checksum = 8 // digits
	)
	lower := strings.ToLower(address)
	if lower != address && strings.ToUpper(address) != address {
		return 0, nil, errors.New("capital letters and small ones in one address")
	}
	if name, text, ok := strings.Cut(lower, ":"); ok {
		if name != prefix {
			return 0, nil, fmt.Errorf("prefix %.20q, want %q", name, prefix)
		}
		lower = text
	}
	if len(lower) <= checksum || len(lower) > 120 {
		return 0, nil, fmt.Errorf("%d characters", len(lower))
	}
	digits := make([]byte, len(lower))
	for i := range lower {
		at := strings.IndexByte(alphabet, lower[i])
		if at < 0 {
			return 0, nil, fmt.Errorf("character %q", lower[i])
		}
		digits[i] = byte(at)
	}
	var summed []byte
	for i := range prefix {
		summed = append(summed, prefix[i]&31)
	}
	if cashSum(append(append(summed, 0), digits...)) != 0 {
		return 0, nil, errors.New("the checksum is wrong: a character was mistyped")
	}
	payload, err := bech32.ConvertBits(digits[:len(digits)-checksum], 5, 8, false)
	if err != nil || len(payload) == 0 {
		return 0, nil, errors.New("its bits do not make bytes")
	}
	sizes := [8]int{20, 24, 28, 32, 40, 48, 56, 64}
	kind, hash = payload[0]>>3, payload[1:]
	if payload[0]&0x80 != 0 || len(hash) != sizes[payload[0]&7] {
		return 0, nil, fmt.Errorf("a hash of %d bytes", len(hash))
	}
	if kind &= 0xf; kind > 1 {
		// Kinds 2 and 3 say that the owner understands tokens; the scripts are the same.
		if kind -= 2; kind > 1 {
			return 0, nil, fmt.Errorf("an address of unknown kind %d", kind+2)
		}
	}
	return kind, hash, nil
}

// cashSum is the checksum of cashaddr, a BCH code over 40 bits: 0 for what is right.
func cashSum(values []byte) uint64 {
	generators := [5]uint64{0x98f2bc8e61, 0x79b76d99e2, 0xf33e5fb3c4, 0xae2eabe2a8, 0x1e4f43e470}
	c := uint64(1)
	for _, v := range values {
		top := byte(c >> 35)
		c = c&0x07ffffffff<<5 ^ uint64(v)
		for i, g := range generators {
			if top>>i&1 != 0 {
				c ^= g
			}
		}
	}
	return c ^ 1
}
