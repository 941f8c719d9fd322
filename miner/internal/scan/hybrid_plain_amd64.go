//go:build amd64 && !purego

package scan

import (
	"math/bits"
	"unsafe"
)

const hybridPlainBatch = 2048

type (
	hybridPlainFunc     func(record *hybridRecord, table *extensionTable, job *vectorRecord, blocks int, buffer *hybridPlainBuffer, mask *uint32, out *byte)
	hybridPlainAVX2Func func(record *hybridRecord, table *extensionTable, blocks int, buffer *hybridPlainAVX2Buffer, mask *[hybridLanes]uint32, out *byte)
)

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

// hybridPlainAVX2Buffer is that of the kernel for AVX2.
type hybridPlainAVX2Buffer struct {
	hybridBuffer
	_      [16][hybridLanes]uint32
	nonces [hybridLanes]uint32
	_      [hybridLanes]uint32
	job    [5][hybridLanes]uint32 // words of a vectorRecord
	sums   [2][1728]byte
	order  [2]uintptr
}

// hybridPlainJob is what both kernels read.
type hybridPlainJob struct {
	record hybridRecord
	table  extensionTable // only what is the same for all nonces
	job    vectorRecord
	mask   [hybridLanes]uint32
	out    [hybridPlainBatch / hybridLanes]uint8
}

type hybridPlainMemory struct {
	buffer hybridPlainBuffer
	hybridPlainJob
}

type hybridPlainAVX2Memory struct {
	buffer hybridPlainAVX2Buffer
	hybridPlainJob
}

// hybridPlainer scans by blocks, each of which begins the work on a group of nonces and
// ends that on an earlier one.
type hybridPlainer struct {
	job    *hybridPlainJob
	nonces *[hybridLanes]uint32 // of the group that begins next
	blocks func(n int)
	reset  func() // takes what is in job
	lead   int    // see hybridRoll.lead
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
	return &hybridPlainer{
		job: &m.hybridPlainJob, nonces: &m.buffer.nonces, lead: 2,
		blocks: func(n int) { run(&m.record, &m.table, &m.job, n, &m.buffer, &m.mask[0], &m.out[0]) },
		reset:  func() {},
	}
}

func newHybridPlainerAVX2(run hybridPlainAVX2Func) Scanner {
	m := &aligned[hybridPlainAVX2Memory](1)[0]
	m.buffer.prepare()
	for i := range m.buffer.sums {
		m.buffer.order[i] = uintptr(unsafe.Pointer(&m.buffer.sums[i]))
	}
	return &hybridPlainer{
		job: &m.hybridPlainJob, nonces: &m.buffer.nonces, lead: 5,
		blocks: func(n int) { run(&m.record, &m.table, n, &m.buffer, &m.mask, &m.out[0]) },
		reset: func() {
			for i, w := range [...]uint32{m.job.w16, m.job.w17, m.job.c18, m.job.c19, m.job.c31} {
				for lane := range hybridLanes {
					m.buffer.job[i][lane] = w
				}
			}
		},
	}
}

func (s *hybridPlainer) Reset(job *Job) {
	m := s.job
	s.ready = false
	for lane := range hybridLanes {
		m.mask[lane] = job.Mask
		m.record.set(lane, job.States[0], &job.Tail)
	}
	m.job.set(job.States[0], &job.Tail)
	var kw [64]uint32
	expandTail(&kw, &job.Tail, 0)
	copy(m.table.kw[:], kw[4:18])
	s.reset()
}

func (s *hybridPlainer) Scan(nonce uint32, count int) []Candidate {
	groups := count / hybridLanes
	if !s.ready || s.next != nonce {
		for i := range s.nonces {
			s.nonces[i] = nonce + uint32(i)
		}
		s.blocks(s.lead)
	}
	s.blocks(groups)
	s.ready, s.next = true, nonce+uint32(count)

	s.found = s.found[:0]
	for i, lanes := range s.job.out[:groups] {
		for ; lanes != 0; lanes &= lanes - 1 {
			lane := i*hybridLanes + bits.TrailingZeros8(lanes)
			s.found = append(s.found, Candidate{Nonce: nonce + uint32(lane)})
		}
	}
	return s.found
}
