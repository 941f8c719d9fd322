//go:build amd64 && !purego

package scan

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// The hybrid kernels do the rounds with the SHA extensions and make message schedules
// in vectors at the same time; see _asm/hybrid at the root.

//go:noescape
func hybridRollAVX512(records, end, previous *hybridRecord, table *extensionTable, blocks int, buffer *hybridBuffer, mask *[hybridLanes]uint32, out *byte)

//go:noescape
func hybridPlainAVX512(record *hybridRecord, table *extensionTable, job *vectorRecord, blocks int, buffer *hybridPlainBuffer, mask *uint32, out *byte)

//go:noescape
func hybridRollAVX2(records, end, previous *hybridRecord, table *extensionTable, blocks int, buffer *hybridBuffer, mask *[hybridLanes]uint32, out *byte)

//go:noescape
func hybridPlainAVX2(record *hybridRecord, table *extensionTable, blocks int, buffer *hybridPlainAVX2Buffer, mask *[hybridLanes]uint32, out *byte)

const (
	hybridLanes  = 8
	hybridStates = 256
	hybridBatch  = 4096
	hybridTables = 16 // nonces of one call

	hybridRoomMiddle = 1856 // where the kernel's pointers to rooms point to
)

type hybridRollFunc func(records, end, previous *hybridRecord, table *extensionTable, blocks int, buffer *hybridBuffer, mask *[hybridLanes]uint32, out *byte)

// hybridRoll is one of the kernels.
type hybridRoll struct {
	name string
	roll hybridRollFunc
	// lead is the number of blocks from the one in which the work on a group begins to
	// the one that gives its results.
	lead int
	// table is that of the SHA extensions.
	table func(table *extensionTable, message *[4]uint32)
}

// hybridFunctions are the assembly; tests put an emulation in their place.
type hybridFunctions struct {
	rollAVX512, rollAVX2 hybridRollFunc
	plainAVX512          hybridPlainFunc
	plainAVX2            hybridPlainAVX2Func
	table                func(table *extensionTable, message *[4]uint32)
}

func hybridKernels() []Kernel {
	return hybridKernelsOf(hybridFunctions{hybridRollAVX512, hybridRollAVX2, hybridPlainAVX512, hybridPlainAVX2, shaniTable},
		missing(cpuid.SHA, cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX512DQ), missing(cpuid.SHA, cpuid.AVX2))
}

func hybridKernelsOf(f hybridFunctions, lacksAVX512, lacksAVX2 string) []Kernel {
	return []Kernel{
		hybridRoll{name: "hybrid-roll", roll: f.rollAVX512, lead: 2, table: f.table}.kernel(1, "hybrid", lacksAVX512),
		hybridRoll{name: "hybrid-avx2-roll", roll: f.rollAVX2, lead: 4, table: f.table}.kernel(1, "shani", lacksAVX2),
		{
			Name: "hybrid", Revision: 1,
			Nonces: hybridLanes, States: 1, Batch: hybridPlainBatch, Missing: lacksAVX512,
			New: func() Scanner { return newHybridPlainer(f.plainAVX512) },
		},
		{
			Name: "hybrid-avx2", Revision: 1,
			Nonces: hybridLanes, States: 1, Batch: hybridPlainBatch, Missing: lacksAVX2,
			New: func() Scanner { return newHybridPlainerAVX2(f.plainAVX2) },
		},
	}
}

func (x hybridRoll) kernel(revision int, partner, missing string) Kernel {
	return Kernel{
		Name: x.name, Revision: revision, Rolling: true, Partner: partner,
		Nonces: 1, States: hybridStates, Batch: hybridBatch, Missing: missing,
		New: func() Scanner { return newHybridRoller(x) },
	}
}

// hybridRecord is what the kernels need of eight versions.
type hybridRecord struct {
	// round3 is the state after round 3, with nonce 0, as SHA256RNDS2 wants it.
	round3 [hybridLanes][8]uint32
	// mid is the midstate and the constants of the rounds of the second hash that the
	// words of the digest are for, in the order of hybridOrder.
	mid [hybridLanes][8]uint32
}

func (r *hybridRecord) set(lane int, mid State, tail *[3]uint32) {
	a := mid.afterRound3(tail)
	r.round3[lane] = [8]uint32{a[5], a[4], a[1], a[0], a[7], a[6], a[3], a[2]}
	for i, t := range hybridOrder {
		r.mid[lane][i] = mid[t] + roundConstants[t]
	}
}

// hybridOrder is how a digest lies in registers, its halves turned round.
var hybridOrder = [8]int{4, 5, 0, 1, 6, 7, 2, 3}

