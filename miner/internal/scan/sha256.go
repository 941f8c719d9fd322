package scan

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"
)

// State is a SHA-256 chaining value, a to h.
type State [8]uint32

// initial and roundConstants are of FIPS 180-4, 5.3.3 and 4.2.2.
var (
	initial = State{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
	roundConstants = [64]uint32{
		0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
		0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
		0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
		0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
		0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
		0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
		0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
		0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
	}
)

const (
	padBit      = 0x80000000 // the word that ends a message
	headerBits  = 640        // length of a header, the last word of its padding
	digestBits  = 256        // length of a digest, the last word of its padding
	headerBytes = 80
	blockBytes  = 64
)

func sigma0(x uint32) uint32 {
	return bits.RotateLeft32(x, -7) ^ bits.RotateLeft32(x, -18) ^ x>>3
}

func sigma1(x uint32) uint32 {
	return bits.RotateLeft32(x, -17) ^ bits.RotateLeft32(x, -19) ^ x>>10
}

func sum0(x uint32) uint32 {
	return bits.RotateLeft32(x, -2) ^ bits.RotateLeft32(x, -13) ^ bits.RotateLeft32(x, -22)
}

func sum1(x uint32) uint32 {
	return bits.RotateLeft32(x, -6) ^ bits.RotateLeft32(x, -11) ^ bits.RotateLeft32(x, -25)
}

func choose(e, f, g uint32) uint32 { return g ^ e&(f^g) }

func majority(a, b, c uint32) uint32 { return a&b | c&(a|b) }

// round is one round of the compression function; kw is the sum of its round
// constant and message word.
func (s State) round(kw uint32) State {
	t1 := s[7] + sum1(s[4]) + choose(s[4], s[5], s[6]) + kw
	t2 := sum0(s[0]) + majority(s[0], s[1], s[2])
	return State{t1 + t2, s[0], s[1], s[2], s[3] + t1, s[4], s[5], s[6]}
}

// afterRound3 runs the four rounds of the tail that do not depend on more than
// the nonce, with a nonce of 0. The nonce word is to be added to a and e of the
// result.
func (s State) afterRound3(tail *[3]uint32) State {
	for t, w := range tail {
		s = s.round(roundConstants[t] + w)
	}
	return s.round(roundConstants[3])
}

// nonceWord is the message word of a nonce: the header holds it little-endian,
// SHA-256 reads it big-endian.
func nonceWord(nonce uint32) uint32 { return bits.ReverseBytes32(nonce) }

// expandTail writes W[t]+K[t] of the tail with a nonce, for t from 0 to 63.
func expandTail(kw *[64]uint32, tail *[3]uint32, nonce uint32) {
	w := [64]uint32{tail[0], tail[1], tail[2], nonceWord(nonce), padBit, 15: headerBits}
	for t := 16; t < 64; t++ {
		w[t] = sigma1(w[t-2]) + w[t-7] + sigma0(w[t-15]) + w[t-16]
	}
	for t := range w {
		kw[t] = w[t] + roundConstants[t]
	}
}

// TargetMask gives the mask for a target whose four most significant bytes are
// top: the leading zero bits of the target, where the last word of the hash as
// SHA-256 computes it has them.
func TargetMask(top uint32) uint32 {
	return bits.ReverseBytes32(^(^uint32(0) >> bits.LeadingZeros32(top)))
}

// Midstates computes the chaining values of header starts.
type Midstates struct {
	hash   hash.Hash
	buffer []byte
}

// NewMidstates returns a Midstates; it is not safe for concurrent use.
func NewMidstates() *Midstates { return &Midstates{hash: sha256.New()} }

// Of returns the chaining value after the first 64 bytes of a header. It allocates
// nothing once it was called.
func (m *Midstates) Of(start *[blockBytes]byte) State {
	// crypto/sha256 is fast on every platform; its marshaled form is the four
	// bytes "sha\x03" and the state, big-endian.
	m.hash.Reset()
	m.hash.Write(start[:])
	var err error
	m.buffer, err = m.hash.(encoding.BinaryAppender).AppendBinary(m.buffer[:0])
	if err != nil || string(m.buffer[:4]) != "sha\x03" {
		panic(fmt.Sprintf("scan: crypto/sha256 marshals its state in a form that is not known here: %q, %v", m.buffer, err))
	}
	var s State
	for i := range s {
		s[i] = binary.BigEndian.Uint32(m.buffer[4+4*i:])
	}
	return s
}
