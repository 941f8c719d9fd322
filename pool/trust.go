package pool

import (
	"bytes"
	"fmt"

	"github.com/btcsuite/btcd/wire"

	"lode/pool/node"
	"lode/pool/upstream"
	"lode/stratum"
)

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
		return fmt.Errorf("%w: its coinbase cannot be read: %v", upstream.ErrViolation, err)
	}
	for _, out := range tx.TxOut {
		if out.Value > 0 && bytes.Equal(out.PkScript, script) {
			return nil
		}
	}
	return fmt.Errorf("%w: its coinbase does not pay to %s", upstream.ErrViolation, address)
}

// anyPayoutScript is the script of an address on our network, or on any if that is not
// known.
func (p *Proxy) anyPayoutScript(address string) (script []byte, err error) {
	p.stateMu.Lock()
	name := p.network
	p.stateMu.Unlock()
	err = fmt.Errorf("%q is no address of %s", address, name)
	for _, network := range node.Networks() {
		if name != "" && network.Name != name && !node.IsScript(address) {
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
