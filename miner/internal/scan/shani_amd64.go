//go:build amd64 && !purego

package scan

import (
	"encoding/binary"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

//go:generate go -C _asm run ./shani -out ../shani_amd64.s

//go:noescape
func shaniPlain2(record *shaniRecord, tail *[4]uint32, scratch *shaniScratch, nonce uint32, groups int, mask uint32, out *byte)

//go:noescape
func shaniPlain4(record *shaniRecord, tail *[4]uint32, scratch *shaniScratch, nonce uint32, groups int, mask uint32, out *byte)

//go:noescape
func shaniRoll22(table *shaniTable, records *shaniRecord, scratch *shaniScratch, groups int, mask uint32, out *byte)

//go:noescape
func shaniRoll42(table *shaniTable, records *shaniRecord, scratch *shaniScratch, groups int, mask uint32, out *byte)

//go:noescape
func shaniRoll44(table *shaniTable, records *shaniRecord, scratch *shaniScratch, groups int, mask uint32, out *byte)

const (
	shaniStates = 256
	shaniBatch  = 2048
	shaniGroup  = 4 // the most streams of any version
)

func shaniKernels() []Kernel {
	lacks := missing(cpuid.SHA, cpuid.AVX)
	return []Kernel{
		{
			Name: "shani-roll", Revision: 1, Rolling: true,
			Nonces: 1, States: shaniStates, Batch: shaniBatch, Missing: lacks,
			New: func() Scanner { return newShaniRoll(shaniRoll42) },
		},
		{
			Name: "shani", Revision: 1,
			Nonces: shaniGroup, States: 1, Batch: shaniBatch, Missing: lacks,
			New: func() Scanner { return newShaniPlain(shaniPlain4, 4) },
		},
	}
}

// shaniRecord is what the kernels need of one version; the words stand as the
// instructions want them.
type shaniRecord struct {
	abef, cdgh [4]uint32 // after round 3, with nonce 0
	mid        State
}

func (r *shaniRecord) set(mid State, tail *[3]uint32) {
	s := mid.afterRound3(tail)
	r.abef = [4]uint32{s[5], s[4], s[1], s[0]}
	r.cdgh = [4]uint32{s[7], s[6], s[3], s[2]}
	r.mid = mid
}

// shaniTable is what the versions share of one nonce.
type shaniTable struct {
	nonce [4]uint32
	kw    [60]uint32 // rounds 4 … 63
}

// shaniScratch is room for the quads and states of the streams.
type shaniScratch [shaniGroup * 96 / 4]uint32

type shaniPlain struct {
	search  func(record *shaniRecord, tail *[4]uint32, scratch *shaniScratch, nonce uint32, groups int, mask uint32, out *byte)
	streams int
	memory  *shaniPlainMemory
	mask    uint32
	found   []Candidate
}

type shaniPlainMemory struct {
	record  shaniRecord
	scratch shaniScratch
	tail    [4]uint32
	out     [shaniBatch]byte
}

func newShaniPlain(search func(*shaniRecord, *[4]uint32, *shaniScratch, uint32, int, uint32, *byte), streams int) Scanner {
	return &shaniPlain{
		search:  search,
		streams: streams,
		memory:  &aligned[shaniPlainMemory](1)[0],
		found:   make([]Candidate, 0, shaniBatch),
	}
}

func (s *shaniPlain) Reset(job *Job) {
	s.mask = job.Mask
	s.memory.record.set(job.States[0], &job.Tail)
	copy(s.memory.tail[:], job.Tail[:])
}

func (s *shaniPlain) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.search(&m.record, &m.tail, &m.scratch, nonce, count/s.streams, s.mask, &m.out[0])
	s.found = s.found[:0]
	for i := 0; i < count; i += 8 {
		if binary.LittleEndian.Uint64(m.out[i:]) == 0 {
			continue
		}
		for j := i; j < min(i+8, count); j++ {
			if m.out[j] != 0 {
				s.found = append(s.found, Candidate{Nonce: nonce + uint32(j)})
			}
		}
	}
	return s.found
}

type shaniRoll struct {
	search func(table *shaniTable, records *shaniRecord, scratch *shaniScratch, groups int, mask uint32, out *byte)
	memory *shaniRollMemory
	states int
	mask   uint32
	tail   [3]uint32
	kw     [64]uint32
	found  []Candidate
}

type shaniRollMemory struct {
	records [shaniStates]shaniRecord
	scratch shaniScratch
	table   shaniTable
	out     [shaniStates + 8]byte
}

func newShaniRoll(search func(*shaniTable, *shaniRecord, *shaniScratch, int, uint32, *byte)) Scanner {
	return &shaniRoll{
		search: search,
		memory: &aligned[shaniRollMemory](1)[0],
		found:  make([]Candidate, 0, shaniBatch),
	}
}

func (s *shaniRoll) Reset(job *Job) {
	s.mask, s.tail, s.states = job.Mask, job.Tail, len(job.States)
	for i, mid := range job.States {
		s.memory.records[i].set(mid, &job.Tail)
	}
}

func (s *shaniRoll) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.found = s.found[:0]
	for ; count > 0; count-- {
		w := nonceWord(nonce)
		m.table.nonce = [4]uint32{1: w, 3: w}
		expandTail(&s.kw, &s.tail, nonce)
		copy(m.table.kw[:], s.kw[4:])
		s.search(&m.table, &m.records[0], &m.scratch, (s.states+shaniGroup-1)/shaniGroup, s.mask, &m.out[0])
		for i := 0; i < s.states; i += 8 {
			if binary.LittleEndian.Uint64(m.out[i:]) == 0 {
				continue
			}
			for j := i; j < min(i+8, s.states); j++ {
				if m.out[j] != 0 {
					s.found = append(s.found, Candidate{State: uint32(j), Nonce: nonce})
				}
			}
		}
		nonce++
	}
	return s.found
}

var _ = [1]struct{}{}[unsafe.Sizeof(shaniRecord{})-64] // the kernels count on these sizes
var _ = [1]struct{}{}[unsafe.Sizeof(shaniTable{})-256]
