package core

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/internal/txscan"
	"lode/message"
	"lode/stratum"
)

// A stored block takes room until it is deep in the chain or nobody will ever take
// it. The bounds hold what a cluster finds in days without a node; beyond them the
// blocks with the least work go first.
const (
	mostStored      = 200
	mostStoredBytes = 200 << 20
	// looseBits is how many times easier than the chain's tip a block may be: the
	// difficulty falls by at most 4 at once, and what is known may be old.
	looseBits = 8
)

// learnChain takes in what a node says of its chain.
func (c *Core) learnChain(e Chain) {
	if _, err := stratum.TargetFromBits(e.Bits); err != nil || c.state.Chain != nil && *c.state.Chain == e {
		return
	}
	c.state.Chain = &e
	c.dirty = true
}

// checkHeader makes sure that data begins with a header that has the hash, does the
// work that it claims, and claims no less than the chain asks for. It returns the
// header's bits.
func (c *Core) checkHeader(data, hash []byte) (bits uint32, err error) {
	if len(data) <= wire.MaxBlockHeaderPayload {
		return 0, fmt.Errorf("block of %d bytes", len(data))
	}
	got := chainhash.DoubleHashH(data[:wire.MaxBlockHeaderPayload])
	if !bytes.Equal(got[:], hash) {
		return 0, fmt.Errorf("block %x has the hash %v", reversed(hash), got)
	}
	var header wire.BlockHeader
	if err := header.Deserialize(bytes.NewReader(data)); err != nil {
		return 0, fmt.Errorf("header of block %v: %w", got, err)
	}
	target, err := stratum.TargetFromBits(header.Bits)
	if err != nil {
		return 0, fmt.Errorf("header of block %v: %w", got, err)
	}
	if !target.MetBy(&got) {
		return 0, fmt.Errorf("block %v does not meet its own bits %08x", got, header.Bits)
	}
	if chain := c.state.Chain; chain != nil && !chain.Easy {
		tip, err := stratum.TargetFromBits(chain.Bits)
		if err != nil {
			return header.Bits, nil
		}
		loose := new(big.Int).SetBytes(tip[:])
		if new(big.Int).SetBytes(target[:]).Cmp(loose.Mul(loose, big.NewInt(looseBits))) > 0 {
			return 0, fmt.Errorf("block %v is far easier (bits %08x) than the chain is (%08x)", got, header.Bits, chain.Bits)
		}
	}
	return header.Bits, nil
}

// checkBody makes sure that a block's header, which checkHeader has seen, commits to its
// transactions.
func checkBody(data []byte) error {
	var s txscan.Scanner
	s.Reset(data)
	root := s.Bytes(wire.MaxBlockHeaderPayload)[36:68]
	n := s.Number()
	if s.Valid() && n == 0 {
		return errors.New("block without transactions")
	}
	var level []chainhash.Hash
	for ; n > 0 && s.Valid(); n-- {
		id, _ := s.Transaction()
		level = append(level, id)
	}
	if err := s.End(); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	for len(level) > 1 {
		if len(level)%2 == 1 {
			level = append(level, level[len(level)-1])
		}
		for i := range len(level) / 2 {
			level[i] = chainhash.DoubleHashH(slices.Concat(level[2*i][:], level[2*i+1][:]))
		}
		level = level[:len(level)/2]
	}
	if !bytes.Equal(level[0][:], root) {
		return errors.New("block whose header does not commit to its transactions")
	}
	return nil
}

// makeRoomFor deletes the stored blocks with the least work until one more of size
// and bits fits. It fails if that one is the least.
func (c *Core) makeRoomFor(size int, bits uint32) error {
	for {
		n, bytes := len(c.storing), 0
		var least *Block
		for _, b := range c.state.Blocks {
			if !b.Stored {
				continue
			}
			n, bytes = n+1, bytes+b.Size
			if least == nil || easier(b.Bits, least.Bits) {
				least = b
			}
		}
		switch {
		case n < mostStored && bytes+size <= mostStoredBytes:
			return nil
		case least == nil || !easier(least.Bits, bits):
			return fmt.Errorf("%d blocks of %d bytes wait already for their confirmation", n, bytes)
		}
		least.Stored = false
		c.touchBlock(least)
		c.actions = append(c.actions, DropBlock{least.Hash})
	}
}

// easier says that a header of bits a does less work than one of bits b.
func easier(a, b uint32) bool {
	x, errX := stratum.TargetFromBits(a)
	y, errY := stratum.TargetFromBits(b)
	if errX != nil || errY != nil {
		return errX != nil && errY == nil
	}
	return bytes.Compare(x[:], y[:]) > 0
}

// learnBlocks takes in the states of blocks from a proxy's report and, once they are
// stored, says so; it reports each until then.
func (c *Core) learnBlocks(t *Task, blocks []*message.BlockState, e Message) {
	if len(blocks) > mostReported {
		c.refuse("report", slog.LevelWarn, e, fmt.Errorf("it tells of %d blocks at once", len(blocks)))
		return
	}
	var known []*message.BlockState
	for _, b := range blocks {
		if c.learnBlock(b) != nil {
			known = append(known, &message.BlockState{Hash: b.Hash, State: b.State, Confirmations: b.Confirmations})
		}
	}
	if len(known) > 0 && c.peerOf(t).sealer != nil {
		c.send(t, &message.ToExecutor{Event: &message.ToExecutor_BlockStates{BlockStates: &message.BlockStates{Blocks: known}}})
	}
}

const mostReported = 64
