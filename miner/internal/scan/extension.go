//go:build (amd64 || arm64) && !purego

package scan

import "encoding/binary"

// The kernels for the SHA-256 instructions of x86 and of ARM work alike: a few
// streams, each with the state of one hash in two registers.

const (
	extensionStates = 256
	extensionBatch  = 2048
	extensionGroup  = 4 // the most streams of any of them
)

type (
	extensionPlainFunc func(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte)
	extensionRollFunc  func(table *extensionTable, records *extensionRecord, scratch *extensionScratch, groups int, mask uint32, out *byte)
)

// extension is one kernel for such instructions.
type extension struct {
	name    string
	plain   extensionPlainFunc // for one version; or else:
	roll    extensionRollFunc
	streams int // that plain or roll does at once
	// table fills in the sums of a table for rounds 16 to 63 from the tail with its
	// nonce.
	table func(table *extensionTable, message *[4]uint32)
	// state is a state as the registers hold it.
	state func(State) [8]uint32
	// nonceWords says where the nonce word is added to the first of the registers.
	nonceWords [4]uint32
}

func (x extension) kernel(revision int, missing string) Kernel {
	k := Kernel{
		Name: x.name, Revision: revision,
		Nonces: x.streams, States: 1, Batch: extensionBatch, Missing: missing,
		New: func() Scanner { return newExtensionScanner(x) },
	}
	if x.roll != nil {
		k.Rolling, k.Nonces, k.States = true, 1, extensionStates
	}
	return k
}

// extensionRecord is what the kernels need of one version.
type extensionRecord struct {
	round3 [8]uint32 // state after round 3, with nonce 0, as the registers hold it
	mid    State
}

// extensionTable is what the versions share of one nonce.
type extensionTable struct {
	nonce [4]uint32  // what it adds to the first register of the state
	kw    [60]uint32 // W[t]+K[t] of rounds 4 … 63
}

// extensionScratch is room for the message words and states of the streams.
type extensionScratch [extensionGroup * 96 / 4]uint32

type extensionScanner struct {
	extension
	memory *extensionMemory
	states int
	mask   uint32
	found  []Candidate
}

type extensionMemory struct {
	records [extensionStates]extensionRecord
	scratch extensionScratch
	table   extensionTable
	tail    [4]uint32
	out     [extensionBatch]byte
}

func newExtensionScanner(x extension) Scanner {
	return &extensionScanner{
		extension: x,
		memory:    &aligned[extensionMemory](1)[0],
		found:     make([]Candidate, 0, extensionBatch),
	}
}

func (s *extensionScanner) Reset(job *Job) {
	m := s.memory
	s.mask, s.states = job.Mask, len(job.States)
	for i, mid := range job.States {
		m.records[i] = extensionRecord{s.state(mid.afterRound3(&job.Tail)), mid}
	}
	copy(m.tail[:], job.Tail[:])
	if s.roll != nil { // the sums that are the same for all nonces
		var kw [64]uint32
		expandTail(&kw, &job.Tail, 0)
		copy(m.table.kw[:], kw[4:16])
	}
}

func (s *extensionScanner) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.found = s.found[:0]
	if s.plain != nil {
		m.tail[3] = 0
		s.plain(&m.records[0], &m.tail, &m.scratch, nonce, count/s.streams, s.mask, &m.out[0])
		s.collect(count, func(i uint32) Candidate { return Candidate{Nonce: nonce + i} })
		return s.found
	}
	for ; count > 0; count-- {
		w := nonceWord(nonce)
		for i, factor := range s.nonceWords {
			m.table.nonce[i] = w * factor
		}
		m.tail[3] = w
		s.table(&m.table, &m.tail)
		s.roll(&m.table, &m.records[0], &m.scratch, (s.states+s.streams-1)/s.streams, s.mask, &m.out[0])
		s.collect(s.states, func(i uint32) Candidate { return Candidate{State: i, Nonce: nonce} })
		nonce++
	}
	return s.found
}

// collect appends what the first n bytes of the output say was found.
func (s *extensionScanner) collect(n int, candidate func(i uint32) Candidate) {
	out := &s.memory.out
	for i := 0; i < n; i += 8 {
		if binary.LittleEndian.Uint64(out[i:]) == 0 {
			continue
		}
		for j := i; j < min(i+8, n); j++ {
			if out[j] != 0 {
				s.found = append(s.found, candidate(uint32(j)))
			}
		}
	}
}
