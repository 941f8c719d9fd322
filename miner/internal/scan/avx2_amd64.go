//go:build amd64 && !purego

package scan

import (
	"math/bits"

	"github.com/klauspost/cpuid/v2"
)

//go:noescape
func avx2Roll(records *vectorRecord, count int, table *avx2Rows, buffer *avx2Buffer, mask *uint32, out *byte)

//go:noescape
func avx2Plain(record *vectorRecord, nonce uint32, count int, buffer *avx2Buffer, mask *uint32, out *byte)

//go:noescape
func avx2Table(table *avx2Rows, record *vectorRecord, buffer *avx2Buffer, nonce uint32)

const (
	avx2Lanes  = 8
	avx2States = 128
	avx2Batch  = 2048
)

// avx2Functions are the assembly; tests put an emulation in their place.
type avx2Functions struct {
	roll  func(records *vectorRecord, count int, table *avx2Rows, buffer *avx2Buffer, mask *uint32, out *byte)
	plain func(record *vectorRecord, nonce uint32, count int, buffer *avx2Buffer, mask *uint32, out *byte)
	table func(table *avx2Rows, record *vectorRecord, buffer *avx2Buffer, nonce uint32)
}

func avx2Kernels() []Kernel {
	return avx2KernelsOf(avx2Functions{avx2Roll, avx2Plain, avx2Table}, missing(cpuid.AVX2))
}

func avx2KernelsOf(f avx2Functions, lacks string) []Kernel {
	return []Kernel{
		{
			Name: "avx2-roll", Revision: 1, Rolling: true,
			Nonces: avx2Lanes, States: avx2States, Batch: avx2Batch, Missing: lacks,
			New: func() Scanner { return newAVX2(f, true) },
		},
		{
			Name: "avx2", Revision: 1,
			Nonces: avx2Lanes, States: 1, Batch: avx2Batch, Missing: lacks,
			New: func() Scanner { return newAVX2(f, false) },
		},
	}
}

// avx2Rows are the rows W[t]+K[t] for the eight lanes; row 3 holds the nonce words
// and rows 0 to 2 are not used.
type avx2Rows [64][avx2Lanes]uint32

// avx2Buffer is room for message words: a ring of 16 rows, and 64 rows for a table.
type avx2Buffer [80][avx2Lanes]uint32

type avx2 struct {
	functions avx2Functions
	rolling   bool
	states    int
	memory    *avx2Memory
	found     []Candidate
}

type avx2Memory struct {
	table   avx2Rows
	buffer  avx2Buffer
	records [avx2States]vectorRecord
	out     [avx2Batch / avx2Lanes]uint8
	mask    uint32
}

func newAVX2(f avx2Functions, rolling bool) Scanner {
	return &avx2{
		functions: f,
		rolling:   rolling,
		memory:    &aligned[avx2Memory](1)[0],
	}
}

func (s *avx2) Reset(job *Job) {
	m := s.memory
	m.mask, s.states = job.Mask, len(job.States)
	for i, mid := range job.States {
		m.records[i].set(mid, &job.Tail)
	}
	// The rows that are the same for all nonces.
	var kw [64]uint32
	expandTail(&kw, &job.Tail, 0)
	for t := 4; t < 18; t++ {
		for lane := range avx2Lanes {
			m.table[t][lane] = kw[t]
		}
	}
}

func (s *avx2) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.found = s.found[:0]
	if !s.rolling {
		s.functions.plain(&m.records[0], nonce, count/avx2Lanes, &m.buffer, &m.mask, &m.out[0])
		for i, lanes := range m.out[:count/avx2Lanes] {
			for ; lanes != 0; lanes &= lanes - 1 {
				lane := i*avx2Lanes + bits.TrailingZeros8(lanes)
				s.found = append(s.found, Candidate{Nonce: nonce + uint32(lane)})
			}
		}
		return s.found
	}
	for ; count > 0; count -= avx2Lanes {
		s.functions.table(&m.table, &m.records[0], &m.buffer, nonce)
		s.functions.roll(&m.records[0], s.states, &m.table, &m.buffer, &m.mask, &m.out[0])
		for i, lanes := range m.out[:s.states] {
			for ; lanes != 0; lanes &= lanes - 1 {
				lane := bits.TrailingZeros8(lanes)
				s.found = append(s.found, Candidate{State: uint32(i), Nonce: nonce + uint32(lane)})
			}
		}
		nonce += avx2Lanes
	}
	return s.found
}
