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
//
// No event costs a look at all tasks: tasks are found by id, agent and slot, sums are
// kept up to date, and what time brings about is in a heap of alarms. What must be
// told to thousands is told at a bounded rate, from queues.
package core

import (
	"errors"
	"fmt"
	"log/slog"
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

// Core is the state machine. It is not safe for concurrent use.
type Core struct {
	set   Settings
	state *State

	now   time.Time     // for stamps, and for maintenance, which Mesos dates
	last  time.Time     // the time of the step before
	up    time.Duration // see clock.go
	clock time.Duration

	// What follows is lost with the process, and rebuilt from what Mesos tells.
	tasks     []*Task // all of state.Tasks, in no order; run.index
	slots     []*slot
	shards    [256]int // proxies, by their number
	former    int      // miners that have passwords of former keys
	agents    map[string]*agent
	fleet     []*agent // all of agents, in no order; agent.index
	outages   outages  // announced maintenance of agents
	orphans   map[string]*killing
	blocks    map[string]*assembly
	storing   map[string]*storing
	alarms    alarms
	connected bool
	stalled   bool   // calls wait to be sent
	session   uint64 // of the subscription
	master    string
	lastError string

	sums    tally
	places  places
	kills   killQueue
	recon   reconciliation
	lists   listQueue
	offers  offerBook
	revive  reviver
	pace    pace
	causes  causes
	rollout rollout
	proxies proxyBackoff
	roles   roleNeed

	id         *mesos.FrameworkID  // of calls; never changed
	keys       *message.LaunchKeys // nil: not needed yet
	passwords  *message.WorkerPasswords
	program    *program             // of the last launch; nil: there was none
	inventory  inventory            // of the last offer, its room to be used again
	described  description          // of the last task, likewise
	words      vocabulary           // of tasks and reports
	specs      map[string]string    // by kind
	alike      map[string]*repeated // by kind
	lostAt     time.Duration        // when miners lost their last proxy; never: they have one
	ahead      bool                 // a miner has a list that is newer than all of ours
	aheadUntil time.Duration        // no list for that before
	graceWalk  int                  // of the tasks, those before this one are to be killed; 0: none
	fetchTold  time.Duration        // last complaint that agents cannot fetch the executor
	roomAt     time.Duration        // earliest time at which another miner is killed to make room
	swept      int                  // of tasks
	walks      uint32
	digests    map[string]int // tasks by the executor that they were launched with
	hosts      hosts

	begun      bool             // the session is
	retired    map[string]*peer // of state.Retired, as far as they spoke
	complaints map[string]*complaint
	troubles   map[string]*trouble

	decisions ring[Decision]
	ended     ring[Ended]
	counters  Counters

	touched touched // since Changes was called
	dirty   bool
	stores  []Action
	actions []Action
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
		set: set.withDefaults(), state: state,
		agents:    make(map[string]*agent),
		orphans:   make(map[string]*killing),
		blocks:    make(map[string]*assembly),
		lostAt:    never,
		fetchTold: -fetchPause,
		decisions: newRing[Decision](100),
		ended:     newRing[Ended](50),
		counters: Counters{
			OffersDeclined: make(map[string]uint64),
			Launched:       make(map[string]uint64),
			Ended:          make(map[string]uint64),
		},
		kills:  newKillQueue(),
		recon:  newReconciliation(),
		lists:  newListQueue(),
		offers: newOfferBook(),
		pace:   newPace(),
		causes: make(causes),
		words:  make(vocabulary),

		digests: make(map[string]int),
		alike:   map[string]*repeated{KindProxy: {}, KindMiner: {}},

		passwords: message.NewWorkerPasswords(state.WorkerKey),
	}
	c.places = newPlaces(&c.set)
	for _, id := range sortedKeysOf(state.Tasks) {
		t := state.Tasks[id]
		t.Kind, t.State = c.words.one(t.Kind), c.words.one(t.State)
		t.Digest, t.Spec = c.words.one(t.Digest), c.words.one(t.Spec)
		c.adopt(t, c.agent(t.AgentID, t.Hostname))
		if t.Kind == KindMiner { // it will say itself which list it has
			if t.KeyEpoch < state.KeyEpoch {
				c.former++
			}
			c.after(c.jitter(listUnknown), func() { c.wantList(t) })
		}
	}
	if !set.MayPause { // there is no rule any more
		state.RulePause = ""
	}
	c.restoreSlots()
	c.beginRollout()
	return c, nil
}

// mostKept is how much room for actions, or alarms, is kept while it is not needed.
const mostKept = 4096

