package scheduler

import (
	"time"

	"lode/scheduler/api"
)

// EventType says what happened.
type EventType string

// Types of events, in the order in which a new cluster shows them.
const (
	EventSubscribed EventType = "subscribed" // FrameworkID and Master are set
	EventLost       EventType = "lost"       // the subscription ended; Message says why
	EventOffer      EventType = "offer"      // an offer was accepted; Decision is set
	EventFetched    EventType = "fetched"    // an agent fetched the executor; Agent is its address
	EventTask       EventType = "task"       // a task changed its state; Task is set
	EventEnded      EventType = "ended"      // a task ended; Ended is set
	EventReport     EventType = "report"     // an executor reported; Task is set
	EventProxies    EventType = "proxies"    // miners are told of new proxies; Message lists them
	EventBlock      EventType = "block"      // a block was found or changed its state; Block is set
	EventSecrets    EventType = "secrets"    // secrets were given to a proxy; Task is set, Message says to which key
	EventHopeless   EventType = "hopeless"   // tasks of a kind fail always alike; Message says how
	EventOperator   EventType = "operator"   // an operator's command was carried out; Message says who and what
	EventNotice     EventType = "notice"     // something an operator should know; Message says what
)

// EventTypes are all of them, and what a reader is told who missed some.
func EventTypes() []string {
	var types []string
	for _, t := range []EventType{
		EventSubscribed, EventLost, EventOffer, EventFetched, EventTask, EventEnded, EventReport, EventProxies, EventBlock, EventSecrets,
		EventHopeless, EventOperator, EventNotice,
	} {
		types = append(types, string(t))
	}
	return append(types, "gap")
}

// Event tells of progress. Fields that do not belong to the type are empty.
type Event struct {
	Time        time.Time
	Type        EventType
	FrameworkID string
	Master      string
	Agent       string
	Message     string
	Task        *api.Task
	Ended       *api.Ended
	Block       *api.Block
	Decision    *api.Decision
}
