package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/btcsuite/btcd/wire"

	"lode/pool/node"
	"lode/stratum"
)

// errViolation is what no honest pool does.
var errViolation = errors.New("the pool's job is not what it should be")

// unknownTime is for how long a pool may be ahead of our node, or behind it.
const unknownTime = 30 * time.Second

// askTime bounds the question to our node: the pool's job waits for the answer.
const askTime = 300 * time.Millisecond

// maxAhead is how far a job's time may be ahead of our clock (the rule of nodes).
const maxAhead = 2 * time.Hour

// verify compares a pool's job with what our own node says, if there is one.
func (s *poolSource) verify(ctx context.Context, a *stratum.Assignment) error {
	if t := time.Unix(int64(a.Job.Time), 0); t.After(s.p.now().Add(maxAhead)) {
		return fmt.Errorf("%w: its time is %v", errViolation, t.UTC())
	}
	if err := checkPayout(s.p, s.expect, a); err != nil {
		return err
	}
	view, ok := s.p.nodeView()
	if !ok {
		s.setUnknown(time.Time{})
		return nil
	}
	if a.Job.PrevBlock == view.work.prev {
		s.setUnknown(time.Time{})
		return verifyOnTip(a.Job, view)
	}
	// The pool may be a moment ahead of our node or behind it.
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	where := "a block that our node does not know (a fork, or another chain)"
	if h, err := view.node.Header(ctx, a.Job.PrevBlock); err == nil {
		where = fmt.Sprintf("block %d, which is not the tip", h.Height)
	} else if !errors.Is(err, node.ErrUnknownBlock) {
		return nil // our node cannot be asked
	}
	since := s.setUnknown(s.p.now())
	if s.p.now().Sub(since) > unknownTime {
		return fmt.Errorf("%w: for %v it has been on %s", errViolation, unknownTime, where)
	}
	return nil
}

// setUnknown notes since when the pool's tip is not ours: the zero time ends that.
func (s *poolSource) setUnknown(now time.Time) (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.IsZero() || s.unknown.IsZero() {
		s.unknown = now
	}
	return s.unknown
}

// view is what our own node knows.
type view struct {
	node    *node.Node
	work    *work
	network string
}

// nodeView is the view of the best node upstream that is up.
func (p *Proxy) nodeView() (view, bool) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	for i, s := range p.sources {
		if n, isNode := s.(*nodeSource); isNode && p.offers[i].work != nil {
			return view{n.node, p.offers[i].work, p.network}, true
		}
	}
	return view{}, false
}

// verifyOnTip judges a job on the tip that our node has too.
func verifyOnTip(j *stratum.Job, v view) error {
	// On testnets a block 20 minutes late may be of difficulty 1, so that two right
	// values exist at once.
	lenient := v.network == "testnet3" || v.network == "testnet4"
	if j.Bits != v.work.bits && !(lenient && j.Bits == 0x1d00ffff) {
		return fmt.Errorf("%w: nbits %08x, our node says %08x", errViolation, j.Bits, v.work.bits)
	}
	if height, ok := coinbaseHeight(j.Coinbase1); ok && height != v.work.height {
		return fmt.Errorf("%w: height %d, our node says %d", errViolation, height, v.work.height)
	}
	if j.Time < v.work.minTime {
		return fmt.Errorf("%w: its time %d is before the least valid %d", errViolation, j.Time, v.work.minTime)
	}
	return nil
}

// checkPayout looks for an output to the address in the coinbase of a pool's job.
func checkPayout(p *Proxy, address string, a *stratum.Assignment) error {
	if address == "" {
		return nil
	}
	script, err := p.anyPayoutScript(address)
	if err != nil {
		return err
	}
	coinbase := append([]byte(nil), a.Job.Coinbase1...)
	coinbase = append(coinbase, a.Extranonce1...)
	coinbase = append(coinbase, make([]byte, a.Extranonce2Size)...)
	coinbase = append(coinbase, a.Job.Coinbase2...)
	var tx wire.MsgTx
	if err := tx.DeserializeNoWitness(bytes.NewReader(coinbase)); err != nil {
		return fmt.Errorf("%w: its coinbase cannot be read: %v", errViolation, err)
	}
	for _, out := range tx.TxOut {
		if out.Value > 0 && bytes.Equal(out.PkScript, script) {
			return nil
		}
	}
	return fmt.Errorf("%w: its coinbase does not pay to %s", errViolation, address)
}

// anyPayoutScript is the script of an address on our network, or on any if that is
// not known.
func (p *Proxy) anyPayoutScript(address string) (script []byte, err error) {
	p.stateMu.Lock()
	name := p.network
	p.stateMu.Unlock()
	for _, network := range node.Networks() {
		if name != "" && network.Name != name {
			continue
		}
		if script, err = network.PayoutScript(address); err == nil {
			return script, nil
		}
	}
	return nil, err
}

// coinbaseHeight reads the height (BIP 34) from the first part of a coinbase.
func coinbaseHeight(coinbase1 []byte) (int64, bool) {
	const script = 4 + 1 + 36 + 1 // version, input count, previous output, script length
	if len(coinbase1) <= script {
		return 0, false
	}
	push := coinbase1[script]
	if push >= 0x51 && push <= 0x60 {
		return int64(push) - 0x50, true
	}
	if push < 1 || push > 5 || len(coinbase1) < script+1+int(push) {
		return 0, false
	}
	var height int64
	for i := int(push); i >= 1; i-- {
		height = height<<8 | int64(coinbase1[script+i])
	}
	return height, height > 0
}
