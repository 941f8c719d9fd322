package task

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"strings"
	"sync/atomic"

	"lode/message"
)

// workerKeys are the keys that miners' passwords may be of. They are changed while
// miners log in.
type workerKeys struct {
	current atomic.Pointer[message.Secrets]
}

// set takes over the keys of newer secrets.
func (k *workerKeys) set(s *message.Secrets) {
	mine := &message.Secrets{Epoch: s.Epoch, WorkerKey: bytes.Clone(s.WorkerKey)}
	for _, key := range s.FormerKeys {
		if len(key) > 0 {
			mine.FormerKeys = append(mine.FormerKeys, bytes.Clone(key))
		}
	}
	for {
		old := k.current.Load()
		if old != nil && (old.Epoch >= s.Epoch || len(s.WorkerKey) == 0) || k.current.CompareAndSwap(old, mine) {
			return
		}
	}
}

func (k *workerKeys) epoch() uint64 { return k.current.Load().GetEpoch() }

// authorize accepts the miners of this cluster. Options that miners put behind the
// password, as in "x,d=1024", are not part of it.
func (k *workerKeys) authorize(user, password string) error {
	password, _, _ = strings.Cut(password, ",")
	s := k.current.Load()
	good := 0
	for _, key := range append([][]byte{s.GetWorkerKey()}, s.GetFormerKeys()...) {
		if len(key) > 0 {
			good |= subtle.ConstantTimeCompare([]byte(message.WorkerPassword(key, user)), []byte(password))
		}
	}
	if good != 1 {
		return errors.New("wrong user or password: this proxy serves the miners of one Mesos framework")
	}
	return nil
}
