//go:build amd64 && !purego

package merkle

import (
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/klauspost/cpuid/v2"
)

// state is a SHA-256 chaining value in the order that SHA256RNDS2 wants: f e b a and
// h g d c.
type state = [8]uint32

// initial is the value that FIPS 180-4 begins with.
var initial = state{
	0x9b05688c, 0x510e527f, 0xbb67ae85, 0x6a09e667,
	0x5be0cd19, 0x1f83d9ab, 0xa54ff53a, 0x3c6ef372,
}

// shaBlocks takes count blocks at p into a state. count must not be 0, here and below.
//
//go:noescape
func shaBlocks(state *state, p *byte, count int)

// shaDigest1 takes count blocks and hashes the digest: the end of a double hash.
//
//go:noescape
func shaDigest1(state *state, p *byte, stride, count int, out *[32]byte)

// shaDigest2 does so for two messages, the second of which is stride bytes after the
// first, and writes two digests.
//
//go:noescape
func shaDigest2(state *state, p *byte, stride, count int, out *[32]byte)

// shaFold1 joins a hash with the steps of a branch.
//
//go:noescape
func shaFold1(hashes, branch *[32]byte, steps int)

// shaFold2 does so with two hashes.
//
//go:noescape
func shaFold2(hashes, branch *[32]byte, steps int)

// shaPairs writes the double hashes of 2·twos pairs. to may be from: what is written
// lies before what is still to be read.
//
//go:noescape
func shaPairs(to, from *[32]byte, twos int)

// accelerated is whether the functions above can be used.
var accelerated = cpuid.CPU.Supports(cpuid.SHA, cpuid.AVX) && selfCheck()

// start is a message's beginning, hashed as far as whole blocks go.
type start struct {
	state state
	whole int // bytes
}

func (s *start) take(b []byte) {
	s.state = initial
	if n := len(b) / blockSize; n > 0 {
		shaBlocks(&s.state, unsafe.SliceData(b), n)
		s.whole = n * blockSize
	}
}

func fastDouble(message []byte) (hash chainhash.Hash) {
	s := start{state: initial}
	if len(message)+paddingSize > 2*blockSize {
		s.take(message)
	}
	var end [2 * blockSize]byte
	padded := pad(append(end[:0], message[s.whole:]...), len(message))
	fastDigest(&s.state, padded, &hash)
	return hash
}

// fastDigest ends a double hash with the padded rest of a message.
func fastDigest(s *state, padded []byte, hash *chainhash.Hash) {
	shaDigest1(s, unsafe.SliceData(padded), 0, len(padded)/blockSize, (*[32]byte)(hash))
}

func fastFold(leaf *chainhash.Hash, branch []chainhash.Hash) {
	if len(branch) > 0 {
		shaFold1((*[32]byte)(leaf), (*[32]byte)(&branch[0]), len(branch))
	}
}

// fastParents hashes the pairs of a level of even length, and returns the level above.
func fastParents(level []chainhash.Hash) []chainhash.Hash {
	n := len(level) / 2
	if twos := n / 2; twos > 0 {
		first := (*[32]byte)(&level[0])
		shaPairs(first, first, twos)
	}
	if n%2 != 0 {
		level[n-1] = level[2*n-2]
		fastFold(&level[n-1], level[2*n-1:])
	}
	return level[:n]
}

func fastDigestPair(s *state, padded []byte, hashes *[2]chainhash.Hash) {
	size := len(padded) / 2
	shaDigest2(s, unsafe.SliceData(padded), size, size/blockSize, (*[32]byte)(&hashes[0]))
}

func fastHeaders(headers *[2][HeaderSize]byte, hashes *[2]chainhash.Hash) {
	var padded [2][2 * blockSize]byte
	for i := range headers {
		pad(append(padded[i][:0], headers[i][:]...), HeaderSize)
	}
	s := initial
	shaDigest2(&s, &padded[0][0], len(padded[0]), len(padded[0])/blockSize, (*[32]byte)(&hashes[0]))
}

func fastFoldPair(leaves *[2]chainhash.Hash, branch []chainhash.Hash) {
	if len(branch) > 0 {
		shaFold2((*[32]byte)(&leaves[0]), (*[32]byte)(&branch[0]), len(branch))
	}
}

// selfCheck compares the functions with crypto/sha256.
func selfCheck() bool {
	var level [6]chainhash.Hash
	for i := range level {
		level[i] = portableDouble([]byte{byte(i)})
	}
	for length := range 3 * blockSize {
		message := append(level[0][:], level[1][:]...)
		for len(message) < length {
			message = append(message, byte(len(message)))
		}
		if message = message[:length]; fastDouble(message) != portableDouble(message) {
			return false
		}
	}
	branch := level[2:]
	pair := [2]chainhash.Hash{level[0], level[1]}
	fastFoldPair(&pair, branch)
	for i := range pair {
		leaf := level[i]
		if fastFold(&leaf, branch); leaf != pair[i] || leaf != portableFold(level[i], branch) {
			return false
		}
	}
	var headers [2][HeaderSize]byte
	for i := range headers {
		copy(headers[i][:], branch[i][:])
		copy(headers[i][chainhash.HashSize:], branch[i+1][:])
	}
	if fastHeaders(&headers, &pair); pair != [2]chainhash.Hash{portableDouble(headers[0][:]), portableDouble(headers[1][:])} {
		return false
	}
	fast, portable := level, level
	fastParents(fast[:])
	portableParents(portable[:])
	return fast == portable
}
