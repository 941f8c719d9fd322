package share

import (
	"encoding/binary"
	"sync"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// Roots remembers merkle roots. A miner sends many shares with one extranonce, when
// it rolls version and nonce; the root is the dear part of a share's header: with a
// branch of 12 it takes nine tenths of the hashing.
//
// The zero value is ready. Its size is fixed, and it does not allocate after the
// first use of each of its parts.
type Roots struct {
	shards [rootShards]rootShard
}

const (
	rootShards = 64
	rootSlots  = 128 // in each shard
	// maxRootKey is the longest extranonce that is remembered.
	maxRootKey = 24
)

type rootShard struct {
	mu    sync.Mutex
	slots []rootSlot
}

type rootSlot struct {
	job  uint64
	size uint8
	key  [maxRootKey]byte
	root chainhash.Hash
}

// slot finds the place for an extranonce of a job, and its shard locked; nil: it is
// too long.
func (r *Roots) slot(job uint64, extranonce1, extranonce2 []byte, key *[maxRootKey]byte) (*rootShard, *rootSlot) {
	if len(extranonce1)+len(extranonce2) > maxRootKey {
		return nil, nil
	}
	n := copy(key[:], extranonce1)
	copy(key[n:], extranonce2)
	hash := job
	for i := 0; i < maxRootKey; i += 8 {
		hash = (hash ^ binary.LittleEndian.Uint64(key[i:])) * 0x9e3779b97f4a7c15
		hash ^= hash >> 29
	}
	shard := &r.shards[hash%rootShards]
	shard.mu.Lock()
	if shard.slots == nil {
		shard.slots = make([]rootSlot, rootSlots)
	}
	return shard, &shard.slots[hash/rootShards%rootSlots]
}

// Get finds the root for an extranonce of a job.
func (r *Roots) Get(job uint64, extranonce1, extranonce2 []byte) (root chainhash.Hash, ok bool) {
	var key [maxRootKey]byte
	shard, slot := r.slot(job, extranonce1, extranonce2, &key)
	if slot == nil {
		return root, false
	}
	defer shard.mu.Unlock()
	if slot.job != job || int(slot.size) != len(extranonce1)+len(extranonce2) || slot.key != key {
		return root, false
	}
	return slot.root, true
}

// Put remembers it, in the place of another one if need be. Jobs must not be 0.
func (r *Roots) Put(job uint64, extranonce1, extranonce2 []byte, root chainhash.Hash) {
	var key [maxRootKey]byte
	shard, slot := r.slot(job, extranonce1, extranonce2, &key)
	if slot == nil {
		return
	}
	defer shard.mu.Unlock()
	*slot = rootSlot{job: job, size: uint8(len(extranonce1) + len(extranonce2)), key: key, root: root}
}
