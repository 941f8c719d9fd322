// Package txscan walks over transactions as Bitcoin serializes them. They come from nodes and
// executors that may be anybody's: nothing is made of what they say, so that a number in them
// costs no memory. (btcd's decoder makes room for all that is announced, and panics where the
// scripts of a transaction are longer than its buffer.)
package txscan

import (
	"errors"
	"fmt"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/stratum/merkle"
)

// ErrForm is what no node could read.
var ErrForm = errors.New("data cannot be read")

// Scanner is a walk over one text of bytes. The first error sticks: all methods give nothing
// from then on, and End reports it. The zero value can be Reset.
type Scanner struct {
	rest    []byte
	bad     bool
	scratch []byte
}

// Reset begins a walk.
func (s *Scanner) Reset(data []byte) { s.rest, s.bad = data, false }

// Valid reports whether there was no error so far.
func (s *Scanner) Valid() bool { return !s.bad }

// End is to be called where nothing should follow.
func (s *Scanner) End() error {
	switch {
	case s.bad:
		return ErrForm
	case len(s.rest) > 0:
		return fmt.Errorf("%d bytes follow the data", len(s.rest))
	}
	return nil
}

func (s *Scanner) fail() { s.rest, s.bad = nil, true }

// Bytes gives the next n.
func (s *Scanner) Bytes(n uint64) (b []byte) {
	if n > uint64(len(s.rest)) {
		s.fail()
		return nil
	}
	b, s.rest = s.rest[:n], s.rest[n:]
	return b
}

// Number reads one in Bitcoin's variable-length form, as short as it can be.
func (s *Scanner) Number() (n uint64) {
	first := s.Bytes(1)
	switch {
	case s.bad:
		return 0
	case first[0] < 0xfd:
		return uint64(first[0])
	}
	digits := s.Bytes(2 << (first[0] - 0xfd))
	for i := len(digits) - 1; i >= 0; i-- {
		n = n<<8 | uint64(digits[i])
	}
	if n < 0xfd || len(digits) > 2 && n>>(4*len(digits)) == 0 {
		s.fail()
		return 0
	}
	return n
}

// Transaction reads one: its hash without witness, and the script of its first input.
func (s *Scanner) Transaction() (id chainhash.Hash, script []byte) {
	raw := s.rest
	version := s.Bytes(4)
	witness := len(raw) > 5 && raw[4] == 0 && raw[5] == 1
	if witness {
		s.Bytes(2) // marker and flag of BIP 144
	}
	body := s.rest
	inputs := s.Number()
	if inputs == 0 {
		s.fail()
	}
	for n := inputs; n > 0 && !s.bad; n-- {
		s.Bytes(36) // output that is spent
		given := s.Bytes(s.Number())
		if n == inputs {
			script = given
		}
		s.Bytes(4) // sequence
	}
	for n := s.Number(); n > 0 && !s.bad; n-- {
		s.Bytes(8) // value
		s.Bytes(s.Number())
	}
	body = body[:len(body)-len(s.rest)]
	if witness {
		s.witness(inputs)
	}
	lockTime := s.Bytes(4)
	switch {
	case s.bad:
		return chainhash.Hash{}, nil
	case !witness:
		return merkle.Double(raw[:len(raw)-len(s.rest)]), script
	}
	s.scratch = append(append(append(s.scratch[:0], version...), body...), lockTime...)
	return merkle.Double(s.scratch), script
}

// witness goes over that of so many inputs, which one of them has at least.
func (s *Scanner) witness(inputs uint64) {
	none := true
	for ; inputs > 0 && !s.bad; inputs-- {
		for n := s.Number(); n > 0 && !s.bad; n-- {
			none = false
			s.Bytes(s.Number())
		}
	}
	if none {
		s.fail()
	}
}
