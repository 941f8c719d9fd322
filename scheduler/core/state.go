package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"lode/scheduler/constraint"
)

// stateVersion is raised when an old program would misread a new state.
const stateVersion = 1

// Kinds of tasks.
const (
	KindProxy = "proxy"
	KindMiner = "miner"
)

// ErrState says that a stored state cannot be used.
var ErrState = errors.New("scheduler state is unusable")

// State is what must survive the process.
type State struct {
	Version     int    `json:"version"`
	FrameworkID string `json:"framework_id"`
	// NextTask numbers tasks; a number is never used twice for a framework id.
	NextTask uint64 `json:"next_task"`
	// Epoch numbers proxies and lists of proxies. It only grows.
	Epoch   uint64    `json:"epoch"`
	Proxies ProxyList `json:"proxies"`
	// Removed says that the master ended the framework.
	Removed bool `json:"removed,omitempty"`
	// Begun is set by --new-framework and cleared by a start without it: a flag that
	// is left in a unit file begins one new framework, not one at every restart.
	Begun bool `json:"begun,omitempty"`
	// Former is the framework that --new-framework left behind, until a proxy of this one
	// serves: Mesos keeps its tasks, and they the resources.
	Former string `json:"former,omitempty"`
	// Bad is the executor binary that turned out not to run.
	Bad *BadArtifact `json:"bad,omitempty"`
	// WorkerKey makes the miners' passwords. It is secret.
	WorkerKey []byte `json:"worker_key"`
	// FormerKeys are good while miners that have passwords of them run, newest first.
	// KeyEpoch counts changes of the two.
	FormerKeys [][]byte `json:"former_keys,omitempty"`
	KeyEpoch   uint64   `json:"key_epoch,omitempty"`
	// LinkKey is what the keys of launches follow from. It is secret. Session numbers
	// the starts of the scheduler; it only grows.
	LinkKey []byte `json:"link_key,omitempty"`
	Session uint64 `json:"session,omitempty"`
	// Retired are proxies that ended lately, oldest first.
	Retired []*Retired `json:"retired,omitempty"`
	// RulePause is what the rule that mining pauses for says; "": it does not.
	RulePause string `json:"rule_pause,omitempty"`
	// Operator is what operators decided.
	Operator Operator `json:"operator,omitzero"`
	// Chain is what a node last said of its chain; nil: none ever did.
	Chain  *Chain           `json:"chain,omitempty"`
	Tasks  map[string]*Task `json:"tasks"`
	Blocks []*Block         `json:"blocks"` // oldest first
}

// ProxyList is what miners are told, each in an order of its own.
type ProxyList struct {
	Epoch uint64 `json:"epoch"`
	// Addresses of the proxy of the first slot, and of those of the others: what each
	// is reached by, best first.
	Addresses []string   `json:"addresses"`
	More      [][]string `json:"more,omitempty"`
	Paused    bool       `json:"paused,omitempty"`
}

