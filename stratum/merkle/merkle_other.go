//go:build !amd64 || purego

package merkle

import "github.com/btcsuite/btcd/chaincfg/chainhash"

const (
	accelerated = false
	wide        = false
	lanes       = 1
	wideLeast   = 1
)

type wideScratch struct{}

// start is a message's beginning; nothing of it is hashed ahead.
type start struct {
	state struct{}
	whole int
}

// None of these is called: accelerated and wide are false.

func (*start) take([]byte) {}

func fastDouble([]byte) (hash chainhash.Hash)                                { return hash }
func fastDigest(*struct{}, []byte, *chainhash.Hash)                          {}
func fastDigestPair(*struct{}, []byte, *[2]chainhash.Hash)                   {}
func fastHeaders(*[2][HeaderSize]byte, *[2]chainhash.Hash)                   {}
func fastFold(*chainhash.Hash, []chainhash.Hash)                             {}
func fastFoldPair(*[2]chainhash.Hash, []chainhash.Hash)                      {}
func fastParents(level []chainhash.Hash) []chainhash.Hash                    { return level }
func wideRoots(*Scratch, *struct{}, int, []chainhash.Hash, []chainhash.Hash) {}
func wideHeaders(*Scratch, [][HeaderSize]byte, []chainhash.Hash)             {}
func wideParents([]chainhash.Hash) int                                       { return 0 }
