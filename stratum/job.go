package stratum

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/wire"

	"lode/stratum/merkle"
)

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

	bareID bool // ID came as a number
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

// HeaderBytes is Header in its 80-byte form, without allocations: scratch is used
// for the coinbase and returned, perhaps grown, for the next call.
func (j *Job) HeaderBytes(scratch, extranonce1, extranonce2 []byte, version, ntime, nonce uint32) (header [80]byte, _ []byte) {
	scratch = j.appendCoinbase(scratch[:0], extranonce1, extranonce2)
	root := j.foldBranch(scratch)
	binary.LittleEndian.PutUint32(header[0:], version)
	copy(header[4:], j.PrevBlock[:])
	copy(header[36:], root[:])
	binary.LittleEndian.PutUint32(header[68:], ntime)
	binary.LittleEndian.PutUint32(header[72:], j.Bits)
	binary.LittleEndian.PutUint32(header[76:], nonce)
	return header, scratch
}

// MerkleRoot is the merkle root (internal byte order) for an extranonce.
func (j *Job) MerkleRoot(extranonce1, extranonce2 []byte) chainhash.Hash {
	size := len(j.Coinbase1) + len(extranonce1) + len(extranonce2) + len(j.Coinbase2)
	return j.foldBranch(j.appendCoinbase(make([]byte, 0, size), extranonce1, extranonce2))
}

func (j *Job) appendCoinbase(b, extranonce1, extranonce2 []byte) []byte {
	b = append(b, j.Coinbase1...)
	b = append(b, extranonce1...)
	b = append(b, extranonce2...)
	return append(b, j.Coinbase2...)
}

func (j *Job) foldBranch(coinbase []byte) chainhash.Hash {
	return merkle.Fold(merkle.Double(coinbase), j.MerkleBranch)
}

// Height is the height that the coinbase's script begins with (BIP 34); ok: it tells one
// above 0.
func (j *Job) Height() (height int64, ok bool) {
	// A script of at most 100 bytes has a length of one byte.
	const script = 4 + 1 + 36 + 1 // version, count of inputs, previous output, length
	if len(j.Coinbase1) <= script {
		return 0, false
	}
	push, rest := j.Coinbase1[script], j.Coinbase1[script+1:]
	switch {
	case push >= 0x51 && push <= 0x60: // OP_1 to OP_16
		return int64(push) - 0x50, true
	case push < 1 || push > 5 || len(rest) < int(push) || rest[push-1]&0x80 != 0: // the sign
		return 0, false
	}
	for i := int(push) - 1; i >= 0; i-- {
		height = height<<8 | int64(rest[i])
	}
	return height, height > 0
}

// ShareVersion is the header version of a share whose job may be rolled in mask
// (BIP 310): the job's version with the bits of mask replaced. A share without
// version bits is taken to have none set; bits outside of mask are a *Error, but for those
// of the job: some devices hand in the version as a whole.
func (j *Job) ShareVersion(mask uint32, s *Share) (uint32, error) {
	if !s.HasVersionBits {
		return j.Version, nil
	}
	if s.VersionBits&^mask != 0 && s.VersionBits&^mask != j.Version&^mask {
		return 0, errVersionBits
	}
	if s.VersionBits == 0 {
		return j.Version, nil
	}
	return j.Version&^mask | s.VersionBits&mask, nil
}

var errVersionBits = &Error{CodeOther, "Version bits outside of the mask"}

// EncodedJob is a Job as the mining.notify line that miners get: made once,
// shared by all connections, never changed.
type EncodedJob struct {
	id    string
	clean bool
	line  []byte
	// Since is when the reason for the job (a block, a template) was learnt;
	// Server measures from it how long the job takes to reach the last miner.
	Since time.Time
}

// EncodeJob encodes j; its Since is now.
func EncodeJob(j *Job) *EncodedJob {
	b := make([]byte, 0, 256+len(j.ID)+2*(len(j.Coinbase1)+len(j.Coinbase2))+67*len(j.MerkleBranch))
	b = append(b, `{"id":null,"method":"mining.notify","params":[`...)
	b = appendString(b, j.ID)
	b = append(b, `,"`...)
	prev := swapWords(j.PrevBlock)
	b = hex.AppendEncode(b, prev[:])
	b = append(b, `","`...)
	b = hex.AppendEncode(b, j.Coinbase1)
	b = append(b, `","`...)
	b = hex.AppendEncode(b, j.Coinbase2)
	b = append(b, `",[`...)
	for i := range j.MerkleBranch {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, j.MerkleBranch[i][:])
		b = append(b, '"')
	}
	b = append(b, `],"`...)
	b = appendHex32(b, j.Version)
	b = append(b, `","`...)
	b = appendHex32(b, j.Bits)
	b = append(b, `","`...)
	b = appendHex32(b, j.Time)
	b = append(b, `",`...)
	b = strconv.AppendBool(b, j.Clean)
	b = append(b, "]}\n"...)
	return &EncodedJob{id: j.ID, clean: j.Clean, line: b, Since: time.Now()}
}

// ID is the job's id, Clean its clean_jobs flag, Line its wire form with the line
// feed; the line must not be changed.
func (e *EncodedJob) ID() string   { return e.id }
func (e *EncodedJob) Clean() bool  { return e.clean }
func (e *EncodedJob) Line() []byte { return e.line }

// swapWords reverses the bytes in each of the eight 4-byte words: the form that
// mining.notify gives to the previous block's hash in header order, and back.
func swapWords(h chainhash.Hash) chainhash.Hash {
	for i := 0; i < len(h); i += 4 {
		binary.BigEndian.PutUint32(h[i:], binary.LittleEndian.Uint32(h[i:]))
	}
	return h
}
