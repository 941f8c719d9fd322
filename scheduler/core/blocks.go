package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/message"
	"lode/scheduler/api"
)

// States of blocks.
const (
	blockSubmitted = "submitted"
	blockConfirmed = "confirmed"
	blockOrphaned  = "orphaned"
)

// A block comes in parts. A whole one is at most 4 MB (BIP 141: 4,000,000 weight
// units), and few are on their way at a time.
const (
	mostParts      = 4_000_000/message.BlockPartSize + 1
	mostAssemblies = 8
	assemblyLife   = 10 * time.Minute
	// submitPatience is how long a proxy may take to get its block confirmed before
	// the scheduler submits it too.
	submitPatience = 15 * time.Second
	submitMost     = 10 * time.Minute
	// deepEnough is how many confirmations a block needs for its copy to be deleted.
	deepEnough = 6
	// mostBlocks is how many settled blocks are remembered.
	mostBlocks = 1000
)

// assembly is a block of which some parts arrived.
type assembly struct {
	parts [][]byte
	left  int
	at    time.Time
}

// receiveBlock takes in one part of a block. When all are there the block is stored,
// and only then (Step's order) is its proxy told that it may stop sending.
func (c *Core) receiveBlock(e Message, m *message.Block) {
	hash, err := blockHash(m.Block)
	if err != nil {
		c.badBlock(e, err)
		return
	}
	if b := c.block(hash); b != nil && b.Stored {
		c.blockReceived(e, m.Block.Hash)
		return
	}
	if m.Parts == 0 || m.Parts > mostParts || m.Part >= m.Parts || len(m.Data) > message.BlockPartSize {
		c.badBlock(e, fmt.Errorf("part %d of %d with %d bytes", m.Part, m.Parts, len(m.Data)))
		return
	}
	key := e.ExecutorID + " " + hash
	a := c.blocks[key]
	if a == nil || len(a.parts) != int(m.Parts) {
		if a == nil && len(c.blocks) >= mostAssemblies {
			c.dropOldestAssembly()
		}
		a = &assembly{parts: make([][]byte, m.Parts), left: int(m.Parts)}
		c.blocks[key] = a
	}
	a.at = c.now
	if a.parts[m.Part] == nil {
		a.parts[m.Part] = append([]byte{}, m.Data...)
		a.left--
	}
	if a.left > 0 {
		return
	}
	delete(c.blocks, key)
	data := bytes.Join(a.parts, nil)
	if err := checkBlock(data, m.Block.Hash); err != nil {
		c.badBlock(e, err)
		return
	}
	b := c.learnBlock(m.Block)
	b.Stored = true
	b.submitAt = c.now.Add(submitPatience)
	c.touchBlock(b)
	c.stores = append(c.stores, StoreBlock{Hash: hash, Data: data})
	c.blockReceived(e, m.Block.Hash)
}

func (c *Core) badBlock(e Message, err error) {
	c.counters.BadMessages++
	c.notice(slog.LevelWarn, "cannot use a block from an executor", "executor", e.ExecutorID, "error", err)
}

func (c *Core) dropOldestAssembly() {
	oldest := ""
	for k, a := range c.blocks {
		if oldest == "" || a.at.Before(c.blocks[oldest].at) || a.at.Equal(c.blocks[oldest].at) && k < oldest {
			oldest = k
		}
	}
	delete(c.blocks, oldest)
}

func (c *Core) blockReceived(e Message, hash []byte) {
	if !c.connected {
		return
	}
	data, err := message.Encode(&message.ToExecutor{
		Version: message.Version,
		Event:   &message.ToExecutor_BlockReceived{BlockReceived: &message.BlockReceived{Hash: hash}},
	})
	if err != nil {
		c.notice(slog.LevelError, "cannot encode a message", "executor", e.ExecutorID, "error", err)
		return
	}
	c.call(calls.Message(e.AgentID, e.ExecutorID, data))
}

// blockHash returns the hash in display order.
func blockHash(b *message.BlockState) (string, error) {
	if b == nil || len(b.Hash) != sha256.Size {
		return "", errors.New("block without a hash")
	}
	return hex.EncodeToString(reversed(b.Hash)), nil
}

