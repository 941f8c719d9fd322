// Command merkle writes the merkle package's assembly: for the SHA extensions of x86,
// one hash or two at a time, and for AVX-512, sixteen.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"lode/_asm/data"
	"lode/_asm/fips180"
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

func constants() {
	var block, digest [roundCount]uint32
	block[0], block[15] = fips180.Pad, 8*64
	digest[8], digest[15] = fips180.Pad, fips180.DigestBits
	for t := 16; t < roundCount; t++ {
		block[t] = fips180.Sigma1(block[t-2]) + block[t-7] + fips180.Sigma0(block[t-15]) + block[t-16]
	}
	padQuads = [2]Mem{data.Words("padLow", digest[8:12]...), data.Words("padHigh", digest[12:16]...)}
	for t, v := range fips180.K {
		block[t] += v
		digest[t] += v
	}
	k = data.Words("k", fips180.K[:]...)
	pad64 = data.Words("pad64", block[:]...)
	padDigest = data.Words("padDigest", digest[:16]...)
	state := fips180.IV
	iv = data.Words("iv", state[:]...)
	initial = [2]Mem{
		data.Words("abef", state[5], state[4], state[1], state[0]),
		data.Words("cdgh", state[7], state[6], state[3], state[2]),
	}
	swap = data.SwapBytes("swap", 16)
}

// loop writes a loop over rounds, n in each turn, a number after which all that moves among
// registers is back where it was: eight, and sixteen with message words. sums are what
// the rounds of the first turn add, those of the others follow.
func loop(sums Mem, n, turns int, turn func(sums Mem)) {
	loops++
	label := fmt.Sprintf("rounds%d", loops)
	at := GP64()
	LEAQ(sums, at)
	data.Loop(label, GP32(), turns, func() {
		turn(Mem{Base: at})
		ADDQ(Imm(uint64(4*n)), at)
	})
}

var loops int // for names of labels