// Step takes in one event and returns what is to be done about it. The slice is the
// caller's until the next Step.
func (c *Core) Step(now time.Time, e Event) []Action {
	c.wind(now)
	if clear(c.actions); cap(c.actions) > mostKept { // what they point at may be large
		c.actions = nil
	}
	// The first place is for a Persist.
	c.stores, c.actions, c.dirty = nil, append(c.actions[:0], Persist{}), false
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
		c.stalled = e.Stalled
		c.tick()
	case Submitted:
		c.submitted(e)
	case Pause:
		c.obeyRule(e)
	case RoleNeed:
		c.heedRoles(e)
	case Wrote:
		c.wrote(e)
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
	c.converge()
	actions := c.actions
	if !c.dirty {
		actions = actions[1:]
	}
	if len(c.stores) > 0 {
		actions = append(c.stores, actions...)
	}
	return actions
}

// converge compares what there is with what there should be. It costs next to
// nothing when nothing changed, so it follows every event.
func (c *Core) converge() {
	if c.slotsChanged() {
		c.convergeSlots()
	}
	if !c.connected {
		return
	}
	c.sendKills()
	c.sendQuestions()
	c.reconsiderOffers()
	c.convergeNeed()
	c.sendLists()
}

// tick does what only the passing of time brings about.
func (c *Core) tick() {
	c.ringAlarms()
	c.convergeSlots()
	c.graceOver()
	c.watchMaintenance()
	c.makeRoom()
	c.watchPlaces()
	c.roll()
	c.sweep()
	c.renewSecrets()
	c.submitBlocks()
	c.forgetAssemblies()
	c.forgetTroubles()
	c.forgetRetired()
	c.watchFormer()
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
	c.stalled = false
	c.counters.Subscriptions++
	c.rememberBad()
	// All offers of the time before are void, without a RESCIND.
	c.offers.clear()
	for _, s := range c.slots { // what miners said before may not be true any more
		s.witness = witness{}
	}
	c.revive.reset(c.clock)
	c.startReconciliation()
	c.restartKills()
	if c.lostAt != never {
		// Without a subscription there was no way to get a proxy.
		c.lostAt = c.clock
	}
	c.tell(Connected{FrameworkID: e.FrameworkID, Master: e.Master})
}

func (c *Core) disconnected(reason string) {
	c.lastError = reason
	if c.connected {
		c.connected = false
		c.tell(Lost{reason})
	}
	c.offers.clear()
}

// refused handles an ERROR event, after which the master closes the stream.
func (c *Core) refused(text string) {
	c.lastError = text
	switch {
	case text == "Framework has been removed":
		if !c.state.Removed {
			c.state.Removed, c.dirty = true, true
		}
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
		Roles:           c.set.Roles,
		Capabilities: []mesos.FrameworkInfo_Capability{
			{Type: mesos.FrameworkInfo_Capability_PARTITION_AWARE},
			{Type: mesos.FrameworkInfo_Capability_TASK_KILLING_STATE},
			{Type: mesos.FrameworkInfo_Capability_MULTI_ROLE},
		},
	}
	for _, optional := range []struct {
		wanted     bool
		capability mesos.FrameworkInfo_Capability_Type
	}{
		{c.set.Revocable, mesos.FrameworkInfo_Capability_REVOCABLE_RESOURCES},
		{c.set.GPUAgents, mesos.FrameworkInfo_Capability_GPU_RESOURCES},
		{c.set.RegionAware, mesos.FrameworkInfo_Capability_REGION_AWARE},
	} {
		if optional.wanted {
			info.Capabilities = append(info.Capabilities, mesos.FrameworkInfo_Capability{Type: optional.capability})
		}
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

// Link says whether there is a subscription, at which master, and else what is the
// matter.
func (c *Core) Link() (ok bool, master, reason string) {
	return c.connected, c.master, c.lastError
}

// FrameworkID is "" before the first subscription.
func (c *Core) FrameworkID() string { return c.state.FrameworkID }

func (c *Core) call(call *scheduler.Call) {
	if c.id == nil || c.id.Value != c.state.FrameworkID {
		c.id = &mesos.FrameworkID{Value: c.state.FrameworkID}
	}
	call.FrameworkID = c.id
	c.actions = append(c.actions, Call{Session: c.session, Call: call})
}

func (c *Core) stop(err error) { c.actions = append(c.actions, Stop{err}) }

func (c *Core) tell(a Action) { c.actions = append(c.actions, a) }

func (c *Core) notice(level slog.Level, text string, attrs ...any) {
	c.actions = append(c.actions, Notice{Level: level, Text: text, Attrs: attrs})
}

// jitter returns d changed by at most a fifth, so that many waits do not end at once.
func (c *Core) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*c.set.Rand.Float64()))
}
