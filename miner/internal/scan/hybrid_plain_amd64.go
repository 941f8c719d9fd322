//go:build amd64 && !purego

package scan

import (
	"math/bits"
	"unsafe"
)

const (
	hybridPlainBatch = 2048
	hybridPlainLead  = 2 // see hybridRoll.lead
)

type hybridPlainFunc func(record *hybridRecord, table *extensionTable, job *vectorRecord, blocks int, buffer *hybridPlainBuffer, mask *uint32, out *byte)

// hybridPlainBuffer holds what is under way, from call to call.
type hybridPlainBuffer struct {
	_      [1792]byte
	nonces [hybridLanes]uint32 // of the group that begins next
	_      [32]byte
	sums   [2][1728]byte // of the first hashes of two groups
	_      [7648]byte
	order  [2]uintptr // of sums, newest group first
	_      [48]byte
	states [12][4]uint32
}

type hybridPlainMemory struct {
	buffer hybridPlainBuffer
	record hybridRecord
	table  extensionTable // only what is the same for all nonces
	job    vectorRecord
	mask   uint32
	out    [hybridPlainBatch / hybridLanes]uint8
}

type hybridPlainer struct {
	run    hybridPlainFunc
	memory *hybridPlainMemory
	found  []Candidate

	// The kernel works ahead: ready says that the groups from the nonce next on are
	// under way.
	ready bool
	next  uint32
}

func newHybridPlainer(run hybridPlainFunc) Scanner {
	m := &aligned[hybridPlainMemory](1)[0]
	for i := range m.buffer.sums {
		m.buffer.order[i] = uintptr(unsafe.Pointer(&m.buffer.sums[i]))
	}
	return &hybridPlainer{run: run, memory: m}
}

func (s *hybridPlainer) Reset(job *Job) {
	m := s.memory
	s.ready, m.mask = false, job.Mask
	for lane := range hybridLanes {
		m.record.set(lane, job.States[0], &job.Tail)
	}
	m.job.set(job.States[0], &job.Tail)
	var kw [64]uint32
	expandTail(&kw, &job.Tail, 0)
	copy(m.table.kw[:], kw[4:18])
}

func (s *hybridPlainer) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	groups := count / hybridLanes
	if !s.ready || s.next != nonce {
		for i := range m.buffer.nonces {
			m.buffer.nonces[i] = nonce + uint32(i)
		}
		s.blocks(hybridPlainLead)
	}
	s.blocks(groups)
	s.ready, s.next = true, nonce+uint32(count)

	s.found = s.found[:0]
	for i, lanes := range m.out[:groups] {
		for ; lanes != 0; lanes &= lanes - 1 {
			lane := i*hybridLanes + bits.TrailingZeros8(lanes)
			s.found = append(s.found, Candidate{Nonce: nonce + uint32(lane)})
		}
	}
	return s.found
}

func (s *hybridPlainer) blocks(n int) {
	m := s.memory
	s.run(&m.record, &m.table, &m.job, n, &m.buffer, &m.mask, &m.out[0])
}