// checkBlock makes sure that the bytes are the block that they claim to be: its hash
// is the double SHA-256 of the first 80 bytes.
func checkBlock(data, hash []byte) error {
	const header = 80
	if len(data) <= header {
		return fmt.Errorf("block of %d bytes", len(data))
	}
	first := sha256.Sum256(data[:header])
	if second := sha256.Sum256(first[:]); !bytes.Equal(second[:], hash) {
		return fmt.Errorf("block %x has the hash %x", reversed(hash), reversed(second[:]))
	}
	return nil
}

func (c *Core) block(hash string) *Block {
	for i := range c.state.Blocks {
		if b := c.state.Blocks[len(c.state.Blocks)-1-i]; b.Hash == hash {
			return b
		}
	}
	return nil
}

// learnBlock takes in what a proxy says of a block.
func (c *Core) learnBlock(m *message.BlockState) *Block {
	hash, err := blockHash(m)
	if err != nil {
		return nil
	}
	state := m.State
	if state != blockConfirmed && state != blockOrphaned {
		state = blockSubmitted
	}
	b := c.block(hash)
	if b == nil {
		b = &Block{Hash: hash, Height: m.Height, State: state, Finder: limit(m.Finder, 255), FoundAt: c.now}
		b.Confirmations = m.Confirmations
		c.state.Blocks = append(c.state.Blocks, b)
		c.forgetBlocks()
		c.touchBlock(b)
		c.tell(Progress{Type: "block", Block: blockStatus(b)})
		return b
	}
	b.Confirmations = m.Confirmations
	if b.Finder == "" {
		b.Finder = limit(m.Finder, 255)
	}
	c.blockState(b, state)
	return b
}

// blockState enters a state that somebody reports. What a node confirmed or
// orphaned is not made "submitted" again by a proxy that knows less.
func (c *Core) blockState(b *Block, state string) {
	if state != b.State && state != blockSubmitted {
		b.State = state
		c.touchBlock(b)
		c.tell(Progress{Type: "block", Block: blockStatus(b)})
	}
	if b.Stored && (b.State == blockOrphaned || b.State == blockConfirmed) && b.Confirmations >= deepEnough {
		b.Stored = false
		c.touchBlock(b)
		c.actions = append(c.actions, DropBlock{b.Hash})
	}
}

// submitBlocks submits stored blocks that nobody has reported to be in the chain.
func (c *Core) submitBlocks() {
	if !c.set.CanSubmit {
		return
	}
	for _, b := range c.state.Blocks {
		if !b.Stored || b.State != blockSubmitted || b.submitting {
			continue
		}
		if b.submitAt.IsZero() { // after a restart
			b.submitAt = c.now.Add(submitPatience)
		}
		if c.now.Before(b.submitAt) {
			continue
		}
		b.submitting = true
		b.submissions++
		c.actions = append(c.actions, SubmitBlock{b.Hash})
	}
}

// submitted takes in what became of a SubmitBlock.
func (c *Core) submitted(e Submitted) {
	b := c.block(e.Hash)
	if b == nil {
		return
	}
	b.submitting = false
	b.submitAt = c.now.Add(c.jitter(exponential(submitPatience, submitMost, float64(b.submissions-1))))
	b.lastError = limit(e.Err, 300)
	if e.Err != "" {
		c.notice(slog.LevelWarn, "could not submit a block; it will be tried again",
			"hash", b.Hash, "height", b.Height, "error", e.Err, "next", b.submitAt)
		return
	}
	c.notice(slog.LevelInfo, "submitted a block", "hash", b.Hash, "height", b.Height, "state", e.State)
	c.blockState(b, e.State)
}

// forgetBlocks drops the oldest settled blocks when there are too many.
func (c *Core) forgetBlocks() {
	for i := 0; len(c.state.Blocks) > mostBlocks && i < len(c.state.Blocks); {
		if b := c.state.Blocks[i]; b.Stored || b.State == blockSubmitted && i > len(c.state.Blocks)/2 {
			i++
			continue
		}
		c.touchBlock(c.state.Blocks[i])
		c.state.Blocks = slices.Delete(c.state.Blocks, i, i+1)
	}
}

func (c *Core) touchBlock(b *Block) {
	c.touched.block(b.Hash)
	c.dirty = true
}

func blockStatus(b *Block) *api.Block {
	return &api.Block{
		Height: b.Height, Hash: b.Hash, State: b.State, Finder: b.Finder, Confirmations: b.Confirmations,
		FoundAt: b.FoundAt, Stored: b.Stored, Submissions: b.submissions, Error: b.lastError,
	}
}
