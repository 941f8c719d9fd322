//go:build amd64 && !purego

package merkle

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/klauspost/cpuid/v2"
)

// lanes is how many hashes AVX-512 does at once.
const lanes = 16

// wideLeast is how many hashes are done so in less time than two by two.
const wideLeast = 11

// A word of sixteen hashes.
type word = [lanes]uint32

// wideBlock takes a block of each of sixteen messages into their states.
//
//go:noescape
func wideBlock(state *[8]word, block *[16]word)

// wideHash makes digests of the states' hashes or, unless block is nil, double hashes of
// messages of 64 bytes, and joins these sixteen with the steps of one branch.
//
//go:noescape
func wideHash(state *[8]word, block *[16]word, branch *[32]byte, steps int)

// wide is whether the functions above can be used.
var wide = accelerated && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW) && wideCheck()

type wideScratch struct {
	state [8]word
	block [16]word
}

// start gives all lanes one state.
func (w *wideScratch) start(s *state) {
	// The order of the SHA extensions, see state.
	for i, v := range [8]uint32{s[3], s[2], s[7], s[6], s[1], s[0], s[5], s[4]} {
		for lane := range w.state[i] {
			w.state[i][lane] = v
		}
	}
}

// put gives a lane its block.
func (w *wideScratch) put(lane int, block *[blockSize]byte) {
	for i := range w.block {
		w.block[i][lane] = binary.BigEndian.Uint32(block[4*i:])
	}
}

// get is a lane's hash.
func (w *wideScratch) get(lane int, hash *chainhash.Hash) {
	for i := range w.state {
		binary.BigEndian.PutUint32(hash[4*i:], w.state[i][lane])
	}
}

// wideRoots makes the roots of up to sixteen coinbases, whose padded ends of size bytes
// are in scratch.
func wideRoots(scratch *Scratch, s *state, size int, branch, roots []chainhash.Hash) {
	w := &scratch.wide
	w.start(s)
	for at := 0; at < size; at += blockSize {
		for lane := range roots {
			w.put(lane, (*[blockSize]byte)(scratch.coinbases[lane*size+at:]))
		}
		wideBlock(&w.state, &w.block)
	}
	wideHash(&w.state, nil, (*[32]byte)(unsafe.SliceData(branch)), len(branch))
	for lane := range roots {
		w.get(lane, &roots[lane])
	}
}

func wideHeaders(scratch *Scratch, headers [][HeaderSize]byte, hashes []chainhash.Hash) {
	w := &scratch.wide
	w.start(&initial)
	for lane := range headers {
		w.put(lane, (*[blockSize]byte)(headers[lane][:]))
	}
	wideBlock(&w.state, &w.block)
	w.block = [16]word{}
	for lane := range headers {
		for i := range (HeaderSize - blockSize) / 4 {
			w.block[i][lane] = binary.BigEndian.Uint32(headers[lane][blockSize+4*i:])
		}
		w.block[4][lane], w.block[15][lane] = 1<<31, 8*HeaderSize
	}
	wideBlock(&w.state, &w.block)
	wideHash(&w.state, nil, nil, 0)
	for lane := range headers {
		w.get(lane, &hashes[lane])
	}
}

// wideParents hashes as many pairs of a level as come in sixteens, and returns how many.
func wideParents(level []chainhash.Hash) (done int) {
	var w wideScratch
	for ; len(level) >= 2*(done+lanes); done += lanes {
		for lane := range lanes {
			pair := level[2*(done+lane):]
			for i := range 8 {
				w.block[i][lane] = binary.BigEndian.Uint32(pair[0][4*i:])
				w.block[8+i][lane] = binary.BigEndian.Uint32(pair[1][4*i:])
			}
		}
		wideHash(&w.state, &w.block, nil, 0)
		for lane := range lanes {
			w.get(lane, &level[done+lane])
		}
	}
	return done
}

// wideCheck compares the functions with those for the SHA extensions, which were
// compared with crypto/sha256.
func wideCheck() bool {
	var scratch Scratch
	var level, pairs [2 * lanes]chainhash.Hash
	var headers [lanes][HeaderSize]byte
	for i := range level {
		level[i] = fastDouble([]byte{byte(i)})
	}
	for i := range headers {
		copy(headers[i][:], level[i][:])
		headers[i][HeaderSize-1] = bits.Reverse8(level[i][3])
	}
	var hashes, roots [lanes]chainhash.Hash
	wideHeaders(&scratch, headers[:], hashes[:])
	const size = 2 * blockSize
	for i := range lanes {
		padded := pad(append([]byte(nil), headers[i][:]...), HeaderSize)
		scratch.coinbases = append(scratch.coinbases, padded...)
	}
	wideRoots(&scratch, &initial, size, level[:3], roots[:])
	for i := range lanes {
		want := fastDouble(headers[i][:])
		if hashes[i] != want {
			return false
		}
		if fastFold(&want, level[:3]); roots[i] != want {
			return false
		}
	}
	pairs = level
	fastParents(pairs[:])
	return wideParents(level[:]) == lanes && [lanes]chainhash.Hash(level[:]) == [lanes]chainhash.Hash(pairs[:])
}
