package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

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
