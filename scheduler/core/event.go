package core

import (
	"log/slog"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// Event is something that happened.
type Event interface{ event() }

// Events that a Core understands.
type (
	// Subscribed is the first event of a subscription. Master is host:port; Session
	// is the caller's number of the subscription.
	Subscribed struct {
		FrameworkID, Master string
		Session             uint64
	}
	// Disconnected says that the subscription ended, or could not be had.
	Disconnected struct{ Reason string }
	// Offers are new offers.
	Offers struct{ Offers []mesos.Offer }
	// Rescind takes an offer back.
	Rescind struct{ OfferID string }
	// InverseOffers ask for resources back, before maintenance.
	InverseOffers struct{ Offers []mesos.InverseOffer }
	// Update is the status of a task.
	Update struct{ Status mesos.TaskStatus }
	// Message is a framework message from an executor.
	Message struct {
		AgentID, ExecutorID string
		Data                []byte
	}
	// Failure says that an agent is lost, or with ExecutorID that an executor ended.
	Failure struct{ AgentID, ExecutorID string }
	// Error is the ERROR event, the last of its stream.
	Error struct{ Message string }
	// Refused says that the ACCEPT that launches Tasks had no effect, for Why, or, if
	// Unsure, that nobody knows whether it had one. Its offers are declined.
	Refused struct {
		Session uint64
		Tasks   []string
		Unsure  bool
		Why     string
	}
	// Tick comes about once a second. Stalled says that calls wait to be sent, since the
	// master takes none: what they bring about cannot be expected meanwhile.
	Tick struct{ Stalled bool }
	// Stored is the result of a StoreBlock action; Err "": the block is on disk.
	Stored struct{ Hash, Err string }
	// Submitted is the result of a SubmitBlock or AskBlock action. State as in api.Block; with
	// Err it means nothing. Invalid: no node will ever take the block.
	Submitted struct {
		Hash, State, Err string
		Confirmations    uint32
		Invalid          bool
	}
	// Chain is what a node knows of its chain's tip.
	Chain struct {
		// Bits of the tip's header.
		Bits uint32 `json:"bits"`
		// Easy says that the network takes blocks of the least difficulty at times, as
		// test networks do.
		Easy bool `json:"easy,omitempty"`
	}
	// Pause says whether the rule of --pause-when holds, and what it is about.
	Pause struct {
		On  bool
		Why string
	}
	// RoleNeed says how many thousandths of a cpu other roles lack of what their quotas
	// guarantee to them; Role is the one that lacks the most.
	RoleNeed struct {
		Milli int64
		Role  string
	}
	// Wrote is the end of what the executor of a task wrote that ended lately.
	Wrote struct{ ID, Text string }
	// KillTask is an operator's wish.
	KillTask struct{ ID, Why string }
)

func (Subscribed) event()    {}
func (Pause) event()         {}
func (RoleNeed) event()      {}
func (Disconnected) event()  {}
func (Offers) event()        {}
func (Rescind) event()       {}
func (InverseOffers) event() {}
func (Update) event()        {}
func (Message) event()       {}
func (Failure) event()       {}
func (Error) event()         {}
func (Refused) event()       {}
func (Tick) event()          {}
func (Stored) event()        {}
func (Submitted) event()     {}
func (Chain) event()         {}
func (Wrote) event()         {}
func (KillTask) event()      {}

// Action is something to be done.
type Action interface{ action() }

// Actions that a Core asks for.
type (
	// StoreBlock writes a serialized block to disk, under its hash (display order);
	// Stored is the answer.
	StoreBlock struct {
		Hash string
		Data []byte
	}
	// Persist writes Core.Encode, or else Core.Changes, to disk.
	Persist struct{}
	// Call is sent to the master, in order, on the subscription that the Subscribed
	// event with this Session began, and on no later one: what it answers is void
	// there. It may hold secrets: do not log it.
	Call struct {
		Session uint64
		*scheduler.Call
	}
	// SubmitBlock gives a stored block to the nodes; Submitted is the answer.
	SubmitBlock struct{ Hash string }
	// AskBlock asks nodes what became of a block of which there is no copy here; Submitted
	// is the answer.
	AskBlock struct {
		Hash   string
		Height int64
	}
	// DropBlock deletes a stored block that is deep in the chain.
	DropBlock struct{ Hash string }
	// Notice is for the log.
	Notice struct {
		Level slog.Level
		Text  string
		Attrs []any
	}
	// Stop ends the scheduler.
	Stop struct{ Err error }
)

// Actions for those who watch.
type (
	// Connected: there is a subscription.
	Connected struct{ FrameworkID, Master string }
	// Lost: it ended.
	Lost struct{ Reason string }
	// Accepted: tasks were launched on an offer.
	Accepted struct{ Decision Decision }
	// TaskChanged: a task was launched, changed its state or is to end (Why).
	TaskChanged struct {
		Task TaskView
		Why  Why
	}
	// Ran: a task came to run, that long after its launch.
	Ran struct {
		Kind string
		Took time.Duration
	}
	// TaskEnded: a task is over.
	TaskEnded struct{ Ended Ended }
	// Operated: an operator's command was carried out.
	Operated struct{ What string }
	// Hopeless: tasks of a kind fail always alike.
	Hopeless struct{ Text string }
	// SecretsGiven: a proxy was sent secrets; for the audit.
	SecretsGiven struct {
		Task TaskView
		What string
	}
	// Reported: an executor reported.
	Reported struct{ Task TaskView }
	// ProxiesChanged: miners are told of other proxies.
	ProxiesChanged struct{ Addresses []string }
	// BlockChanged: a block was found, or changed its state.
	BlockChanged struct{ Block BlockView }
)

func (StoreBlock) action()     {}
func (Persist) action()        {}
func (Call) action()           {}
func (SubmitBlock) action()    {}
func (AskBlock) action()       {}
func (DropBlock) action()      {}
func (Notice) action()         {}
func (Stop) action()           {}
func (Connected) action()      {}
func (Lost) action()           {}
func (Accepted) action()       {}
func (TaskChanged) action()    {}
func (Ran) action()            {}
func (TaskEnded) action()      {}
func (SecretsGiven) action()   {}
func (Operated) action()       {}
func (Hopeless) action()       {}
func (Reported) action()       {}
func (ProxiesChanged) action() {}
func (BlockChanged) action()   {}
