package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/txscript"
)

// Network is a chain that can be mined on: one of Bitcoin's, or one of its cousins.
type Network struct {
	// Name is mainnet, testnet3, testnet4, signet, simnet or regtest, or that of a cousin,
	// or (of a chain that is not known) made of its first block.
	Name    string
	Genesis string // hash of block 0, display order
	// NoVersionRolling says that bits of the version mean something on this chain.
	NoVersionRolling bool
	// params hold the forms of addresses of Bitcoin's own networks; testnet4 shares those
	// of testnet3. nil: it is a cousin.
	params *chaincfg.Params
	forms  *forms // of addresses of a cousin; nil: they are not known
	// late says that a cousin's blocks may be easy at any height if they come late.
	late bool
	// software are words of the version by which nodes of a cousin that shares Bitcoin's
	// first blocks are told apart.
	software []string
}

// Known reports whether there is more to be said of the chain than its first block.
func (n Network) Known() bool { return n.params != nil || n.forms != nil }

// subsidy is the reward of a block without fees, in satoshis.
func (n Network) subsidy(height int64) int64 {
	if n.params == nil {
		return 0
	}
	halvings := height / int64(n.params.SubsidyReductionInterval)
	if halvings >= 64 {
		return 0
	}
	return 50 * btcutil.SatoshiPerBitcoin >> halvings
}

// steadyBits reports whether the block at a height has the bits of the one before it
// for certain: not at a retarget, not on testnets, where late blocks are easier, and not
// on other chains, which have rules of their own.
func (n Network) steadyBits(height int64) bool {
	return n.params != nil && (!n.params.ReduceMinDifficulty && height%2016 != 0 || n.Name == "regtest")
}

// CheckBits says if bits are easier than those of any block of the network.
func (n Network) CheckBits(bits uint32) error {
	if n.params == nil || blockchain.CompactToBig(bits).Cmp(n.params.PowLimit) <= 0 {
		return nil
	}
	return fmt.Errorf("its blocks of bits %08x are easier than any of %s, which begins at %08x", bits, n.Name, n.params.PowLimitBits)
}

// EasyWhenLate reports whether a block at the height must be of the least difficulty if
// it is 20 minutes later than the one before it.
func (n Network) EasyWhenLate(height int64) bool {
	return n.late || n.params != nil && n.params.ReduceMinDifficulty && n.Name != "regtest" && height%2016 != 0
}

// Networks are those whose addresses are known, Bitcoin's first.
func Networks() []Network {
	mainnet, testnet, regtest := chaincfg.MainNetParams.GenesisHash.String(), chaincfg.TestNet3Params.GenesisHash.String(), chaincfg.RegressionNetParams.GenesisHash.String()
	cash, sv, abc := []string{"Bitcoin Cash Node", "BCH Unlimited", "BCHUnlimited", "Knuth", "bchd", "Flowee"}, []string{"Bitcoin SV"}, []string{"Bitcoin ABC"}
	return []Network{
		{Name: "mainnet", Genesis: mainnet, params: &chaincfg.MainNetParams},
		{Name: "testnet3", Genesis: testnet, params: &chaincfg.TestNet3Params},
		{Name: "testnet4", Genesis: "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", params: &chaincfg.TestNet3Params},
		{Name: "signet", Genesis: chaincfg.SigNetParams.GenesisHash.String(), params: &chaincfg.SigNetParams},
		{Name: "simnet", Genesis: chaincfg.SimNetParams.GenesisHash.String(), params: &chaincfg.SimNetParams},
		{Name: "regtest", Genesis: regtest, params: &chaincfg.RegressionNetParams},
		{Name: "bitcoincash", Genesis: mainnet, forms: &forms{keyHash: 0, scriptHash: 5, cash: "bitcoincash"}, software: cash},
		{Name: "bitcoincash-testnet3", Genesis: testnet, forms: &forms{keyHash: 111, scriptHash: 196, cash: "bchtest"}, late: true, software: cash},
		// Chipnet has the first blocks of testnet4.
		{Name: "bitcoincash-testnet4", Genesis: "000000001dd410c49a788668ce26751718cc797474d3152a5fc073dd44fd9f7b", forms: &forms{keyHash: 111, scriptHash: 196, cash: "bchtest"}, late: true},
		{Name: "bitcoincash-regtest", Genesis: regtest, forms: &forms{keyHash: 111, scriptHash: 196, cash: "bchreg"}, software: cash},
		{Name: "bitcoinsv", Genesis: mainnet, forms: &forms{keyHash: 0, scriptHash: 5}, software: sv},
		{Name: "bitcoinsv-regtest", Genesis: regtest, forms: &forms{keyHash: 111, scriptHash: 196}, software: sv},
		{Name: "ecash", Genesis: mainnet, forms: &forms{keyHash: 0, scriptHash: 5, cash: "ecash"}, software: abc},
		{Name: "ecash-testnet3", Genesis: testnet, forms: &forms{keyHash: 111, scriptHash: 196, cash: "ectest"}, late: true, software: abc},
		{Name: "ecash-regtest", Genesis: regtest, forms: &forms{keyHash: 111, scriptHash: 196, cash: "ecregtest"}, software: abc},
		{
			Name: "namecoin", Genesis: "000000000062b72c5e2ceb45fbc8587e807c155b0da735e6483dfba2f0a9c770",
			forms: &forms{keyHash: 52, scriptHash: 13, segwit: "nc"}, NoVersionRolling: true, // its version holds the id of the chain
		},
	}
}

