// Package tail has what the vector generators share: the layout of a version's
// record, and the message schedule of a header's second block with what is known
// in it.
package tail

import "lode/_asm/fips180"

// Offsets in a record, the data of one version, whose words are broadcast to all
// lanes. It is vectorRecord in Go.
const (
	A    = 0  // state after round 3, with nonce 0: a
	B    = 4  //
	C    = 8  //
	D    = 12 //
	E    = 16 //
	F    = 20 //
	G    = 24 //
	H    = 28 // h+K+W of rounds 4, 5 and 6, whose h are known
	Mid  = 40 // the midstate
	HKW  = 72 // of the second hash: h+K+midstate of rounds 1, 2 and 3
	W16K = 84 // W[16]+K[16]
	W17K = 88
	C18  = 92  // the known part of W[18]: sigma1(W[16])+W[2]
	C19  = 96  // of W[19]: sigma1(W[17])+sigma0(W[4])
	W16  = 100 //
	W17  = 104
	C31  = 108 // of W[31]: sigma0(W[16])+W[15]

	RecordSize = 128
)

// Sum says what a message word is the sum of.
type Sum struct {
	Sigma1   bool   // sigma1(W[t-2])
	Sigma0   int    // sigma0(W[Sigma0]) unless 0
	Words    []int  // W[…]
	Job      int    // word at this offset in the record, unless 0
	Constant uint32 //
}

// HeaderWord is W[t] of a header's tail, for t from 18. W[0] to W[2], and with them
// W[16] and W[17], are the same for all nonces, W[3] is the nonce, W[4] to W[15]
// are padding.
func HeaderWord(t int) Sum {
	switch {
	case t == 18:
		return Sum{Sigma0: 3, Job: C18}
	case t == 19:
		return Sum{Words: []int{3}, Job: C19}
	case t == 20:
		return Sum{Sigma1: true, Constant: fips180.Pad}
	case t == 21:
		return Sum{Sigma1: true}
	case t == 22:
		return Sum{Sigma1: true, Constant: fips180.HeaderBits}
	case t == 23:
		return Sum{Sigma1: true, Job: W16}
	case t == 24:
		return Sum{Sigma1: true, Job: W17}
	case t < 30:
		return Sum{Sigma1: true, Words: []int{t - 7}}
	case t == 30:
		return Sum{Sigma1: true, Words: []int{t - 7}, Constant: fips180.Sigma0(fips180.HeaderBits)}
	case t == 31:
		return Sum{Sigma1: true, Words: []int{t - 7}, Job: C31}
	}
	return AnyWord(t)
}

// AnyWord is W[t] of a message of which nothing is known.
func AnyWord(t int) Sum {
	return Sum{Sigma1: true, Sigma0: t - 15, Words: []int{t - 7, t - 16}}
}

// DigestPadding are the known words of the message that is a digest.
var DigestPadding = map[int]uint32{
	8: fips180.Pad, 9: 0, 10: 0, 11: 0, 12: 0, 13: 0, 14: 0, 15: fips180.DigestBits,
}

// DigestWord is W[t] of a digest's message for t from 16; up to 31 it contains
// padding.
func DigestWord(t int) Sum {
	var s Sum
	if v, ok := DigestPadding[t-2]; ok {
		s.Constant = fips180.Sigma1(v)
	} else {
		s.Sigma1 = true
	}
	for _, u := range []int{t - 16, t - 7} {
		if v, ok := DigestPadding[u]; ok {
			s.Constant += v
		} else {
			s.Words = append(s.Words, u)
		}
	}
	if v, ok := DigestPadding[t-15]; ok {
		s.Constant += fips180.Sigma0(v)
	} else {
		s.Sigma0 = t - 15
	}
	return s
}
