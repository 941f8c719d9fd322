// Package core is the scheduler's mind: a state machine that is told what happened
// and answers with what is to be done. It does no I/O, starts no goroutine, reads no
// clock, and draws random numbers only from the source that it is given, so that
// whole histories of a cluster can be replayed from a seed.
//
//	c, err := core.New(settings, state)
//	for e := range events {
//		for _, a := range c.Step(now, e) { … }
//	}
//
// The caller carries out the actions of one Step in their order and waits for each
// Persist to be on disk before it goes on. Everything else that the design asks for
// follows from that: Step puts Persist before calls to Mesos, so a status update is
// acknowledged and a task launched only after what they change is stored. A block's
// receipt is sent when the caller says that its StoreBlock is done (Stored), which may
// fail. Several Steps may be carried out together as long as that order is kept: first
// all StoreBlocks, then one Persist, then the rest.
package core

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/message"
)

// Reasons to end that no restart mends by itself.
var (
	// ErrRemoved: the master ended the framework and all of its tasks.
	ErrRemoved = errors.New("framework has been removed")
	// ErrFailedOver: another scheduler subscribed with the same framework id.
	ErrFailedOver = errors.New("framework failed over to another scheduler")
	// ErrRefused: the master does not let the framework subscribe.
	ErrRefused = errors.New("subscription refused")
)

// Resources of tasks, as in the classic framework. Executors get none of their own:
// a task's resources are the budget of its container, and an executor that lingers
// after its task must not hold back a share of what the agent can offer.
const (
	proxyCPUs     = 1000 // thousandths
	proxyMem      = 256  // MB
	minerMem      = 128  // MB
	leastMinerCPU = 100  // thousandths; less is not worth a process
)

// Settings are what an operator decided.
type Settings struct {
	Name, User, Role, Principal, Hostname, WebUI string
	FailoverTimeout                              time.Duration
	Revocable                                    bool

	// ArtifactURL and ArtifactDigest name the executor binary.
	ArtifactURL, ArtifactDigest string

	Upstreams        []string // URLs without credentials
	PayoutAddress    string
	CoinbaseTag      string
	ProxyLimits      map[string]string // see message.ProxyTask
	MinBlockInterval time.Duration
	ReportInterval   time.Duration
	Kernel           string
	Yield            string // "": the executor's default
	OneACore         bool
	OnlyRevocable    bool
	IdleMode         bool
	// MayPause says that Pause events will come: until then miners stay as they are.
	MayPause bool

	ProxyGrace   time.Duration
	HoldBackCPUs float64
	MaxMiners    int // 0: no bound
	// Upgrade replaces tasks of another executor binary, a few at a time.
	Upgrade bool

	// Secrets answer a proxy's Hello, by upstream URL. The worker key is in State.
	Secrets map[string]*message.Credentials
	// CanSubmit says that SubmitBlock actions are of use.
	CanSubmit bool

	// Rand drives jitter and the choice of ports.
	Rand *rand.Rand
}

// Core is the state machine. It is not safe for concurrent use.
type Core struct {
	set   Settings
	state *State
	now   time.Time

	// What follows is lost with the process, and rebuilt from what Mesos tells.
	runs      map[string]*run // by task id, for every task of state
	agents    map[string]*agent
	offers    map[string]*heldOffer
	orphans   map[string]*orphan
	blocks    map[string]*assembly
	storing   map[string]*storing
	connected bool
	session   uint64 // of the subscription
	master    string
	lastError string
	recon     reconciliation
	sums      *tally // nil: to be made anew
	quiet     bool   // the event changed nothing that converge looks at
	revive    reviver
	kinds     map[string]*backoff
	decisions ring[decision]
	ended     ring[endedTask]
	counters  Counters

	proxyNeededSince time.Time // zero: a proxy exists
	fetchTold        time.Time // last complaint that agents cannot fetch the executor
	roomAt           time.Time // earliest time at which another miner is killed to make room

	begun      bool             // the session is
	retired    map[string]*peer // of state.Retired, as far as they spoke
	complaints map[string]*complaint
	troubles   map[string]*trouble

	touched  touched // since Changes was called
	dirty    bool
	stores   []Action
	actions  []Action
	paused   bool // miners are not to hash
	pauseWhy string
}

