//go:build !amd64 || purego

package merkle

import "github.com/btcsuite/btcd/chaincfg/chainhash"

const accelerated = false

// start is a message's beginning; nothing of it is hashed ahead.
type start struct {
	state struct{}
	whole int
}

// None of these is called: accelerated is false.

func (*start) take([]byte)                                    {}
func fastDouble([]byte) (hash chainhash.Hash)                 { return hash }
func fastDigest(*struct{}, []byte, *chainhash.Hash)           {}
func fastDigestPair(*struct{}, []byte, *[2]chainhash.Hash)    {}
func fastHeaders(*[2][2 * blockSize]byte, *[2]chainhash.Hash) {}
func fastFold(*chainhash.Hash, []chainhash.Hash)              {}
func fastFoldPair(*[2]chainhash.Hash, []chainhash.Hash)       {}
func fastParents([]chainhash.Hash)                            {}
