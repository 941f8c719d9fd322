// Command shani writes the kernels for the SHA extensions of x86.
//
// SHA256RNDS2 does two rounds on a state that is kept in two registers,
// abef = [f e b a] and cdgh = [h g d c] (lowest word first); the sum of message
// words and round constants of the two rounds is in the low half of X0. It has a
// latency of four cycles and starts every two or three, so at least two
// independent hashes must be under way at once: the streams.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"lode/_asm/data"
	"lode/_asm/fips180"
)

func main() {
	ConstraintExpr("amd64,!purego")
	constants()
	plainKernel(2)
	plainKernel(4)
	fusedRoll(2)
	tableKernel()
	Generate()
}

var (
	kw = reg.X0 // the operand that SHA256RNDS2 does not name

	kQuads   Mem // K[t]
	kwHeader Mem // K[t]+W[t] for t < 16 of a header's tail, where W is constant
	kwDigest Mem // K[t]+W[t] for t < 16 of a digest's padding
	quads    Mem // the initial state, see qABEF

	vectors = map[[4]uint32]Mem{}
)

// Offsets in quads.
const (
	qABEF = 0
	qCDGH = 16
)

// vector is the address of four words.
func vector(w [4]uint32) Mem {
	m, ok := vectors[w]
	if !ok {
		m = data.Words(fmt.Sprintf("shaniVector%d", len(vectors)), w[:]...)
		vectors[w] = m
	}
	return m
}

func constants() {
	k := fips180.K
	kQuads = data.Words("shaniK", k[:]...)
	header, digest := k, k
	header[4] += fips180.Pad
	header[15] += fips180.HeaderBits
	digest[8] += fips180.Pad
	digest[15] += fips180.DigestBits
	kwHeader = data.Words("shaniHeaderKW", header[:16]...)
	kwDigest = data.Words("shaniDigestKW", digest[:16]...)
	iv := fips180.IV
	quads = data.Words("shaniInitial", iv[5], iv[4], iv[1], iv[0], iv[7], iv[6], iv[3], iv[2])
}
