package api

import "time"

// Paths of the control API. {…} is a segment.
const (
	TasksPath   = "/api/v1/tasks"
	AgentsPath  = "/api/v1/agents"
	OffersPath  = "/api/v1/offers"
	BlocksPath  = "/api/v1/blocks"
	EventsPath  = "/api/v1/events"
	WhyPath     = "/api/v1/why"
	ControlPath = "/api/v1/control"
	ScalePath   = "/api/v1/scale"
	PausePath   = "/api/v1/pause"
	ResumePath  = "/api/v1/resume"
	UpgradePath = "/api/v1/upgrade"
	KeysPath    = "/api/v1/keys/rotate"
	OpenAPIPath = "/api/v1/openapi.json"
)

// Operations that an operator may ask for.
const (
	OpScale   = "scale"
	OpPause   = "pause"
	OpResume  = "resume"
	OpDrain   = "drain"
	OpUndrain = "undrain"
	OpRestart = "restart"
	OpKill    = "kill"
	OpUpgrade = "upgrade"
	OpRotate  = "rotate-keys"
)

// Command is an operator's wish. Fields that its Op does not need are not set.
type Command struct {
	Op    string `json:"op"`
	Task  string `json:"task,omitempty"`
	Agent string `json:"agent,omitempty"` // id or hostname
	// MaxMiners and MaxCPUs are the bounds of OpScale: of the cluster or, with Agent,
	// of one agent, where only MaxCPUs counts. 0 of MaxCPUs: no bound; negative
	// MaxMiners: as the scheduler was started. nil: as it is.
	MaxMiners *int     `json:"max_miners,omitempty"`
	MaxCPUs   *float64 `json:"max_cpus,omitempty"`
	// Action of OpUpgrade: start, pause or rollback.
	Action string `json:"action,omitempty"`
	// Revoke of OpRotate voids the old key at once.
	Revoke bool   `json:"revoke,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Who asked; the scheduler sets it.
	Who string `json:"who,omitempty"`
}

// Outcome says what became of a Command.
type Outcome struct {
	// Done says in words what was done.
	Done string `json:"done"`
	// Refused is why nothing was done; "": it was.
	Refused string `json:"refused,omitempty"`
	// NotFound says that there is no such task or agent.
	NotFound bool `json:"-"`
}

// Control is what operators decided while the scheduler ran. It is stored.
type Control struct {
	Paused bool `json:"paused"`
	// MaxMiners and MaxCPUs are in force; 0: no bound.
	MaxMiners int     `json:"max_miners"`
	MaxCPUs   float64 `json:"max_cpus"`
	// None says that no miner is wanted at all: lode scale 0.
	None    bool               `json:"none"`
	Agents  map[string]float64 `json:"agent_max_cpus"`
	Drained []Drain            `json:"drained"`
	Upgrade Upgrade            `json:"upgrade"`
	// Log are the newest commands, newest first.
	Log []Record `json:"log"`
}

// Drain is an agent that nothing is launched on.
type Drain struct {
	Agent  string    `json:"agent"`
	Since  time.Time `json:"since"`
	Who    string    `json:"who"`
	Reason string    `json:"reason,omitempty"`
}

// Record is a command that was carried out.
type Record struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	What string    `json:"what"`
}

// Upgrade is how far the replacement of tasks by ones with the newest executor is.
type Upgrade struct {
	// State is idle, running, paused, stopped (new ones do not work) or done.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	// Digest new tasks get, Old are tasks of another one, New of that one.
	Digest string `json:"digest"`
	Old    int    `json:"old"`
	New    int    `json:"new"`
	// Previous is the digest that a rollback goes back to; "": there is none.
	Previous string `json:"previous,omitempty"`
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total"` // that match
	// Next is the value of after for the next page; "": this is the last.
	Next string `json:"next,omitempty"`
}

// Why says why nothing is mining on an agent (or on all): the last decisions about its
// offers, grouped by reason.
type Why struct {
	Agent string `json:"agent,omitempty"`
	// Answer is one sentence.
	Answer string      `json:"answer"`
	Groups []WhyReason `json:"reasons"`
	// Promises say by what rules the running miners give their cpus back, most agents first.
	Promises []WhyPromise `json:"promises"`
}

// WhyPromise is a Host's promise, with the number of miners that it holds for.
type WhyPromise struct {
	Promise string `json:"promise"`
	Miners  int    `json:"miners"`
	Example string `json:"example"` // an agent's hostname
}

// Event is one line of lode events.
type Event struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	Message  string    `json:"message,omitempty"`
	Agent    string    `json:"agent,omitempty"`
	Master   string    `json:"master,omitempty"`
	Task     *Task     `json:"task,omitempty"`
	Ended    *Ended    `json:"ended,omitempty"`
	Block    *Block    `json:"block,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
}
