// Package control is what the conformance suite and its probe executor say to each
// other. The probe asks for one command after the other and reports results and events over
// HTTP, so only the suite needs an address that agents can reach.
//
//	GET  BASE/next      the next command; 204: none yet, ask again
//	POST BASE/result    the result of a command
//	POST BASE/event     one record of an event stream
package control

// Op is what a command asks for.
type Op string

// The commands of the suite.
const (
	OpProcess Op = "process" // report the process itself
	OpHTTP    Op = "http"    // one request to the agent, with its answer
	OpOpen    Op = "open"    // like OpHTTP, but the body is a stream of events
	OpClose   Op = "close"   // close the stream
	OpExit    Op = "exit"    // exit with Code; no result
	OpSignal  Op = "signal"  // send itself signal Code; no result
	OpWrite   Op = "write"   // write Text to stdout
	OpRead    Op = "read"    // read the file Path
	OpSpawn   Op = "spawn"   // start a child that holds on; its pid comes back
	OpIgnore  Op = "ignore"  // ignore SIGTERM
)

// Command is one order to the probe.
type Command struct {
	Seq    int
	Op     Op
	HTTP   *Request `json:",omitempty"`
	Stream string   `json:",omitempty"` // name of the stream to open or close
	Code   int      `json:",omitempty"`
	Path   string   `json:",omitempty"`
	Text   string   `json:",omitempty"`
}

// Request is an HTTP request to the agent.
type Request struct {
	Method, Path string
	Header       map[string]string `json:",omitempty"`
	Body         []byte            `json:",omitempty"`
}

// Answer is the answer; Body is empty for a stream that was opened.
type Answer struct {
	Status int
	Header map[string][]string
	Body   []byte
}

// Result answers the command of the same Seq. Err is set if the command
// could not be carried out, for example a refused connection.
type Result struct {
	Seq     int
	Err     string   `json:",omitempty"`
	HTTP    *Answer  `json:",omitempty"`
	Process *Process `json:",omitempty"`
	Data    []byte   `json:",omitempty"`
	PID     int      `json:",omitempty"`
}

// Process describes the probe as the agent started it.
type Process struct {
	Environ          map[string]string
	Args             []string
	Cwd              string
	PID, PPID        int
	PGID, SID        int
	UID, GID         int
	Umask            int
	FDs              map[string]string // number → link
	ParentCommand    []string
	ExecutableMode   uint32 // permission bits of the executable
	ExecutableDigest string // SHA-256, hex
	SandboxMode      uint32 // permission bits of the working directory
	Files            map[string]uint32
}

// Event is one record of a stream, or its end.
type Event struct {
	Stream string
	Record []byte `json:",omitempty"`
	End    bool   `json:",omitempty"`
	Err    string `json:",omitempty"`
}
