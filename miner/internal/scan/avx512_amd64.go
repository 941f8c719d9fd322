//go:build amd64 && !purego

package scan

import (
	"math/bits"

	"github.com/klauspost/cpuid/v2"
)

//go:noescape
func avx512Roll(records *vectorRecord, pairs int, table, next *avx512Rows, buffer *avx512Buffer, mask *uint32, out *uint16)

//go:noescape
func avx512Plain(record *vectorRecord, nonce uint32, groups int, buffer *avx512Buffer, mask *uint32, out *uint16)

//go:noescape
func avx512Table(table *avx512Rows, record *vectorRecord, nonce uint32)

const (
	avx512Lanes  = 16
	avx512States = 128
	avx512Batch  = 8192 // 0.1 ms at best, a third of one on slower machines
)

// avx512Functions are the assembly; tests put an emulation in their place.
type avx512Functions struct {
	roll  func(records *vectorRecord, pairs int, table, next *avx512Rows, buffer *avx512Buffer, mask *uint32, out *uint16)
	plain func(record *vectorRecord, nonce uint32, groups int, buffer *avx512Buffer, mask *uint32, out *uint16)
	table func(table *avx512Rows, record *vectorRecord, nonce uint32)
}

func avx512Kernels() []Kernel {
	return avx512KernelsOf(avx512Functions{avx512Roll, avx512Plain, avx512Table},
		missing(cpuid.AVX512F, cpuid.AVX512BW))
}

func avx512KernelsOf(f avx512Functions, lacks string) []Kernel {
	return []Kernel{
		{
			Name: "avx512-roll", Revision: 2, Rolling: true,
			Nonces: avx512Lanes, States: avx512States, Batch: avx512Batch, Missing: lacks,
			New: func() Scanner { return newAVX512Roll(f) },
		},
		{
			Name: "avx512", Revision: 2,
			Nonces: 2 * avx512Lanes, States: 1, Batch: avx512Batch, Missing: lacks,
			New: func() Scanner { return newAVX512Plain(f) },
		},
	}
}

// avx512Rows are the rows W[t]+K[t] for the sixteen lanes; row 3 holds the nonce
// words and rows 0 to 2 are not used.
type avx512Rows [64][avx512Lanes]uint32

// avx512Buffer is room for message words and states.
type avx512Buffer [4096 / 4]uint32

type avx512Plainer struct {
	functions avx512Functions
	memory    *avx512PlainMemory
	found     []Candidate
}

type avx512PlainMemory struct {
	buffer avx512Buffer
	record vectorRecord
	out    [avx512Batch / avx512Lanes]uint16
	mask   uint32
}

func newAVX512Plain(f avx512Functions) Scanner {
	return &avx512Plainer{
		functions: f,
		memory:    &aligned[avx512PlainMemory](1)[0],
	}
}

func (s *avx512Plainer) Reset(job *Job) {
	s.memory.mask = job.Mask
	s.memory.record.set(job.States[0], &job.Tail)
}

func (s *avx512Plainer) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.functions.plain(&m.record, nonce, count/(2*avx512Lanes), &m.buffer, &m.mask, &m.out[0])
	s.found = s.found[:0]
	for i, lanes := range m.out[:count/avx512Lanes] {
		for ; lanes != 0; lanes &= lanes - 1 {
			lane := i*avx512Lanes + bits.TrailingZeros16(lanes)
			s.found = append(s.found, Candidate{Nonce: nonce + uint32(lane)})
		}
	}
	return s.found
}

type avx512Roller struct {
	functions avx512Functions
	memory    *avx512RollMemory
	states    int
	found     []Candidate

	// The kernel works ahead: ready says that table[current] is that of the nonces
	// from next on, and that the first hashes of their first pair are in the buffer.
	ready   bool
	next    uint32
	current int
}

type avx512RollMemory struct {
	records [avx512States]vectorRecord
	tables  [2]avx512Rows
	buffer  avx512Buffer
	out     [avx512States]uint16
	mask    uint32
}

func newAVX512Roll(f avx512Functions) Scanner {
	return &avx512Roller{
		functions: f,
		memory:    &aligned[avx512RollMemory](1)[0],
	}
}

func (s *avx512Roller) Reset(job *Job) {
	m := s.memory
	m.mask, s.states, s.ready = job.Mask, len(job.States), false
	for i, mid := range job.States {
		m.records[i].set(mid, &job.Tail)
	}
	if s.states%2 != 0 { // half a pair is not possible
		m.records[s.states] = m.records[s.states-1]
	}
	// The rows that are the same for all nonces.
	var kw [64]uint32
	expandTail(&kw, &job.Tail, 0)
	for t := 4; t < 18; t++ {
		for lane := range avx512Lanes {
			m.tables[0][t][lane] = kw[t]
			m.tables[1][t][lane] = kw[t]
		}
	}
}

func (s *avx512Roller) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	if !s.ready || s.next != nonce {
		// Only the first hashes of this call count.
		s.functions.table(&m.tables[s.current], &m.records[0], nonce)
		s.functions.roll(&m.records[0], 1, &m.tables[s.current], &m.tables[s.current], &m.buffer, &m.mask, &m.out[0])
	}
	s.found = s.found[:0]
	for ; count > 0; count -= avx512Lanes {
		other := 1 - s.current
		s.functions.table(&m.tables[other], &m.records[0], nonce+avx512Lanes)
		s.functions.roll(&m.records[0], (s.states+1)/2, &m.tables[s.current], &m.tables[other], &m.buffer, &m.mask, &m.out[0])
		s.current = other
		for i, lanes := range m.out[:s.states] {
			for ; lanes != 0; lanes &= lanes - 1 {
				lane := bits.TrailingZeros16(lanes)
				s.found = append(s.found, Candidate{State: uint32(i), Nonce: nonce + uint32(lane)})
			}
		}
		nonce += avx512Lanes
	}
	s.ready, s.next = true, nonce
	return s.found
}
