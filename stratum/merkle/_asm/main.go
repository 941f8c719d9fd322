// Command _asm writes the merkle package's assembly: for the SHA extensions of x86,
// one hash or two at a time, and for AVX-512, sixteen.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func main() {
	ConstraintExpr("amd64,!purego")
	constants()
	blocksFunction()
	for n := 1; n <= 2; n++ {
		digestFunction(n)
		foldFunction(n)
	}
	pairsFunction()
	wideFunctions()
	Generate()
}

const roundCount = 64

var (
	swap      Mem    // shuffle that reverses the bytes of each word
	initial   [2]Mem // abef and cdgh at the start of a hash
	iv        Mem    // the same, a to h
	k         Mem    // K[t]
	pad64     Mem    // K[t]+W[t] of the block that pads a message of 64 bytes
	padDigest Mem    // K[t]+W[t], t < 16, of a message of 32 bytes; t from 8 on are constant
	padQuads  [2]Mem // W[8] … W[15] of that
)

// fraction is the first 32 bits of x's fraction.
func fraction(x float64) uint32 {
	_, f := math.Modf(x)
	return uint32(f * (1 << 32))
}

// primes are the first n.
func primes(n int) (list []float64) {
next:
	for p := 2; len(list) < n; p++ {
		for _, q := range list {
			if p%int(q) == 0 {
				continue next
			}
		}
		list = append(list, float64(p))
	}
	return list
}

func words(name string, w []uint32) Mem {
	m := GLOBL(name, RODATA|NOPTR)
	for i, v := range w {
		DATA(4*i, U32(v))
	}
	return m
}

func constants() {
	// FIPS 180-4 makes its constants of the roots of the first primes.
	var constant, block, digest [64]uint32
	var state [8]uint32
	for i, p := range primes(roundCount) {
		constant[i] = fraction(math.Cbrt(p))
		if i < len(state) {
			state[i] = fraction(math.Sqrt(p))
		}
	}
	block[0], block[15] = 1<<31, 512
	digest[8], digest[15] = 1<<31, 256
	for t := 16; t < roundCount; t++ {
		block[t] = sigma(block[t-2], 17, 19, 10) + block[t-7] + sigma(block[t-15], 7, 18, 3) + block[t-16]
	}
	padQuads = [2]Mem{words("padLow", digest[8:12]), words("padHigh", digest[12:16])}
	for t := range constant {
		block[t] += constant[t]
		digest[t] += constant[t]
	}
	k = words("k", constant[:])
	pad64 = words("pad64", block[:])
	padDigest = words("padDigest", digest[:16])
	iv = words("iv", state[:])
	initial = [2]Mem{
		words("abef", []uint32{state[5], state[4], state[1], state[0]}),
		words("cdgh", []uint32{state[7], state[6], state[3], state[2]}),
	}
	swap = words("swap", []uint32{0x00010203, 0x04050607, 0x08090a0b, 0x0c0d0e0f})
}

func sigma(x uint32, a, b, shift int) uint32 {
	return x>>a | x<<(32-a) ^ (x>>b | x<<(32-b)) ^ x>>shift
}
