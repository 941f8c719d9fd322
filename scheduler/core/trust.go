package core

import (
	cryptorand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler/calls"

	"lode/message"
)

// A message of an executor is believed because it carries the key of its launch
// (message.Sealer), and for no other reason: whoever subscribes at an agent in an
// executor's name may send what he likes. docs/security.md has the whole.

// Proxies that ended may still have found a block.
const (
	mostRetired = 32
	retiredLife = time.Hour
	// welcomePause is the least time between two answers to messages of a session of
	// before, complaintPause that between two log lines about one kind of refusal.
	welcomePause   = time.Second
	complaintPause = time.Minute
)

// Retired is a proxy that ended lately.
type Retired struct {
	ID      string    `json:"id"`
	AgentID string    `json:"agent_id"`
	Version uint32    `json:"version,omitempty"`
	At      time.Time `json:"at"`
}

// peer is the executor of one launch.
type peer struct {
	id, agentID string
	version     uint32          // of its messages
	sealer      *message.Sealer // nil: of a version that had no keys
	welcomed    time.Duration   // nothing is answered before
}

// complaints are kinds of refused messages, and since when nothing was said of them.
type complaint struct {
	count uint64
	quiet time.Duration // nothing is said of it before
}

// begin starts a session: what executors sent to a scheduler of before is not taken
// again. It must be stored before anything is sent.
func (c *Core) begin() {
	if c.begun {
		return
	}
	c.begun = true
	// The clock keeps it growing even where an old state was brought back.
	c.state.Session = max(c.state.Session+1, uint64(max(0, c.now.UnixMilli())))
	c.dirty = true
}

// ensureLinkKey gives a state of before a secret to derive the launches' keys from.
func (s *State) ensureLinkKey() {
	if len(s.LinkKey) > 0 {
		return
	}
	s.LinkKey = make([]byte, message.KeySize)
	_, _ = cryptorand.Read(s.LinkKey) // never fails
}

// peerOf returns the executor of a task.
func (c *Core) peerOf(t *Task) *peer {
	r := t.run
	if r.peer == nil {
		r.peer = c.newPeer(t.ID, t.AgentID, t.Version)
	}
	return r.peer
}

func (c *Core) newPeer(id, agentID string, version uint32) *peer {
	p := &peer{id: id, agentID: agentID, version: max(version, 1)}
	if version >= message.FirstLinked {
		p.sealer = message.SchedulerEnd(c.launchKey(id), c.state.Session)
	}
	return p
}

func (c *Core) launchKey(id string) []byte {
	if c.keys == nil || c.keys.Framework() != c.state.FrameworkID {
		c.keys = message.NewLaunchKeys(c.state.LinkKey, c.state.FrameworkID)
	}
	return c.keys.Of(id)
}

// retire remembers a proxy whose blocks may still come.
func (c *Core) retire(t *Task) {
	if t.Kind != KindProxy {
		return
	}
	c.forgetRetired()
	if n := len(c.state.Retired); n >= mostRetired {
		c.dropRetired(n - mostRetired + 1)
	}
	c.state.Retired = append(c.state.Retired, &Retired{ID: t.ID, AgentID: t.AgentID, Version: t.Version, At: c.now})
	if c.retired == nil {
		c.retired = make(map[string]*peer)
	}
	c.retired[t.ID] = c.peerOf(t)
}

func (c *Core) forgetRetired() {
	n := 0
	for n < len(c.state.Retired) && c.now.Sub(c.state.Retired[n].At) > retiredLife {
		n++
	}
	c.dropRetired(n)
}

// dropRetired forgets the n oldest.
func (c *Core) dropRetired(n int) {
	if n == 0 {
		return
	}
	for _, r := range c.state.Retired[:n] {
		delete(c.retired, r.ID)
	}
	c.state.Retired = slices.Delete(c.state.Retired, 0, n)
	c.dirty = true
}

// retiredPeer returns the executor of a proxy that ended lately; nil: there was none
// of that id.
func (c *Core) retiredPeer(id string) *peer {
	if p := c.retired[id]; p != nil {
		return p
	}
	for _, r := range c.state.Retired {
		if r.ID == id && c.now.Sub(r.At) <= retiredLife {
			p := c.newPeer(r.ID, r.AgentID, r.Version)
			if c.retired == nil {
				c.retired = make(map[string]*peer)
			}
			c.retired[id] = p
			return p
		}
	}
	return nil
}

