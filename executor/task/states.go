package task

import (
	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/message"
	"lode/pool"
)

// settled is the depth from which on more confirmations of a block tell the scheduler
// nothing new: it deletes its copy at 6.
const settled = 6

// knownBlock is what the scheduler has said that it knows of a block.
type knownBlock struct {
	state         string
	confirmations uint32 // at most settled
}

func knowledge(b *message.BlockState) knownBlock {
	return knownBlock{b.State, min(b.Confirmations, settled)}
}

// learn takes in what the scheduler has stored.
func (p *Proxy) learn(blocks []*message.BlockState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = make(map[string]knownBlock)
	}
	for _, b := range blocks {
		if b != nil && len(b.Hash) == chainhash.HashSize {
			p.known[string(b.Hash)] = knowledge(b)
		}
	}
}

// Restarted implements Task.
func (p *Proxy) Restarted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = nil
}

// unknown returns the states, of all blocks (newest first), that the scheduler has
// not said that it knows, oldest first: however many change at once, each is told.
func (p *Proxy) unknown(all []pool.Block) []*message.BlockState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.env.Version < message.FirstLinked {
		return states(all[:min(len(all), oldReportBlocks)])
	}
	list := states(all)
	known := make(map[string]knownBlock, len(list)) // without blocks that the pool forgot
	var report []*message.BlockState
	for i := len(list) - 1; i >= 0; i-- {
		hash := string(list[i].Hash)
		k, ok := p.known[hash]
		if ok {
			known[hash] = k
		}
		if (!ok || k != knowledge(list[i])) && len(report) < maxReportBlocks {
			report = append(report, list[i])
		}
	}
	p.known = known
	return report
}

func states(blocks []pool.Block) []*message.BlockState {
	var list []*message.BlockState
	for _, b := range blocks {
		if s, err := blockState(b); err == nil {
			list = append(list, s)
		}
	}
	return list
}
