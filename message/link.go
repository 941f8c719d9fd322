package message

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/gogo/protobuf/proto"
)

// Reasons not to believe an envelope.
var (
	// ErrForged: it is not from the other end of this launch.
	ErrForged = errors.New("message is not from the other end of this launch")
	// ErrReplayed: its number was taken already, or is too old to tell.
	ErrReplayed = errors.New("message was received before")
	// ErrSession: it is genuine, but of another session of the scheduler.
	ErrSession = errors.New("message is of another session of the scheduler")
)

// KeySize is the size of keys, in bytes.
const KeySize = 32

// LaunchKeys are the secrets of launches: they follow from the framework's secret by
// HKDF (RFC 5869), so a scheduler that was restarted knows them again. It is not safe for
// concurrent use.
type LaunchKeys struct {
	framework string
	mac       hash.Hash // keyed with the pseudorandom key
	info      []byte    // to be used again
}

// NewLaunchKeys extracts from the secret what all keys of a framework follow from.
func NewLaunchKeys(secret []byte, framework string) *LaunchKeys {
	prk, err := hkdf.Extract(sha256.New, secret, []byte(framework))
	if err != nil { // only of a hash that is not approved
		panic(err)
	}
	return &LaunchKeys{framework: framework, mac: hmac.New(sha256.New, prk)}
}

// Framework is the id that the keys are of.
func (k *LaunchKeys) Framework() string { return k.framework }

// Of returns the key of the launch of a task.
func (k *LaunchKeys) Of(task string) []byte {
	k.info = append(append(k.info[:0], "lode launch "...), task...)
	return expand(k.mac, k.info)
}

// expand is HKDF-Expand with a MAC that is keyed already: one block of it is enough for a
// key (RFC 5869, section 2.3).
func expand(mac hash.Hash, info []byte) []byte {
	mac.Reset()
	mac.Write(info)
	mac.Write([]byte{1})
	return mac.Sum(make([]byte, 0, KeySize))
}

// Sealer is one end of the link between the scheduler and the executor of one
// launch: what it sends the other end can prove to be of it, what it opens is of the
// other end and new. It is not safe for concurrent use.
type Sealer struct {
	send, receive [KeySize]byte // keys of the directions
	follows       bool          // it takes over the sessions of the other end
	session       uint64
	counter       uint64 // of the last message sent
	window        window
}

// SchedulerEnd is the scheduler's end. Sessions of a launch must only grow.
func SchedulerEnd(key []byte, session uint64) *Sealer {
	executor, scheduler := directions(key)
	return &Sealer{send: executor, receive: scheduler, session: session}
}

// ExecutorEnd is the executor's end, with the session of its Task.
func ExecutorEnd(key []byte, session uint64) *Sealer {
	executor, scheduler := directions(key)
	return &Sealer{send: scheduler, receive: executor, session: session, follows: true}
}

// directions are the keys of what is sent to each end.
func directions(key []byte) (executor, scheduler [KeySize]byte) {
	mac := hmac.New(sha256.New, key)
	return [KeySize]byte(expand(mac, []byte("lode to executor"))), [KeySize]byte(expand(mac, []byte("lode to scheduler")))
}

// Session is that of the scheduler, as far as this end knows.
func (s *Sealer) Session() uint64 { return s.session }

// Seal encodes a ToExecutor or ToScheduler, whose Version the caller has set.
func (s *Sealer) Seal(m proto.Message) ([]byte, error) {
	body, err := Encode(m)
	if err != nil {
		return nil, err
	}
	s.counter++
	sum := mac(&s.send, s.session, s.counter, body)
	return Encode(&Envelope{Version: Version, Body: body, Session: s.session, Counter: s.counter, Mac: sum[:]})
}

// OpenToScheduler reads an envelope to the scheduler.
func (s *Sealer) OpenToScheduler(b []byte) (*ToScheduler, error) {
	body, err := s.open(b)
	if err != nil {
		return nil, err
	}
	return DecodeToScheduler(body)
}

