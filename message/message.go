// Package message is the contract between the scheduler and the executors: what
// stands in TaskInfo.data and in framework messages. message.proto says what each
// message means and when it is sent; message.pb.go is generated from it (make generate).
package message

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/gogo/protobuf/proto"
)

//go:generate go -C _gen run . ../message.proto ../message.pb.go ../../docs/messages.md

// Version is the version of the contract that this program speaks.
const Version = 2

// MaxSize bounds an encoded message, in bytes: every message passes through the
// single actor of a Mesos master and must fit well into one RecordIO frame.
const MaxSize = 300 << 10

// BlockPartSize is the most bytes of a block in one Block message.
const BlockPartSize = 256 << 10

// FirstLinked is the first version whose messages travel in envelopes.
const FirstLinked = 2

// ErrVersion says that a message was written for a newer program.
var ErrVersion = errors.New("message is of a newer version")

type versioned interface {
	proto.Message
	GetVersion() uint32
}

// Encode returns the wire form of a Task, ToExecutor or ToScheduler, whose
// Version the caller has set.
func Encode(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("encode %T: %d bytes are more than the limit of %d", m, len(b), MaxSize)
	}
	return b, nil
}

// DecodeTask reads TaskInfo.data.
func DecodeTask(b []byte) (*Task, error) {
	m := new(Task)
	return m, decode(b, m)
}

// DecodeToExecutor reads a framework message that an executor received.
func DecodeToExecutor(b []byte) (*ToExecutor, error) {
	m := new(ToExecutor)
	return m, decode(b, m)
}

// DecodeToScheduler reads a framework message that the scheduler received.
func DecodeToScheduler(b []byte) (*ToScheduler, error) {
	m := new(ToScheduler)
	return m, decode(b, m)
}

func decode(b []byte, m versioned) error {
	if len(b) > MaxSize {
		return fmt.Errorf("decode %T: %d bytes are more than the limit of %d", m, len(b), MaxSize)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("decode %T: %w", m, err)
	}
	switch v := m.GetVersion(); {
	case v == 0:
		return fmt.Errorf("decode %T: no version: not a message of Lode", m)
	case v > Version:
		return fmt.Errorf("decode %T of version %d with version %d: %w", m, v, Version, ErrVersion)
	}
	return nil
}

// WorkerPassword is the Stratum password of a miner that this cluster launched:
// HMAC-SHA-256 of its user name under the cluster's worker key, in hex. A proxy
// that has the key can check any miner without a list.
func WorkerPassword(key []byte, user string) string { return NewWorkerPasswords(key).Of(user) }

// WorkerPasswords makes many of one key. It is not safe for concurrent use.
type WorkerPasswords struct {
	mac  hash.Hash
	user []byte // to be used again
	sum  [sha256.Size]byte
}

// NewWorkerPasswords keeps a worker key ready.
func NewWorkerPasswords(key []byte) *WorkerPasswords {
	return &WorkerPasswords{mac: hmac.New(sha256.New, key)}
}

// Of returns the password of a user.
func (p *WorkerPasswords) Of(user string) string {
	p.user = append(p.user[:0], user...)
	p.mac.Reset()
	p.mac.Write(p.user)
	var text [2 * sha256.Size]byte
	return string(hex.AppendEncode(text[:0], p.mac.Sum(p.sum[:0])))
}
