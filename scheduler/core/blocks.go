package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"lode/message"
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
	// askMost is the longest pause before a node that answers is asked again what became
	// of a block: its state is to be true soon after it is decided.
	askMost = 2 * time.Minute
	// tellPatience is how long a proxy may take to tell what became of a block of which
	// the scheduler has no copy: it may be gone, and the block's copy with it.
	tellPatience = 10 * time.Minute
	// deepEnough is how many confirmations a block needs for its copy to be deleted.
	deepEnough = 6
	// mostBlocks is how many settled blocks are remembered.
	mostBlocks = 1000
)

// assembly is a block of which some parts arrived.
type assembly struct {
	parts [][]byte
	left  int
	at    time.Duration // of its newest part
}

// receiveBlock takes in one part of a block. When all are there the block is stored,
// and only when it is (Stored) is its proxy told that it may stop sending.
func (c *Core) receiveBlock(e Message, p *peer, m *message.Block) {
	hash, err := blockHash(m.Block)
	if err != nil {
		c.refuse("block", slog.LevelWarn, e, err)
		return
	}
	if b := c.block(hash); b != nil && (b.Stored || b.State == blockConfirmed && b.Confirmations >= deepEnough) {
		c.blockReceived(p, m.Block.Hash)
		return
	}
	if s := c.storing[hash]; s != nil { // a repetition
		s.peers[p.id] = p
		return
	}
	if m.Parts == 0 || m.Parts > mostParts || m.Part >= m.Parts || len(m.Data) > message.BlockPartSize {
		c.refuse("block", slog.LevelWarn, e, fmt.Errorf("part %d of %d with %d bytes", m.Part, m.Parts, len(m.Data)))
		return
	}
	if m.Part == 0 { // what can never be valid need not be gathered
		if _, err := c.checkHeader(m.Data, m.Block.Hash); err != nil {
			c.refuse("block", slog.LevelWarn, e, err)
			return
		}
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
	a.at = c.up
	if a.parts[m.Part] == nil {
		a.parts[m.Part] = append([]byte{}, m.Data...)
		a.left--
	}
	if a.left > 0 {
		return
	}
	delete(c.blocks, key)
	data := bytes.Join(a.parts, nil)
	bits, err := c.checkHeader(data, m.Block.Hash)
	if err == nil {
		err = checkBody(data)
	}
	if err == nil {
		err = c.makeRoomFor(len(data), bits)
	}
	if err != nil {
		c.refuse("block", slog.LevelWarn, e, err)
		return
	}
	b := c.learnBlock(m.Block)
	b.Size, b.Bits = len(data), bits
	c.touchBlock(b)
	if c.storing == nil {
		c.storing = make(map[string]*storing)
	}
	c.storing[hash] = &storing{peers: map[string]*peer{p.id: p}}
	c.stores = append(c.stores, StoreBlock{Hash: hash, Data: data})
}

// storing is a block that is on its way to the disk; peers wait for its receipt.
type storing struct{ peers map[string]*peer }

// stored takes in what became of a StoreBlock. A disk that is full or fails ends
// nothing: without a receipt the proxy keeps the block and sends it again.
func (c *Core) stored(e Stored) {
	s := c.storing[e.Hash]
	delete(c.storing, e.Hash)
	b := c.block(e.Hash)
	if s == nil || b == nil {
		return
	}
	if e.Err != "" {
		c.troubled("blocks", "a found block cannot be stored; its proxy keeps it meanwhile: "+limit(e.Err, 300))
		c.notice(slog.LevelError, "cannot store a block; its proxy keeps it and sends it again", "hash", b.Hash, "error", e.Err)
		return
	}
	c.settle("blocks")
	b.Stored = true
	b.submitAt = c.up + submitPatience
	c.touchBlock(b)
	hash, err := hex.DecodeString(e.Hash)
	if err != nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.peers)) {
		c.blockReceived(s.peers[id], reversed(hash))
	}
	c.blockState(b, b.State)
}

func (c *Core) dropOldestAssembly() {
	oldest := ""
	for k, a := range c.blocks {
		if oldest == "" || a.at < c.blocks[oldest].at || a.at == c.blocks[oldest].at && k < oldest {
			oldest = k
		}
	}
	delete(c.blocks, oldest)
}

