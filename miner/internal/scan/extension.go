//go:build (amd64 || arm64) && !purego

package scan

import "encoding/binary"

// The kernels for the SHA-256 instructions of x86 and of ARM work alike: a few
// streams, each with the state of one hash in two registers.

const (
	extensionStates = 256
	extensionBatch  = 2048
	extensionGroup  = 4 // the most streams of any of them
	extensionTables = 8 // nonces of one call
)

type (
	extensionPlainFunc func(record *extensionRecord, tail *[4]uint32, scratch *extensionScratch, nonce uint32, groups int, mask uint32, out *byte)
	extensionRollFunc  func(tables *extensionTable, nonces int, records *extensionRecord, groups int, scratch *extensionScratch, mask uint32, out *byte)
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
	// One group and one table more than are used: kernels read ahead.
	records [extensionStates + 2*extensionGroup]extensionRecord
	tables  [extensionTables + 1]extensionTable
	scratch extensionScratch
	tail    [4]uint32
	out     [extensionTables * (extensionStates + extensionGroup)]byte
}

func newExtensionScanner(x extension) Scanner {
	return &extensionScanner{
		extension: x,
		memory:    &aligned[extensionMemory](1)[0],
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
		for i := range m.tables {
			copy(m.tables[i].kw[:], kw[4:16])
		}
	}
}

func (s *extensionScanner) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	s.found = s.found[:0]
	if s.plain != nil {
		m.tail[3] = 0
		s.plain(&m.records[0], &m.tail, &m.scratch, nonce, count/s.streams, s.mask, &m.out[0])
		s.collect(m.out[:count], func(i uint32) Candidate { return Candidate{Nonce: nonce + i} })
		return s.found
	}
	groups := (s.states + s.streams - 1) / s.streams
	for count > 0 {
		n := min(count, extensionTables)
		for i := range n {
			t := &m.tables[i]
			w := nonceWord(nonce + uint32(i))
			for i, factor := range s.nonceWords {
				t.nonce[i] = w * factor
			}
			m.tail[3] = w
			s.table(t, &m.tail)
		}
		s.roll(&m.tables[0], n, &m.records[0], groups, &m.scratch, s.mask, &m.out[0])
		for i := range n {
			out := m.out[i*groups*s.streams:][:s.states]
			s.collect(out, func(j uint32) Candidate { return Candidate{State: j, Nonce: nonce + uint32(i)} })
		}
		nonce += uint32(n)
		count -= n
	}
	return s.found
}

// collect appends what the bytes of the output say was found.
func (s *extensionScanner) collect(out []byte, candidate func(i uint32) Candidate) {
	for i := 0; i < len(out); i += 8 {
		if i+8 <= len(out) && binary.LittleEndian.Uint64(out[i:]) == 0 {
			continue
		}
		for j := i; j < min(i+8, len(out)); j++ {
			if out[j] != 0 {
				s.found = append(s.found, candidate(uint32(j)))
			}
		}
	}
}
