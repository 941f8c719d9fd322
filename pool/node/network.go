package node

import (
	"fmt"

	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/txscript"
)

// Network is a Bitcoin network, known by its genesis block.
type Network struct {
	Name    string // mainnet, testnet3, testnet4, signet, simnet, regtest
	Genesis string // hash of block 0, display order
	// params hold the forms of addresses; testnet4 shares those of testnet3.
	params *chaincfg.Params
}

// subsidy is the reward of a block without fees, in satoshis.
func (n Network) subsidy(height int64) int64 {
	halvings := height / int64(n.params.SubsidyReductionInterval)
	if halvings >= 64 {
		return 0
	}
	return 50 * btcutil.SatoshiPerBitcoin >> halvings
}

// steadyBits reports whether the block at a height has the bits of the one before it
// for certain: not at a retarget, and not on testnets, where late blocks are easier.
func (n Network) steadyBits(height int64) bool {
	return !n.params.ReduceMinDifficulty && height%2016 != 0 || n.Name == "regtest"
}

// EasyWhenLate reports whether a block at the height must be of the least difficulty if
// it is 20 minutes later than the one before it.
func (n Network) EasyWhenLate(height int64) bool {
	return n.params != nil && n.params.ReduceMinDifficulty && n.Name != "regtest" && height%2016 != 0
}

// Networks are all that a proxy can mine on.
func Networks() []Network {
	return []Network{
		{"mainnet", chaincfg.MainNetParams.GenesisHash.String(), &chaincfg.MainNetParams},
		{"testnet3", chaincfg.TestNet3Params.GenesisHash.String(), &chaincfg.TestNet3Params},
		{"testnet4", "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", &chaincfg.TestNet3Params},
		{"signet", chaincfg.SigNetParams.GenesisHash.String(), &chaincfg.SigNetParams},
		{"simnet", chaincfg.SimNetParams.GenesisHash.String(), &chaincfg.SimNetParams},
		{"regtest", chaincfg.RegressionNetParams.GenesisHash.String(), &chaincfg.RegressionNetParams},
	}
}

func networkByGenesis(genesis string) (Network, error) {
	for _, network := range Networks() {
		if network.Genesis == genesis {
			return network, nil
		}
	}
	return Network{}, fmt.Errorf("unknown network: its first block is %.80s", genesis)
}

// PayoutScript is the output script that pays to the address, which must be one of
// this network.
func (n Network) PayoutScript(address string) ([]byte, error) {
	decoded, err := btcutil.DecodeAddress(address, n.params)
	if err == nil && decoded.IsForNet(n.params) {
		if _, isKey := decoded.(*btcutil.AddressPubKey); isKey {
			return nil, fmt.Errorf("payout address %q is a public key, want an address", address)
		}
		script, err := txscript.PayToAddrScript(decoded)
		if err != nil {
			return nil, fmt.Errorf("payout address %q: %w", address, err)
		}
		return script, nil
	}
	for _, other := range Networks() {
		if a, e := btcutil.DecodeAddress(address, other.params); e == nil && a.IsForNet(other.params) {
			return nil, fmt.Errorf("payout address %q is for %s, but the node is on %s: give an address of %s", address, other.Name, n.Name, n.Name)
		}
	}
	if err == nil {
		err = fmt.Errorf("not an address of a Bitcoin network")
	}
	return nil, fmt.Errorf("payout address %q for %s: %w", address, n.Name, err)
}

// CheckAddress tells whether an address belongs to any network at all: which one it
// must be is known only when a node answers.
func CheckAddress(address string) error {
	for _, n := range Networks() {
		if _, err := n.PayoutScript(address); err == nil {
			return nil
		}
	}
	return fmt.Errorf("payout address %q is no address of any Bitcoin network", address)
}