func (c *Core) blockReceived(p *peer, hash []byte) {
	c.sendTo(p, &message.ToExecutor{
		Event: &message.ToExecutor_BlockReceived{BlockReceived: &message.BlockReceived{Hash: hash}},
	})
}

// blockHash returns the hash in display order.
func blockHash(b *message.BlockState) (string, error) {
	if b == nil || len(b.Hash) != sha256.Size {
		return "", errors.New("block without a hash")
	}
	return hex.EncodeToString(reversed(b.Hash)), nil
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
		c.tell(BlockChanged{blockView(b)})
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
		c.tell(BlockChanged{blockView(b)})
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
		if b.submitting {
			continue
		}
		if !b.Stored {
			c.askFor(b)
			continue // one that is confirmed is looked at until it is deep: its proxy may be gone
		}
		if b.submitAt == 0 { // after a restart
			b.submitAt = c.up + submitPatience
		}
		if c.up < b.submitAt {
			continue
		}
		b.submitting = true
		b.submissions++
		c.actions = append(c.actions, SubmitBlock{b.Hash})
	}
}

// askFor asks what became of a block of which there is no copy, if nobody tells.
func (c *Core) askFor(b *Block) {
	switch {
	case b.State != blockSubmitted || c.storing[b.Hash] != nil:
	case b.submitAt == 0:
		b.submitAt = c.up + c.jitter(tellPatience)
	case c.up >= b.submitAt:
		b.submitting = true
		c.actions = append(c.actions, AskBlock{b.Hash, b.Height})
	}
}

// askSooner asks for all blocks of which there is no copy: a proxy has ended, and may
// have been the one that would have told of them.
func (c *Core) askSooner() {
	for _, b := range c.state.Blocks {
		if soon := c.up + submitPatience; !b.Stored && b.State == blockSubmitted && (b.submitAt == 0 || b.submitAt > soon) {
			b.submitAt = soon
		}
	}
}

// submitted takes in what became of a SubmitBlock or AskBlock.
func (c *Core) submitted(e Submitted) {
	b := c.block(e.Hash)
	if b == nil {
		return
	}
	b.submitting = false
	if !b.Stored {
		pause := tellPatience
		if e.Err != "" {
			pause = askMost
		}
		b.submitAt = c.up + c.jitter(pause)
		b.lastError = limit(e.Err, 300)
		if e.Err == "" && e.State != b.State {
			c.notice(slog.LevelInfo, "a node tells what became of a block", "hash", b.Hash, "height", b.Height, "state", e.State)
			b.Confirmations = max(b.Confirmations, e.Confirmations)
			c.blockState(b, e.State)
		}
		return
	}
	if e.Invalid {
		c.notice(slog.LevelWarn, "every node says that a block can never be valid; its copy is deleted",
			"hash", b.Hash, "height", b.Height, "reason", e.Err)
		b.lastError, b.Confirmations = limit(e.Err, 300), deepEnough
		c.blockState(b, blockOrphaned)
		return
	}
	most := submitMost
	if e.Err == "" {
		most = askMost
	}
	pause := c.jitter(exponential(submitPatience, most, float64(b.submissions-1)))
	b.submitAt = c.up + pause
	b.lastError = limit(e.Err, 300)
	if e.Err != "" {
		c.notice(slog.LevelWarn, "could not submit a block; it will be tried again",
			"hash", b.Hash, "height", b.Height, "error", e.Err, "next", c.now.Add(pause))
		return
	}
	if e.State != b.State {
		c.notice(slog.LevelInfo, "submitted a block", "hash", b.Hash, "height", b.Height, "state", e.State)
	}
	b.Confirmations = max(b.Confirmations, e.Confirmations)
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

func blockView(b *Block) BlockView {
	return BlockView{Block: *b, Submissions: b.submissions, Error: b.lastError}
}

// forgetAssemblies drops blocks of which the rest does not come.
func (c *Core) forgetAssemblies() {
	for k, b := range c.blocks {
		if c.up-b.at > assemblyLife {
			delete(c.blocks, k)
		}
	}
}

func reversed(hash []byte) []byte {
	b := bytes.Clone(hash)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return b
}