// Counters count since the process started.
type Counters struct {
	OffersReceived, OffersRescinded, OffersExpired uint64
	OffersAccepted                                 uint64
	OffersDeclined                                 map[string]uint64 // by reason
	Launched, Ended                                map[string]uint64 // by kind; by state
	Updates, Acknowledged, Orphans                 uint64
	Messages, BadMessages                          uint64
	Refused                                        map[string]uint64 // of messages, by kind
	Subscriptions                                  uint64
	Reconciliations                                uint64
	LaunchToRunning                                []time.Duration // since the last call of TakeLatencies
}

// New returns a Core that goes on from state, which it owns from now on.
func New(set Settings, state *State) (*Core, error) {
	if set.Rand == nil {
		return nil, errors.New("scheduler core: no source of random numbers")
	}
	if len(state.WorkerKey) == 0 {
		return nil, errors.New("scheduler core: the state has no worker key")
	}
	state.ensureLinkKey()
	c := &Core{
		set: set, state: state,
		runs:    make(map[string]*run),
		agents:  make(map[string]*agent),
		offers:  make(map[string]*heldOffer),
		orphans: make(map[string]*orphan),
		blocks:  make(map[string]*assembly),
		kinds:   map[string]*backoff{KindProxy: {}, KindMiner: {}},
		counters: Counters{
			OffersDeclined: make(map[string]uint64),
			Launched:       make(map[string]uint64),
			Ended:          make(map[string]uint64),
		},
		decisions: newRing[decision](100),
		ended:     newRing[endedTask](50),
	}
	for id := range state.Tasks {
		c.runs[id] = &run{}
	}
	c.paused = set.MayPause && state.Proxies.Paused
	return c, nil
}

// Step takes in one event and returns what is to be done about it.
func (c *Core) Step(now time.Time, e Event) []Action {
	c.now = now
	c.stores, c.actions, c.dirty, c.quiet = nil, nil, false, false
	c.begin()
	switch e := e.(type) {
	case Subscribed:
		c.subscribed(e)
	case Disconnected:
		c.disconnected(e.Reason)
	case Offers:
		c.receiveOffers(e.Offers)
	case Rescind:
		c.rescind(e.OfferID)
	case InverseOffers:
		c.inverseOffers(e.Offers)
	case Update:
		c.update(e.Status)
	case Message:
		c.receive(e)
	case Failure:
		c.failure(e)
	case Error:
		c.refused(e.Message)
	case Refused:
		c.acceptRefused(e)
	case Tick:
		c.tick()
	case Submitted:
		c.submitted(e)
	case Pause:
		c.pause(e)
	case KillTask:
		c.operatorKill(e)
	case Operate:
		c.operate(e)
	case RotateKeys:
		c.rotateKeys(e)
	case Stored:
		c.stored(e)
	case Chain:
		c.learnChain(e)
	default:
		c.notice(slog.LevelError, "unknown event", "event", fmt.Sprintf("%T", e))
	}
	if !c.quiet {
		c.converge()
	}
	actions := c.stores
	if c.dirty {
		actions = append(actions, Persist{})
	}
	return append(actions, c.actions...)
}

// converge compares what there is with what there should be. It costs little, so it
// follows every event; what only time brings about is in tick.
func (c *Core) converge() {
	c.convergeProxy()
	if !c.connected {
		return
	}
	c.sendKills()
	c.reconcileStep()
	c.reconsiderOffers()
	c.convergeNeed()
}

// tick does what only the passing of time brings about.
func (c *Core) tick() {
	c.graceOver()
	c.watchLaunches()
	c.watchMaintenance()
	c.resendProxies()
	c.makeRoom()
	c.replaceOutdated()
	c.renewSecrets()
	c.submitBlocks()
	c.forget()
	c.forgetTroubles()
	c.forgetRetired()
}