// open reads a framework message if it is from the executor that it claims to be
// from. t is nil for that of a retired proxy. nil m: it was refused.
func (c *Core) open(e Message) (m *message.ToScheduler, p *peer, t *Task) {
	if t = c.state.Tasks[e.ExecutorID]; t != nil {
		p = c.peerOf(t)
	} else if p = c.retiredPeer(e.ExecutorID); p == nil {
		// Usually the last words of a task whose end came first.
		c.refuse("unknown_task", slog.LevelDebug, e, errors.New("there is no such task"))
		return nil, nil, nil
	}
	if p.agentID != e.AgentID {
		c.refuse("other_agent", slog.LevelWarn, e, fmt.Errorf("the task is on agent %s", p.agentID))
		return nil, nil, nil
	}
	m, err := p.open(e.Data)
	switch {
	case errors.Is(err, message.ErrSession):
		c.refuse("session", slog.LevelDebug, e, err)
		if c.up >= p.welcomed {
			p.welcomed = c.up + welcomePause
			c.sendTo(p, &message.ToExecutor{Event: &message.ToExecutor_Welcome{Welcome: &message.Welcome{}}})
		}
	case errors.Is(err, message.ErrForged):
		c.refuse("forged", slog.LevelWarn, e, err)
	case errors.Is(err, message.ErrReplayed):
		c.refuse("replayed", slog.LevelInfo, e, err)
	case err != nil:
		c.refuse("unreadable", slog.LevelWarn, e, err)
	case m.TaskId != e.ExecutorID:
		c.refuse("other_task", slog.LevelWarn, e, fmt.Errorf("it speaks for task %.80q", m.TaskId))
	default:
		return m, p, t
	}
	return nil, nil, nil
}

func (p *peer) open(data []byte) (*message.ToScheduler, error) {
	if p.sealer != nil {
		return p.sealer.OpenToScheduler(data)
	}
	m, err := message.DecodeToScheduler(data)
	if err == nil && m.Version >= message.FirstLinked {
		return nil, message.ErrForged // its executor speaks an older version
	}
	return m, err
}

// refuse counts a message that is not believed and tells of it, once a minute for
// each kind: whoever sends a million of them must not fill the log.
func (c *Core) refuse(kind string, level slog.Level, e Message, err error) {
	c.counters.BadMessages++
	if c.counters.Refused == nil {
		c.counters.Refused = make(map[string]uint64)
		c.complaints = make(map[string]*complaint)
	}
	c.counters.Refused[kind]++
	told := c.complaints[kind]
	if told == nil {
		told = new(complaint)
		c.complaints[kind] = told
	}
	told.count++
	if c.up < told.quiet {
		return
	}
	c.notice(level, "message in an executor's name refused", "kind", kind,
		"agent", limit(e.AgentID, 255), "executor", limit(e.ExecutorID, 255), "error", err, "count", told.count)
	told.quiet, told.count = c.up+complaintPause, 0
}

// sendTo sends a framework message to an executor.
func (c *Core) sendTo(p *peer, m *message.ToExecutor) {
	if !c.connected {
		return
	}
	m.Version = p.version
	var b []byte
	var err error
	if p.sealer != nil {
		m.Version = message.Version
		b, err = p.sealer.Seal(m)
	} else {
		b, err = message.Encode(m)
	}
	if err != nil {
		c.notice(slog.LevelError, "cannot encode a message", "task", p.id, "error", err)
		return
	}
	c.call(calls.Message(p.agentID, p.id, b))
}

// giveSecrets answers a proxy's Hello. They go to proxies that are wanted, when they
// ask, encrypted to the first key that they asked with, and nowhere else.
func (c *Core) giveSecrets(t *Task, h *message.Hello, e Message) {
	r, p := t.run, c.peerOf(t)
	switch {
	case !h.NeedSecrets, t.Kill != "", !c.connected, c.up < r.secretsAt:
		return
	case p.sealer == nil:
		c.kill(t, WhyVersion)
		return
	case h.ExecutorDigest != t.Digest:
		c.refuse("digest", slog.LevelWarn, e, fmt.Errorf("it asks for secrets as binary %.64q, launched was %s", h.ExecutorDigest, t.Digest))
		return
	case len(t.Key) == 0 && len(h.PublicKey) > 0:
		t.Key = slices.Clone(h.PublicKey[:min(len(h.PublicKey), 64)])
		c.changed(t)
	case len(h.PublicKey) == 0, !slices.Equal(t.Key, h.PublicKey):
		c.refuse("key", slog.LevelError, e, errors.New("secrets were asked for with a second key: the key of this launch is in other hands"))
		return
	}
	c.sendSecrets(t)
}

