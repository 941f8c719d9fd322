package miner

import (
	"encoding/binary"
	"math"
	"math/bits"

	"lode/miner/internal/scan"
)

// space is the part of the search space that belongs to one thread: every
// combination of version, nonce in [nonceFirst, nonceEnd), time and extranonce2 in
// {extraFirst, extraFirst+extraStep … extraLast}.
type space struct {
	nonceFirst, nonceEnd  uint64
	extraFirst, extraLast uint64
	extraStep             uint64
	empty                 bool
}

const allNonces = 1 << 32

// share gives thread i of n its part of a work with nonces 0 … nonces-1. Each
// thread has its own values of extranonce2; where there are fewer values than
// threads, each has its own nonces instead, a multiple of align of them.
func share(w *Work, i, n int, nonces, align uint64) space {
	last := uint64(0)
	if w.Extranonce2Size >= 8 {
		last = math.MaxUint64
	} else if w.Extranonce2Size > 0 {
		last = 1<<(8*w.Extranonce2Size) - 1
	}
	if last >= uint64(n)-1 {
		return space{nonceEnd: nonces, extraFirst: uint64(i), extraLast: last, extraStep: uint64(n)}
	}
	part := (nonces/align + uint64(n) - 1) / uint64(n) * align
	s := space{
		nonceFirst: min(uint64(i)*part, nonces),
		nonceEnd:   min(uint64(i+1)*part, nonces),
		extraLast:  last,
		extraStep:  1,
	}
	s.empty = s.nonceFirst == s.nonceEnd
	return s
}

// A cursor walks through a space: versions are innermost, then nonces, time and
// extranonce2. Since a kernel takes only so many versions at a time, it takes all
// nonces for one group of them before it goes on to the next group.
type cursor struct {
	work  *Work
	space space
	group uint64 // versions that are searched together

	version     uint64 // first version of the group, as an index
	nonce       uint64
	time        uint32
	extranonce2 uint64
	done        bool

	versions  uint64 // number of them
	header    [80]byte
	midstates *scan.Midstates
	job       scan.Job
}

// begin starts at the first point of a space.
func (c *cursor) begin(w *Work, s space, group int, mask uint32) {
	c.work, c.space, c.group = w, s, uint64(group)
	c.versions = 1 << bits.OnesCount32(w.VersionMask)
	c.version, c.nonce, c.time, c.extranonce2 = 0, s.nonceFirst, w.Time, s.extraFirst
	c.done = s.empty
	c.job.Mask = mask
	if !c.done {
		c.newRoot()
		c.newVersions()
	}
}

// newRoot puts the merkle root of the current extranonce2 into the header.
func (c *cursor) newRoot() {
	root := c.work.MerkleRoot(c.extranonce2)
	copy(c.header[4:36], c.work.PrevBlock[:])
	copy(c.header[36:68], root[:])
	binary.LittleEndian.PutUint32(c.header[72:], c.work.Bits)
}

// newVersions prepares the job for the current group of versions and time.
func (c *cursor) newVersions() {
	binary.LittleEndian.PutUint32(c.header[68:], c.time)
	for i := range c.job.Tail {
		c.job.Tail[i] = binary.BigEndian.Uint32(c.header[64+4*i:])
	}
	c.job.States = c.job.States[:0]
	for i := range min(c.group, c.versions-c.version) {
		binary.LittleEndian.PutUint32(c.header[:], c.work.version(c.version+i))
		c.job.States = append(c.job.States, c.midstates.Of((*[64]byte)(c.header[:64])))
	}
}

// advance moves on by count nonces, and to the next group of versions, time and
// extranonce2 when the nonces are exhausted. It says whether the job changed.
func (c *cursor) advance(count uint64) (changed bool) {
	c.nonce += count
	if c.nonce < c.space.nonceEnd {
		return false
	}
	c.nonce = c.space.nonceFirst
	c.version += c.group
	if c.version >= c.versions {
		c.version = 0
		if c.time < c.work.MaxTime {
			c.time++
		} else {
			c.time = c.work.Time
			if c.space.extraLast-c.extranonce2 < c.space.extraStep {
				c.done = true
				return false
			}
			c.extranonce2 += c.space.extraStep
			c.newRoot()
		}
	}
	c.newVersions()
	return true
}

// version returns the i-th version: the bits of i, lowest first, go to the bits of
// the mask, lowest first.
func (w *Work) version(i uint64) uint32 {
	version := w.Version &^ w.VersionMask
	for mask := w.VersionMask; mask != 0; mask &= mask - 1 {
		if i&1 != 0 {
			version |= mask & -mask
		}
		i >>= 1
	}
	return version
}

// targetMask is the scan mask for a target.
func targetMask(target *[32]byte) uint32 {
	return scan.TargetMask(binary.BigEndian.Uint32(target[:4]))
}
