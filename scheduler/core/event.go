package core

import (
	"log/slog"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler/api"
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
	// Refused says that the ACCEPT that launches Tasks had no effect or, if Unsure,
	// that nobody knows whether it had one. Its offers are declined.
	Refused struct {
		Session uint64
		Tasks   []string
		Unsure  bool
	}
	// Tick comes about once a second.
	Tick struct{}
	// Stored is the result of a StoreBlock action; Err "": the block is on disk.
	Stored struct{ Hash, Err string }
	// Submitted is the result of a SubmitBlock action. State as in api.Block; with
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
	// Pause stops all hashing, without ending a task, or lets it go on.
	Pause struct {
		On  bool
		Why string
	}
	// KillTask is an operator's wish.
	KillTask struct{ ID, Why string }
)

func (Subscribed) event()    {}
func (Pause) event()         {}
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
	// DropBlock deletes a stored block that is deep in the chain.
	DropBlock struct{ Hash string }
	// Notice is for the log.
	Notice struct {
		Level slog.Level
		Text  string
		Attrs []any
	}
	// Progress is for those who watch; Type as in scheduler.EventType.
	Progress struct {
		Type, FrameworkID, Master, Message string

		Task     *api.Task
		Ended    *api.Ended
		Block    *api.Block
		Decision *api.Decision
	}
	// Stop ends the scheduler.
	Stop struct{ Err error }
)

func (StoreBlock) action()  {}
func (Persist) action()     {}
func (Call) action()        {}
func (SubmitBlock) action() {}
func (DropBlock) action()   {}
func (Notice) action()      {}
func (Progress) action()    {}
func (Stop) action()        {}
