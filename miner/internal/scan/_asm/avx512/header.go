package main

import (
	. "github.com/mmcloughlin/avo/operand"

	"lode/miner/internal/scan/_asm/fips180"
)

// Offsets in a record of what only depends on the first words of the header's tail.
const (
	recordW16K = 84 // W[16]+K[16]
	recordW17K = 88
	recordC18  = 92  // the known part of W[18]: sigma1(W[16])+W[2]
	recordC19  = 96  // of W[19]: sigma1(W[17])+sigma0(W[4])
	recordW16  = 100 //
	recordW17  = 104
	recordC31  = 108 // of W[31]: sigma0(W[16])+W[15]
)

// scheduled says what a message word of a header's tail is the sum of. W[0] to
// W[2], and with them W[16] and W[17], are the same for all nonces, W[3] is the
// nonce, W[4] to W[15] are padding.
type scheduled struct {
	sigma1   bool   // sigma1(W[t-2])
	sigma0   int    // sigma0(W[sigma0]) unless 0
	words    []int  // W[…]
	job      int    // offset in the record, unless 0
	constant uint32 //
}

// headerWord is W[t] for t from 18.
func headerWord(t int) scheduled {
	switch {
	case t == 18:
		return scheduled{sigma0: 3, job: recordC18}
	case t == 19:
		return scheduled{words: []int{3}, job: recordC19}
	case t == 20:
		return scheduled{sigma1: true, constant: fips180.Pad}
	case t == 21:
		return scheduled{sigma1: true}
	case t == 22:
		return scheduled{sigma1: true, constant: fips180.HeaderBits}
	case t == 23:
		return scheduled{sigma1: true, job: recordW16}
	case t == 24:
		return scheduled{sigma1: true, job: recordW17}
	case t < 30:
		return scheduled{sigma1: true, words: []int{t - 7}}
	case t == 30:
		return scheduled{sigma1: true, words: []int{t - 7}, constant: fips180.Sigma0(fips180.HeaderBits)}
	case t == 31:
		return scheduled{sigma1: true, words: []int{t - 7}, job: recordC31}
	}
	return scheduled{sigma1: true, sigma0: t - 15, words: []int{t - 7, t - 16}}
}

// emit writes the instructions that put the sum into dst; word gives the operand
// of another message word.
func (w scheduled) emit(word func(int) Op, newest2 Op, record Mem, dst Op) {
	sum := emitter{}
	if w.sigma0 != 0 {
		smallSigma(word(w.sigma0), sigma0, t3)
		sum.started = true
	}
	for _, u := range w.words {
		sum.add(word(u))
	}
	if w.job != 0 {
		sum.addBroadcast(record.Offset(w.job))
	}
	if w.constant != 0 {
		sum.addBroadcast(pool.at(w.constant))
	}
	if w.sigma1 {
		smallSigma(newest2, sigma1, t2)
		sum.add(t2)
	}
	sum.moveTo(dst)
}
