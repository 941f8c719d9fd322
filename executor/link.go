package executor

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"sync"
	"time"

	"lode/message"
)

// link is the executor's end of what it shares with the scheduler. A launch of
// version 1 has no key: its messages travel as they are, as they did then.
type link struct {
	task    string
	version uint32

	mu      sync.Mutex
	sealer  *message.Sealer // nil: version 1
	key     hpke.PrivateKey // of Secrets; nil: version 1
	refused int             // messages since told
	told    time.Time
}

func newLink(task string, spec *message.Task) (*link, error) {
	l := &link{task: task, version: spec.Version}
	if spec.Version < message.FirstLinked {
		return l, nil
	}
	if n := len(spec.GetLink().GetKey()); n != message.KeySize {
		return nil, fmt.Errorf("the launch has a key of %d bytes, expected %d", n, message.KeySize)
	}
	var err error
	l.sealer = message.ExecutorEnd(spec.Link.Key, spec.Link.Session)
	l.key, err = message.NewSecretsKey()
	return l, err
}

// seal encodes a message to the scheduler.
func (l *link) seal(m *message.ToScheduler) ([]byte, error) {
	m.Version, m.TaskId = l.version, l.task
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealer == nil {
		return message.Encode(m)
	}
	if h := m.GetHello(); h != nil && h.NeedSecrets {
		h.PublicKey = l.key.PublicKey().Bytes()
	}
	return l.sealer.Seal(m)
}

// open reads a message of the scheduler. fresh: it is the first of a new session, so
// what was sent before is lost.
func (l *link) open(data []byte) (m *message.ToExecutor, fresh bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealer == nil {
		m, err = message.DecodeToExecutor(data)
		return m, false, err
	}
	before := l.sealer.Session()
	if m, err = l.sealer.OpenToExecutor(data); err != nil {
		return nil, false, err
	}
	switch event := m.Event.(type) {
	case *message.ToExecutor_Secrets:
		return nil, false, errors.New("secrets that are not encrypted")
	case *message.ToExecutor_SealedSecrets:
		secrets, err := message.OpenSecrets(l.key, l.task, event.SealedSecrets)
		if err != nil {
			return nil, false, err
		}
		m.Event = &message.ToExecutor_Secrets{Secrets: secrets}
	}
	return m, l.sealer.Session() != before, nil
}

// complaint says how many messages were refused, when it is time to: whoever sends
// many must not fill the log.
func (l *link) complaint() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if time.Since(l.told) < time.Minute {
		return 0
	}
	n := l.refused
	l.told, l.refused = time.Now(), 0
	return n
}