// OpenToExecutor reads an envelope to the executor.
func (s *Sealer) OpenToExecutor(b []byte) (*ToExecutor, error) {
	body, err := s.open(b)
	if err != nil {
		return nil, err
	}
	return DecodeToExecutor(body)
}

func (s *Sealer) open(b []byte) ([]byte, error) {
	e := new(Envelope)
	if err := decode(b, e); err != nil {
		return nil, err
	}
	if sum := mac(&s.receive, e.Session, e.Counter, e.Body); !hmac.Equal(e.Mac, sum[:]) {
		return nil, ErrForged
	}
	switch {
	case e.Session > s.session && s.follows:
		s.session, s.window = e.Session, window{}
	case e.Session != s.session:
		return nil, ErrSession
	}
	if !s.window.take(e.Counter) {
		return nil, ErrReplayed
	}
	return e.Body, nil
}

// mac is HMAC-SHA-256 (RFC 2104) of a message and its numbers, big-endian. It is written
// out because crypto/hmac makes seven objects, of 528 bytes, for each key: it takes 1.4
// times as long, for thousands of reports a second of which each has a key of its own, and
// to keep them would take half again as much memory a link. A test holds the two together.
func mac(key *[KeySize]byte, session, counter uint64, body []byte) (sum [sha256.Size]byte) {
	var inner, outer [sha256.BlockSize]byte
	for i := range inner {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	var numbers [16]byte
	binary.BigEndian.PutUint64(numbers[:8], session)
	binary.BigEndian.PutUint64(numbers[8:], counter)
	h := sha256.New()
	h.Write(inner[:])
	h.Write(numbers[:])
	h.Write(body)
	h.Sum(sum[:0])
	h.Reset()
	h.Write(outer[:])
	h.Write(sum[:])
	h.Sum(sum[:0])
	return sum
}

// windowSize is how many messages one may overtake another: an executor's outbox
// holds at most 256.
const windowSize = 512

// window remembers which of the newest counters were taken.
type window struct {
	newest uint64
	taken  [windowSize / 64]uint64 // by counter modulo windowSize
}

func (w *window) take(n uint64) bool {
	switch {
	case n == 0 || n+windowSize <= w.newest:
		return false
	case n > w.newest:
		if n-w.newest >= windowSize {
			w.taken = [windowSize / 64]uint64{}
		} else {
			for i := w.newest + 1; i < n; i++ {
				w.taken[i%windowSize/64] &^= 1 << (i % 64)
			}
		}
		w.newest = n
	case w.taken[n%windowSize/64]&(1<<(n%64)) != 0:
		return false
	}
	w.taken[n%windowSize/64] |= 1 << (n % 64)
	return true
}

// NewSecretsKey makes the key pair that an executor asks for its Secrets with.
func NewSecretsKey() (hpke.PrivateKey, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for secrets: %w", err)
	}
	return hpke.NewDHKEMPrivateKey(private)
}

// SealSecrets encrypts s to the key that the executor of a task said Hello with.
func SealSecrets(public []byte, task string, s *Secrets) ([]byte, error) {
	key, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("key for secrets of %s: %w", task, err)
	}
	plain, err := proto.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode secrets: %w", err)
	}
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), secretsInfo(task), plain)
	clear(plain)
	if err != nil {
		return nil, fmt.Errorf("encrypt secrets of %s: %w", task, err)
	}
	return sealed, nil
}

// OpenSecrets decrypts what SealSecrets made for key.
func OpenSecrets(key hpke.PrivateKey, task string, sealed []byte) (*Secrets, error) {
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), secretsInfo(task), sealed)
	if err != nil {
		return nil, fmt.Errorf("decrypt secrets of %s: %w", task, err)
	}
	s := new(Secrets)
	if err := proto.Unmarshal(plain, s); err != nil {
		return nil, fmt.Errorf("decode secrets: %w", err)
	}
	return s, nil
}

func secretsInfo(task string) []byte { return []byte("lode secrets " + task) }
