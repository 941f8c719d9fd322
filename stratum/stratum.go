// Package stratum speaks Stratum v1, the line-based JSON protocol between miners
// and pools, from both sides: Client mines at a pool, Server serves miners on
// behalf of a Handler. Job turns a mining.notify into 80-byte headers, Difficulty
// and Target convert between pool difficulty and 256-bit targets.
//
// docs/stratum.md lists what is supported and which clients' quirks are honoured.
package stratum

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"
)

// DefaultVersionMask is the version bits that may be rolled (BIP 320).
const DefaultVersionMask = 0x1fffe000

// Difficulty is a pool difficulty: 1 is the target 0xffff·2^208 (pdiff).
type Difficulty float64

// Target is a 256-bit number, big-endian: a hash is a share if it is not above it.
type Target [32]byte

// Job is one mining.notify.
type Job struct {
	ID        string
	PrevBlock chainhash.Hash // internal byte order
	// Coinbase1 and Coinbase2 surround extranonce1 ‖ extranonce2 in the
	// non-witness serialization of the coinbase.
	Coinbase1, Coinbase2 []byte
	MerkleBranch         []chainhash.Hash // internal byte order, sibling of the coinbase first
	Version              uint32           // bits of the version mask are zero in jobs that Server sends
	Bits                 uint32
	Time                 uint32 // unix seconds
	Clean                bool   // earlier jobs are worthless
}

// Share is one mining.submit.
type Share struct {
	Worker      string
	JobID       string
	Extranonce2 []byte
	Time        uint32
	Nonce       uint32
	// VersionBits is the sixth parameter; HasVersionBits whether it was there.
	VersionBits    uint32
	HasVersionBits bool
}

// Error is a refusal as it stands in a reply: [code, text, null].
type Error struct {
	Code int
	Text string
}

func (e *Error) Error() string { return e.Text }

// Codes of Error (slush's, understood by all miners).
const (
	CodeOther         = 20
	CodeStale         = 21 // job not found
	CodeDuplicate     = 22
	CodeLowDifficulty = 23
	CodeUnauthorized  = 24
	CodeNotSubscribed = 25
)

// ---- Client

// ClientOptions configure a Client.
type ClientOptions struct {
	// URL is stratum+tcp://host:port or stratum+tls://host:port.
	URL            string
	User, Password string
	UserAgent      string
	// VersionMask is asked for with mining.configure; 0: DefaultVersionMask.
	VersionMask uint32
	// NoVersionRolling leaves mining.configure out.
	NoVersionRolling bool
	// SuggestDifficulty is sent after authorize; 0: not.
	SuggestDifficulty Difficulty
	// CA are PEM certificates to trust for stratum+tls; nil: the system's.
	CA     []byte
	Logger *slog.Logger
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout bounds dialing and each reply; 0: 30 s. Silence is how long the pool
	// may send nothing; 0: 120 s.
	Timeout, Silence time.Duration
}

// Assignment is a job together with what is needed to search it.
type Assignment struct {
	Job             *Job
	Extranonce1     []byte
	Extranonce2Size int
	Difficulty      Difficulty
	VersionMask     uint32 // 0: no version rolling
	// Generation counts connections; shares of an older one are refused by Submit.
	Generation uint64
}

// ---- Server

// Handler is the pool behind a Server. Calls for one connection come one after
// another, in the order of its lines; calls for several connections come at once.
// A *Error that a method returns is sent to the miner, any other error as CodeOther.
type Handler interface {
	// Connected is called before the first line is read; an error refuses the connection.
	Connected(c *Conn) error
	// Subscribe assigns the search space. resume is the session id that the
	// client asks to resume, or "". It is called again for a repeated subscribe.
	Subscribe(c *Conn, resume string) (Subscription, error)
	Authorize(c *Conn, user, password string) error
	// Authorized is called when the reply to the first authorize is on its way:
	// now send difficulty and job.
	Authorized(c *Conn)
	// Submit judges a share; nil accepts it.
	Submit(c *Conn, s *Share) error
	// SuggestDifficulty is a client's wish (mining.suggest_difficulty, suggest_target,
	// minimum-difficulty, or d= in the password).
	SuggestDifficulty(c *Conn, d Difficulty)
	// Transactions gives the raw transactions of a job for mining.get_transactions.
	Transactions(c *Conn, jobID string) ([][]byte, error)
	// Disconnected is the last call for a connection.
	Disconnected(c *Conn, reason error)
}

// Subscription is the answer to mining.subscribe.
type Subscription struct {
	SessionID       string
	Extranonce1     []byte
	Extranonce2Size int
}

// Header assembles the header of a share: extranonce1 ‖ extranonce2 complete the
// coinbase, version is the complete header version.
func (j *Job) Header(extranonce1, extranonce2 []byte, version, ntime, nonce uint32) wire.BlockHeader {
	return wire.BlockHeader{
		Version:    int32(version),
		PrevBlock:  j.PrevBlock,
		MerkleRoot: j.MerkleRoot(extranonce1, extranonce2),
		Timestamp:  time.Unix(int64(ntime), 0),
		Bits:       j.Bits,
		Nonce:      nonce,
	}
}

// MerkleRoot is the merkle root (internal byte order) for an extranonce.
func (j *Job) MerkleRoot(extranonce1, extranonce2 []byte) chainhash.Hash {
	coinbase := make([]byte, 0, len(j.Coinbase1)+len(extranonce1)+len(extranonce2)+len(j.Coinbase2))
	coinbase = append(coinbase, j.Coinbase1...)
	coinbase = append(coinbase, extranonce1...)
	coinbase = append(coinbase, extranonce2...)
	coinbase = append(coinbase, j.Coinbase2...)
	root := chainhash.DoubleHashH(coinbase)
	var pair [2 * chainhash.HashSize]byte
	for _, sibling := range j.MerkleBranch {
		copy(pair[:32], root[:])
		copy(pair[32:], sibling[:])
		root = chainhash.DoubleHashH(pair[:])
	}
	return root
}

// Conn is one miner's connection to a Server.
type Conn struct{}