func (c *Core) subscribed(e Subscribed) {
	switch {
	case c.state.FrameworkID == "":
		c.state.FrameworkID = e.FrameworkID
		c.dirty = true
	case c.state.FrameworkID != e.FrameworkID:
		c.stop(fmt.Errorf("%w: the master answers with framework id %s, the stored one is %s",
			ErrRefused, e.FrameworkID, c.state.FrameworkID))
		return
	}
	c.connected, c.session, c.master, c.lastError = true, e.Session, e.Master, ""
	c.counters.Subscriptions++
	// All offers of the time before are void, without a RESCIND.
	clear(c.offers)
	for _, r := range c.runs {
		r.killAttempts, r.killAt = 0, time.Time{}
	}
	for _, o := range c.orphans {
		o.attempts, o.at = 0, time.Time{}
	}
	if !c.state.ProxyLost.IsZero() {
		// Without a subscription there was no way to get a proxy: its grace begins anew.
		c.state.ProxyLost = c.now
		c.dirty = true
	}
	c.revive.reset()
	c.startReconciliation()
	c.tell(Progress{Type: "subscribed", FrameworkID: e.FrameworkID, Master: e.Master})
}

func (c *Core) disconnected(reason string) {
	c.lastError = reason
	if c.connected {
		c.connected = false
		c.tell(Progress{Type: "lost", Message: reason})
	}
	clear(c.offers)
}

// refused handles an ERROR event, after which the master closes the stream.
func (c *Core) refused(text string) {
	c.lastError = text
	switch {
	case text == "Framework has been removed":
		c.stop(fmt.Errorf("%w by the master: framework %s and its tasks are gone; "+
			"the state is kept, start with --new-framework to begin anew", ErrRemoved, c.state.FrameworkID))
	case text == "Framework failed over":
		c.stop(fmt.Errorf("%w: somebody else subscribed as framework %s; this scheduler stops so that "+
			"the two do not take the subscription from each other", ErrFailedOver, c.state.FrameworkID))
	case !c.connected:
		c.stop(fmt.Errorf("%w by the master: %s", ErrRefused, text))
	}
}

// Encode returns the durable state as it is to be stored.
func (c *Core) Encode() ([]byte, error) { return c.state.Encode() }

// FrameworkInfo describes the framework for a SUBSCRIBE call.
func (c *Core) FrameworkInfo() *mesos.FrameworkInfo {
	seconds := c.set.FailoverTimeout.Seconds()
	checkpoint := true
	info := &mesos.FrameworkInfo{
		User:            c.set.User,
		Name:            c.set.Name,
		FailoverTimeout: &seconds,
		Checkpoint:      &checkpoint,
		Roles:           []string{c.set.Role},
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
		},
	}
	if c.set.Revocable {
		info.Capabilities = append(info.Capabilities,
			mesos.FrameworkInfo_Capability{Type: mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES})
	}
	if c.state.FrameworkID != "" {
		info.ID = &mesos.FrameworkID{Value: c.state.FrameworkID}
	}
	if c.set.Hostname != "" {
		info.Hostname = &c.set.Hostname
	}
	if c.set.Principal != "" {
		info.Principal = &c.set.Principal
	}
	if c.set.WebUI != "" {
		info.WebUiURL = &c.set.WebUI
	}
	return info
}

// Counters returns what was counted; the caller must not change the maps.
func (c *Core) Counters() Counters { return c.counters }

// TakeLatencies returns the times from launch to TASK_RUNNING since the last call.
func (c *Core) TakeLatencies() []time.Duration {
	l := c.counters.LaunchToRunning
	c.counters.LaunchToRunning = nil
	return l
}

func (c *Core) call(call *scheduler.Call) {
	call.FrameworkID = &mesos.FrameworkID{Value: c.state.FrameworkID}
	c.actions = append(c.actions, Call{Session: c.session, Call: call})
}

func (c *Core) stop(err error) { c.actions = append(c.actions, Stop{err}) }

func (c *Core) tell(p Progress) { c.actions = append(c.actions, p) }

func (c *Core) notice(level slog.Level, text string, attrs ...any) {
	c.actions = append(c.actions, Notice{Level: level, Text: text, Attrs: attrs})
}

// taskIDs returns the ids of all tasks in a fixed order, so that a history depends
// on nothing but its events.
func (c *Core) taskIDs() []string { return slices.Sorted(maps.Keys(c.state.Tasks)) }

// jitter returns d changed by at most a fifth, so that many waits do not end at once.
func (c *Core) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*c.set.Rand.Float64()))
}