// BadArtifact is an executor binary whose tasks failed.
type BadArtifact struct {
	Digest string    `json:"digest"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
	// Runs says that it does run, on other agents.
	Runs bool `json:"runs,omitempty"`
}

// Task is a task that was launched and of whose end nothing is known. Its executor
// has the same id.
type Task struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	AgentID  string `json:"agent_id"`
	Hostname string `json:"hostname"`
	State    string `json:"state"` // TASK_…
	CPUs     int64  `json:"cpus_milli"`
	// Revocable tasks run on resources that Mesos may take back.
	Revocable bool `json:"revocable,omitempty"`
	// Version of the messages that its executor speaks; 0: 1.
	Version uint32 `json:"version,omitempty"`
	// Reserved are those of CPUs that are reserved for our role: nobody else has them.
	Reserved   int64     `json:"reserved_milli,omitempty"`
	LaunchedAt time.Time `json:"launched_at"`
	// Since is when State was entered.
	Since time.Time `json:"since"`
	// Digest of the executor, and Spec of the settings, that it was launched with.
	Digest string `json:"digest"`
	Spec   string `json:"spec"`
	// Place is where its agent is, as far as constraints look at that.
	Place constraint.Place `json:"place,omitempty"`
	// ReportMs is the mean time between its reports, in milliseconds; 0: what Settings say.
	ReportMs int64 `json:"report_ms,omitempty"`
	// Kill is why the task is to end; "": it is wanted.
	Kill Why `json:"kill,omitempty"`

	// Of proxies: the place that it fills, and the number that keeps its search space
	// apart from that of every other proxy that may still run.
	Slot      int      `json:"slot,omitempty"`
	Shard     uint32   `json:"shard,omitempty"`
	Epoch     uint64   `json:"epoch,omitempty"`
	Ports     []uint64 `json:"ports,omitempty"`     // Stratum, HTTP
	Addresses []string `json:"addresses,omitempty"` // Stratum, host:port, best first
	// Key is the public key that its secrets are encrypted to; nil: it has not asked.
	Key []byte `json:"key,omitempty"`

	// Of miners: the epoch of the key that the password is of.
	KeyEpoch uint64 `json:"key_epoch,omitempty"`

	run *run
}

// Block is a block that a proxy found.
type Block struct {
	Hash   string `json:"hash"` // display order
	Height int64  `json:"height"`
	State  string `json:"state"`
	Finder string `json:"finder,omitempty"`
	// Confirmations as last reported when State changed.
	Confirmations uint32    `json:"confirmations,omitempty"`
	FoundAt       time.Time `json:"found_at"`
	// Stored says that the block itself is on the scheduler's disk.
	Stored bool `json:"stored,omitempty"`
	// Size in bytes, and Bits of the header, of a stored block.
	Size int    `json:"size,omitempty"`
	Bits uint32 `json:"bits,omitempty"`

	submissions int
	submitAt    time.Duration
	submitting  bool
	lastError   string
}

// NewState returns the state of a framework that never subscribed.
func NewState(workerKey []byte) *State {
	return &State{Version: stateVersion, WorkerKey: workerKey, Tasks: make(map[string]*Task)}
}

// Encode returns the state as JSON.
func (s *State) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode scheduler state: %w", err)
	}
	return append(b, '\n'), nil
}

// DecodeState reads what Encode wrote and checks that it makes sense. A state that
// does not is refused: to go on with half of it would lose track of running tasks.
func DecodeState(b []byte) (*State, error) {
	s := new(State)
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if s.Tasks == nil {
		s.Tasks = make(map[string]*Task)
	}
	return s, nil
}

func (s *State) check() error {
	switch {
	case s.Version == 0:
		return errors.New("it has no version")
	case s.Version > stateVersion:
		return fmt.Errorf("its version %d is newer than %d, the newest that this program reads", s.Version, stateVersion)
	case len(s.WorkerKey) == 0:
		return errors.New("it has no worker key")
	case s.FrameworkID == "" && len(s.Tasks) > 0:
		return errors.New("it has tasks but no framework id")
	case s.Proxies.Epoch > s.Epoch:
		return fmt.Errorf("its proxy list has epoch %d, above the newest, %d", s.Proxies.Epoch, s.Epoch)
	}
	for id, t := range s.Tasks {
		if t == nil || t.ID != id || t.AgentID == "" || t.State == "" || (t.Kind != KindProxy && t.Kind != KindMiner) {
			return fmt.Errorf("task %q is incomplete", id)
		}
		if t.Slot < 0 || t.Slot >= MostProxies {
			return fmt.Errorf("proxy %q is for place %d of %d", id, t.Slot, MostProxies)
		}
		if t.Kind == KindProxy && (len(t.Ports) != 2 || len(t.Addresses) == 0) {
			return fmt.Errorf("proxy %q has no address", id)
		}
	}
	for i, r := range s.Retired {
		if r == nil || r.ID == "" {
			return fmt.Errorf("retired proxy %d is incomplete", i)
		}
	}
	for i, b := range s.Blocks {
		if b == nil || len(b.Hash) != 64 {
			return fmt.Errorf("block %d is incomplete", i)
		}
	}
	return nil
}

// Forget returns the state for a new framework in place of this one: without id and
// tasks, but with everything that outlives them.
func (s *State) Forget() *State {
	n := *s
	n.FrameworkID, n.Tasks = "", make(map[string]*Task)
	n.Epoch++
	n.Proxies = ProxyList{Epoch: n.Epoch}
	n.Removed, n.Retired = false, nil
	return &n
}