func (c *Core) sendSecrets(t *Task) {
	sealed, err := message.SealSecrets(t.Key, t.ID, &message.Secrets{
		Upstreams: c.set.Secrets, WorkerKey: c.state.WorkerKey, FormerKeys: c.state.FormerKeys, Epoch: c.state.KeyEpoch + 1,
	})
	if err != nil {
		c.notice(slog.LevelWarn, "cannot encrypt secrets", "task", t.ID, "error", err)
		return
	}
	t.run.secretsAt = c.up + time.Second
	c.sendTo(c.peerOf(t), &message.ToExecutor{Event: &message.ToExecutor_SealedSecrets{SealedSecrets: sealed}})
	sum := sha256.Sum256(t.Key)
	c.tell(SecretsGiven{Task: c.view(t), What: fmt.Sprintf("secrets of epoch %d given to key %x", c.state.KeyEpoch+1, sum[:8])})
}

// renewSecrets brings running proxies the keys of now, until they say that they have
// them.
func (c *Core) renewSecrets() {
	for _, t := range c.proxyTasks() {
		r := t.run
		if t.State == stateRunning && len(t.Key) > 0 && r.report != nil && r.secretsEpoch > 0 &&
			r.secretsEpoch < c.state.KeyEpoch+1 && c.up >= r.secretsAt+listFirst-time.Second {
			c.sendSecrets(t)
		}
	}
	c.retireKeys()
}

// proxyTasks are the proxies that are wanted.
func (c *Core) proxyTasks() (all []*Task) {
	for _, s := range c.slots {
		for _, t := range []*Task{s.active, s.next} {
			if t != nil {
				all = append(all, t)
			}
		}
	}
	return all
}

// RotateKeys makes Key the key of new miners' passwords. The former one goes on being
// good until every miner that has a password of it was replaced, a few at a time;
// with Revoke it is void at once, and the proxy is replaced, with all connections
// that were made with it.
type RotateKeys struct {
	Key    []byte
	Revoke bool
}

func (RotateKeys) event() {}

func (c *Core) rotateKeys(e RotateKeys) {
	if len(e.Key) != message.KeySize {
		c.notice(slog.LevelError, "worker key is not rotated: the new one has a wrong size", "bytes", len(e.Key))
		return
	}
	s := c.state
	if e.Revoke {
		s.FormerKeys = nil
		for _, p := range c.proxyTasks() {
			c.kill(p, WhyRevoked)
		}
	} else {
		s.FormerKeys = append([][]byte{s.WorkerKey}, s.FormerKeys...)
		s.FormerKeys = s.FormerKeys[:min(len(s.FormerKeys), 4)]
	}
	s.WorkerKey = slices.Clone(e.Key)
	c.passwords = message.NewWorkerPasswords(s.WorkerKey)
	s.KeyEpoch++
	c.former = 0
	for _, t := range c.tasks {
		if t.Kind == KindMiner {
			c.former++
		}
	}
	c.dirty = true
	c.notice(slog.LevelInfo, "the key of the miners' passwords is rotated", "epoch", s.KeyEpoch+1, "revoked", e.Revoke)
	for _, t := range c.proxyTasks() {
		if len(t.Key) > 0 && c.connected {
			c.sendSecrets(t)
		}
	}
	c.beginRollout()
}

// retireKeys ends the validity of former keys that no miner has a password of.
func (c *Core) retireKeys() {
	if len(c.state.FormerKeys) == 0 || c.former > 0 || !c.settled() {
		return
	}
	c.state.FormerKeys = nil
	c.state.KeyEpoch++ // another set of keys, though the newest is the same
	for _, t := range c.tasks {
		if t.Kind == KindMiner {
			t.KeyEpoch = c.state.KeyEpoch
			c.changed(t)
		}
	}
	c.dirty = true
	c.notice(slog.LevelInfo, "the former key of the miners' passwords is void")
}
