// Package space hands out extranonce1 values, so that no two miners ever search the
// same work. A value stays leased for a while after its miner left, and goes back to
// it if it returns with its session id.
package space

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrFull is a space without a free value.
var ErrFull = errors.New("no extranonce is free: too many miners for the upstream's extranonce space")

// Space is a set of extranonce1 values with a common prefix.
type Space struct {
	prefix []byte
	size   int           // bytes after the prefix, 1 to 4
	hold   time.Duration // a lease outlives its miner so long

	mu    sync.Mutex // guards the rest
	next  uint32
	byID  map[string]*lease
	inUse map[uint32]*lease
	idle  []*lease // released, oldest first; may hold leases that were resumed since
}

type lease struct {
	id       string
	value    uint32
	released time.Time // zero: a miner has it
}

// Lease is an extranonce1 and the session id that brings it back.
type Lease struct {
	ID         string
	Extranonce []byte
}

// New makes a space of all values of size bytes (1 to 4) after prefix.
func New(prefix []byte, size int, hold time.Duration) (*Space, error) {
	if size < 1 || size > 4 {
		return nil, fmt.Errorf("extranonce space of %d bytes, want 1 to 4", size)
	}
	s := &Space{
		prefix: append([]byte(nil), prefix...),
		size:   size,
		hold:   hold,
		byID:   make(map[string]*lease),
		inUse:  make(map[uint32]*lease),
	}
	// A random start keeps a restarted proxy from giving new miners the values
	// that its predecessor gave to others, who may still send shares.
	var start [4]byte
	_, _ = rand.Read(start[:]) // never fails
	s.next = binary.BigEndian.Uint32(start[:])
	return s, nil
}

// Size is that of an extranonce1 of this space.
func (s *Space) Size() int { return len(s.prefix) + s.size }

func (s *Space) mask() uint32 { return uint32(1<<(8*s.size) - 1) }

// Capacity is how many leases there can be.
func (s *Space) Capacity() int { return int(s.mask()) + 1 }

// Take leases a value: that of the session resume, if it is known and its miner
// gone, else a fresh one.
func (s *Space) Take(now time.Time, resume string) (Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if l := s.byID[resume]; l != nil && !l.released.IsZero() {
		l.released = time.Time{}
		return s.lease(l), nil
	}
	if len(s.inUse) >= s.Capacity() {
		return Lease{}, ErrFull
	}
	for s.inUse[s.next&s.mask()] != nil {
		s.next++
	}
	var id [8]byte
	_, _ = rand.Read(id[:])
	l := &lease{id: fmt.Sprintf("%x", id), value: s.next & s.mask()}
	s.next++
	s.byID[l.id], s.inUse[l.value] = l, l
	return s.lease(l), nil
}

func (s *Space) lease(l *lease) Lease {
	b := binary.BigEndian.AppendUint32(append([]byte(nil), s.prefix...), l.value<<(8*(4-s.size)))
	return Lease{ID: l.id, Extranonce: b[:len(s.prefix)+s.size]}
}

// Release gives a value back; it stays reserved for its session for a while.
func (s *Space) Release(now time.Time, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.byID[id]; l != nil && l.released.IsZero() {
		l.released = now
		s.idle = append(s.idle, l)
	}
	s.expire(now)
}

func (s *Space) expire(now time.Time) {
	for len(s.idle) > 0 {
		l := s.idle[0]
		switch {
		case l.released.IsZero() || s.byID[l.id] != l:
			// resumed since, and perhaps released again: then it stands further back
		case now.Sub(l.released) < s.hold:
			return
		default:
			delete(s.byID, l.id)
			delete(s.inUse, l.value)
		}
		s.idle = s.idle[1:]
	}
}

// Leased is how many values are not free.
func (s *Space) Leased() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inUse)
}

// Split says how many bytes of an upstream pool's extranonce2 of size bytes to take
// as a prefix for each miner: enough for many miners, few enough that the rest does
// for them and for another proxy behind this one. Of 2 bytes each miner keeps one, too
// few for some (cpuminer-opt), but for the others better than no pool. 0: the space is
// too small to share.
func Split(size int) int {
	switch {
	case size > 8:
		return min(size-8, 4)
	case size >= 6:
		return 2
	case size >= 2:
		return 1
	default:
		return 0
	}
}
