package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"lode/_asm/tail"
)

// addUp writes the instructions that put a sum into dst. word gives the operand of a
// message word, newest2 is W[t-2]: it is the word that is ready last, so its part is
// added last.
func addUp(s tail.Sum, word func(int) Op, newest2 Op, record Mem, dst Op) {
	sum := emitter{}
	if s.Sigma0 != 0 {
		smallSigma(word(s.Sigma0), sigma0, t3)
		sum.started = true
	}
	for _, u := range s.Words {
		sum.add(word(u))
	}
	if s.Job != 0 {
		sum.addBroadcast(record.Offset(s.Job))
	}
	if s.Constant != 0 {
		sum.addBroadcast(pooled(s.Constant))
	}
	if s.Sigma1 {
		smallSigma(newest2, sigma1, t2)
		sum.add(t2)
	}
	sum.moveTo(dst)
}

// emitter adds operands up in t3; the last addition goes to its destination.
type emitter struct {
	started bool
	last    func(dst Op) // the addition that is not written yet
}

func (s *emitter) flush() {
	if s.last != nil {
		s.last(t3)
		s.last = nil
	}
}

func (s *emitter) add(x Op) {
	s.flush()
	if !s.started {
		s.started = true
		s.last = func(dst Op) { VMOVDQA32(x, dst) }
		return
	}
	s.last = func(dst Op) { VPADDD(x, t3, dst) }
}

func (s *emitter) addBroadcast(m Mem) {
	s.flush()
	if !s.started {
		s.started = true
		s.last = func(dst Op) { VPBROADCASTD(m, dst) }
		return
	}
	s.last = func(dst Op) { VPADDD_BCST(m, t3, dst) }
}

func (s *emitter) moveTo(dst Op) { s.last(dst) }