// hybridBuffer holds what is under way, from call to call.
type hybridBuffer struct {
	rooms  [5][2496]byte // of the five groups in progress
	_      [480]byte     // digests and temporaries
	order  [5]uintptr    // hybridRoomMiddle of each room, newest group first
	_      [24]byte
	states [12][4]uint32
}

// prepare sets the pointers to the rooms.
func (b *hybridBuffer) prepare() {
	for i := range b.rooms {
		b.order[i] = uintptr(unsafe.Pointer(&b.rooms[i][hybridRoomMiddle]))
	}
}

type hybridMemory struct {
	buffer  hybridBuffer
	mask    [hybridLanes]uint32
	tail    [4]uint32
	_       [4]uint32
	records [hybridStates / hybridLanes]hybridRecord
	tables  [1 + hybridTables]extensionTable
	out     [hybridTables * hybridStates / hybridLanes]uint8
}

type hybridRoller struct {
	hybridRoll
	memory *hybridMemory
	states int
	found  []Candidate

	// The kernel works ahead: ready says that lead groups from the nonce next on are
	// under way. The newest of them is of the nonce of tables[0].
	ready bool
	next  uint32
}

func newHybridRoller(x hybridRoll) Scanner {
	m := &aligned[hybridMemory](1)[0]
	m.buffer.prepare()
	// found grows once if need be: at real difficulties it holds nothing most of the time.
	return &hybridRoller{hybridRoll: x, memory: m}
}

func (s *hybridRoller) Reset(job *Job) {
	m := s.memory
	s.states, s.ready = len(job.States), false
	for i := range m.mask {
		m.mask[i] = job.Mask
	}
	for i := range s.groups() * hybridLanes {
		mid := job.States[min(i, s.states-1)] // the last again in lanes that are left over
		m.records[i/hybridLanes].set(i%hybridLanes, mid, &job.Tail)
	}
	copy(m.tail[:], job.Tail[:])
	var kw [64]uint32
	expandTail(&kw, &job.Tail, 0)
	for i := range m.tables { // the sums that are the same for all nonces
		copy(m.tables[i].kw[:], kw[4:16])
	}
}

func (s *hybridRoller) groups() int { return (s.states + hybridLanes - 1) / hybridLanes }

// run does blocks whose first goes on after record previous of the nonce of tables[0].
func (s *hybridRoller) run(previous, blocks int) {
	m := s.memory
	s.roll(&m.records[0], (*hybridRecord)(unsafe.Add(unsafe.Pointer(&m.records), s.groups()*int(unsafe.Sizeof(m.records[0])))),
		&m.records[previous], &m.tables[0], blocks, &m.buffer, &m.mask, &m.out[0])
}

// fill makes n tables from tables[1] on.
func (s *hybridRoller) fill(nonce uint32, n int) {
	m := s.memory
	for i := range n {
		t := &m.tables[1+i]
		w := nonceWord(nonce + uint32(i))
		t.nonce = [4]uint32{1: w, 3: w}
		m.tail[3] = w
		s.table(t, &m.tail)
	}
}

func (s *hybridRoller) Scan(nonce uint32, count int) []Candidate {
	m := s.memory
	groups := s.groups()
	newest := (s.lead - 1) / groups // nonces after the first of the newest group that is under way
	if !s.ready || s.next != nonce {
		s.fill(nonce, newest+1)
		s.run(groups-1, s.lead)
		m.tables[0] = m.tables[newest+1]
	}
	s.found = s.found[:0]
	for count > 0 {
		n := min(count, hybridTables)
		s.fill(nonce+uint32(newest)+1, n)
		s.run((s.lead-1)%groups, n*groups)
		m.tables[0] = m.tables[n]
		s.collect(m.out[:n*groups], nonce)
		nonce += uint32(n)
		count -= n
	}
	s.ready, s.next = true, nonce
	return s.found
}

// collect appends what the output, a byte for each group of each nonce, says was found.
func (s *hybridRoller) collect(out []uint8, nonce uint32) {
	groups := s.groups()
	last := uint8(1<<((s.states-1)%hybridLanes+1) - 1) // lanes of the last group
	for i := 0; i < len(out); i += 8 {
		if i+8 <= len(out) && binary.LittleEndian.Uint64(out[i:]) == 0 {
			continue
		}
		for j := i; j < min(i+8, len(out)); j++ {
			lanes, group := out[j], j%groups
			if group == groups-1 {
				lanes &= last
			}
			for ; lanes != 0; lanes &= lanes - 1 {
				s.found = append(s.found, Candidate{
					State: uint32(group*hybridLanes + bits.TrailingZeros8(lanes)),
					Nonce: nonce + uint32(j/groups),
				})
			}
		}
	}
}
