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
