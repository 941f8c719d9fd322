package share

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Memory is for how long a Seen remembers a share at least: shares for older jobs must not
// count any more.
const Memory = 10 * time.Minute

// Seen finds duplicates among the shares of one search space. It knows them by their
// hash: that is a function of the decoded values alone, whatever form they came in. It
// remembers two generations, the present one and the one before. Use NewSeen.
type Seen struct {
	grace time.Duration

	mu     sync.Mutex // guards the rest
	recent set
	older  set
	began  time.Time // of recent
	tip    uint64    // the last one
	since  time.Time // of tip
	turned uint64    // tip at the last turn, and that of the last share in older
}

// NewSeen makes an empty one; grace is how long shares count after the tip has changed.
func NewSeen(grace time.Duration) *Seen { return &Seen{grace: grace} }

// Add reports whether the hash is new, now. tip numbers the tips of the chain: what was
// found for the tip before the last need not be remembered.
func (s *Seen) Add(now time.Time, tip uint64, hash *chainhash.Hash) bool {
	// The first bytes (internal order) are the ones that work leaves random. Among the
	// few thousand shares of a search space no two are alike in 64 bits by chance.
	key := max(binary.LittleEndian.Uint64(hash[:]), 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if tip > s.tip {
		s.tip, s.since = tip, now
	}
	if now.Sub(s.began) >= Memory || s.turned < s.tip && now.Sub(s.since) >= s.grace {
		s.turn(now)
	}
	if s.older.has(key) {
		return false
	}
	return s.recent.add(key)
}

// turn begins the next generation, in the memory of the one that is forgotten.
func (s *Seen) turn(now time.Time) {
	slots := s.older.slots
	if len(slots) > 4*s.recent.count+least {
		slots = nil
	}
	clear(slots)
	s.older, s.recent = s.recent, set{slots: slots}
	s.began, s.turned = now, s.tip
}

// Len is how many hashes are remembered.
func (s *Seen) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recent.count + s.older.count
}

// set holds keys other than 0 in open addressing: 8 to 16 bytes a key.
type set struct {
	slots []uint64 // a power of two of them, 0: empty
	count int
}

// least is the number of slots to begin with.
const least = 16

// find is where the key is, or would be.
func (s *set) find(key uint64) *uint64 {
	for i := key; ; i++ {
		if slot := &s.slots[i&uint64(len(s.slots)-1)]; *slot == key || *slot == 0 {
			return slot
		}
	}
}

func (s *set) has(key uint64) bool { return s.count > 0 && *s.find(key) == key }

func (s *set) add(key uint64) bool {
	if 8*s.count >= 7*len(s.slots) {
		s.grow()
	}
	slot := s.find(key)
	if *slot == key {
		return false
	}
	*slot = key
	s.count++
	return true
}

func (s *set) grow() {
	old := s.slots
	s.slots = make([]uint64, max(2*len(old), least))
	for _, key := range old {
		if key != 0 {
			*s.find(key) = key
		}
	}
}
