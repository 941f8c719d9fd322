package poolsource

import (
	"bytes"
	"fmt"

	"github.com/btcsuite/btcd/wire"

	"lode/pool/node"
	"lode/pool/upstream"
	"lode/stratum"
)

// checkPayout looks for an output to the address that coinbases must pay to, in that of a
// pool's job.
func (s *Source) checkPayout(a *stratum.Assignment) error {
	if s.o.ExpectAddress == "" {
		return nil
	}
	script, err := payoutScript(s.o.ExpectAddress, s.o.Network())
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
	return fmt.Errorf("%w: its coinbase does not pay to %s", upstream.ErrViolation, s.o.ExpectAddress)
}

// payoutScript is the script of an address on a network, or on any if that is not known
// ("").
func payoutScript(address, name string) (script []byte, err error) {
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
