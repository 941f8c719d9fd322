package share

import (
	"encoding/binary"
	"sync"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

const shards = 32

// Seen finds duplicates. It knows shares by their hash: that is a function of the
// decoded values alone, whatever form or connection they came in.
type Seen struct {
	shards [shards]seenShard
}

type seenShard struct {
	mu   sync.Mutex
	keys map[[16]byte]struct{}
}

// Add reports whether the hash is new.
func (s *Seen) Add(hash *chainhash.Hash) bool {
	// The first bytes (internal order) are the ones that work leaves random.
	var key [16]byte
	copy(key[:], hash[:16])
	shard := &s.shards[binary.LittleEndian.Uint16(hash[:])%shards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, dup := shard.keys[key]; dup {
		return false
	}
	if shard.keys == nil {
		shard.keys = make(map[[16]byte]struct{})
	}
	shard.keys[key] = struct{}{}
	return true
}

// Len is the number of hashes.
func (s *Seen) Len() int {
	n := 0
	for i := range s.shards {
		shard := &s.shards[i]
		shard.mu.Lock()
		n += len(shard.keys)
		shard.mu.Unlock()
	}
	return n
}
