// Package share judges proofs of work: it rebuilds the header of a share, hashes it,
// and finds duplicates, without allocating.
//
// NewJob prepares a job once; Job.Hash is called for each share.
package share

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/big"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// MaxExtranonce bounds extranonce1 and extranonce2 together.
const MaxExtranonce = 64

// Job is what all shares of a job have in common.
type Job struct {
	coinbase []byte // coinbase1, room for the extranonce, coinbase2
	at, size int    // where the extranonce is
	branch   []chainhash.Hash
	header   [80]byte // with prevhash and bits filled in
}

// NewJob prepares a job. The slices are copied or must not change.
func NewJob(coinbase1, coinbase2 []byte, extranonceSize int, branch []chainhash.Hash, prev chainhash.Hash, bits uint32) *Job {
	j := &Job{at: len(coinbase1), size: extranonceSize, branch: branch}
	j.coinbase = make([]byte, 0, len(coinbase1)+extranonceSize+len(coinbase2))
	j.coinbase = append(j.coinbase, coinbase1...)
	j.coinbase = append(j.coinbase, make([]byte, extranonceSize)...)
	j.coinbase = append(j.coinbase, coinbase2...)
	copy(j.header[4:], prev[:])
	binary.LittleEndian.PutUint32(j.header[72:], bits)
	return j
}

// Result of Hash, reused by the caller.
type Result struct {
	Header [80]byte
	Hash   chainhash.Hash // internal byte order
	// Number is the hash as the number that targets are compared with, big-endian.
	Number [32]byte

	scratch []byte
}

// Hash computes the header of a share. extranonce1 and extranonce2 must have the
// job's size together.
func (j *Job) Hash(r *Result, extranonce1, extranonce2 []byte, version, ntime, nonce uint32) {
	r.scratch = append(r.scratch[:0], j.coinbase...)
	n := copy(r.scratch[j.at:j.at+j.size], extranonce1)
	copy(r.scratch[j.at+n:j.at+j.size], extranonce2)
	root := doubleHash(r.scratch)
	var pair [64]byte
	for i := range j.branch {
		copy(pair[:32], root[:])
		copy(pair[32:], j.branch[i][:])
		root = doubleHash(pair[:])
	}
	r.Header = j.header
	binary.LittleEndian.PutUint32(r.Header[0:], version)
	copy(r.Header[36:], root[:])
	binary.LittleEndian.PutUint32(r.Header[68:], ntime)
	binary.LittleEndian.PutUint32(r.Header[76:], nonce)
	r.Hash = doubleHash(r.Header[:])
	for i, b := range r.Hash {
		r.Number[31-i] = b
	}
}

func doubleHash(b []byte) chainhash.Hash {
	first := sha256.Sum256(b)
	return sha256.Sum256(first[:])
}

// Meets reports whether the number is not above the target, both big-endian.
func Meets(number, target *[32]byte) bool {
	for i := 0; i < 32; i += 8 {
		a, b := binary.BigEndian.Uint64(number[i:]), binary.BigEndian.Uint64(target[i:])
		if a != b {
			return a < b
		}
	}
	return true
}

// Difficulty is the pool difficulty (0xffff·2^208 divided by the number) of a hash.
func Difficulty(number *[32]byte) float64 {
	n := 0.0
	for i := 0; i < 32; i += 8 {
		n = n*0x1p64 + float64(binary.BigEndian.Uint64(number[i:]))
	}
	if n == 0 {
		return math.MaxFloat64
	}
	return 0xffff * 0x1p208 / n
}

// LooseTarget is the largest target that any miner takes for the difficulty:
// floor(2^224 / d). Some (cpuminer-opt, bfgminer) use it, others 0xffff·2^208 / d,
// which is smaller by 1.5e-5; with the larger one no honest share is refused.
func LooseTarget(d float64) [32]byte {
	var target [32]byte
	if !(d > 0) || math.IsInf(d, 0) {
		return target
	}
	quotient := new(big.Rat).SetFloat64(d)
	quotient.Quo(new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), 224)), quotient)
	n := new(big.Int).Quo(quotient.Num(), quotient.Denom())
	if n.BitLen() > 256 {
		for i := range target {
			target[i] = 0xff
		}
		return target
	}
	n.FillBytes(target[:])
	return target
}