// networkOf finds the network of a node by its first block and what it calls itself.
func networkOf(genesis, software string) Network {
	for _, network := range Networks() {
		for _, words := range network.software {
			if network.Genesis == genesis && strings.Contains(software, words) {
				return network
			}
		}
	}
	for _, network := range Networks() {
		if network.Genesis == genesis && len(network.software) == 0 {
			return network
		}
	}
	return Network{Name: fmt.Sprintf("chain-%.16s", genesis), Genesis: genesis}
}

// forks are the heights from which on chains with Bitcoin's first blocks are told apart, by
// their blocks there; those that parted last first.
var forks = []struct {
	height   int64
	networks map[string]string // names by hash
}{
	{661648, map[string]string{"000000000000000004284c9d8b2c8ff731efeaec6be50729bdc9bd07f910757d": "ecash"}},
	{556767, map[string]string{"000000000000000001d956714215d96ffc00e0afda4cd0a96c96f8d802b1662b": "bitcoinsv"}},
	{478559, map[string]string{
		"000000000000000000651ef99cb9fcbe0dadde1d424bd9f15ff20136191a5eec": "bitcoincash",
		"00000000000000000019f112ec0a9982926f1258cdcc558dd7c3b7e5dc7fa148": "mainnet",
	}},
}

// named is the network of a name that there is.
func named(name string) Network {
	networks := Networks()
	return networks[slices.IndexFunc(networks, func(n Network) bool { return n.Name == name })]
}

// PayoutScript is the output script that pays to the address, which must be one of
// this network, or script: with an output script in hexadecimal.
func (n Network) PayoutScript(address string) ([]byte, error) {
	if script, ok, err := parseScript(address); ok {
		return script, err
	}
	script, err := n.decode(address)
	if err == nil {
		return script, nil
	}
	for _, other := range Networks() {
		if _, e := other.decode(address); e == nil && other.Name != n.Name {
			return nil, fmt.Errorf("payout address %q is for %s, but the node is on %s: give an address of %s, or the script itself (--payout-script)", address, other.Name, n.Name, n.Name)
		}
	}
	return nil, fmt.Errorf("payout address %q for %s: %w", address, n.Name, err)
}

// decode reads an address of this network.
func (n Network) decode(address string) ([]byte, error) {
	switch {
	case !n.Known():
		return nil, errors.New("the addresses of this chain are not known: give the output script (--payout-script)")
	case n.params == nil:
		return n.forms.decode(address)
	}
	decoded, err := btcutil.DecodeAddress(address, n.params)
	if err != nil {
		return nil, err
	}
	if !decoded.IsForNet(n.params) {
		return nil, errors.New("not an address of a Bitcoin network")
	}
	if _, isKey := decoded.(*btcutil.AddressPubKey); isKey {
		return nil, errors.New("it is a public key, want an address")
	}
	return txscript.PayToAddrScript(decoded)
}

// CheckAddress tells whether an address belongs to any network at all: which one it
// must be is known only when a node answers.
func CheckAddress(address string) error {
	if _, ok, err := parseScript(address); ok {
		return err
	}
	for _, n := range Networks() {
		if _, err := n.decode(address); err == nil {
			return nil
		}
	}
	return fmt.Errorf("payout address %q is no address of any network that is known: %s", address, strangeness(address))
}
