// Package stratum speaks Stratum v1, the line-based JSON protocol between miners
// and pools, from both sides.
//
// To mine at a pool, give NewClient a URL, run it, and read Assignments: each is
// what to search now, the newest always. Submit hands in a share. Dial makes one
// connection without retries, for programs with a failover of their own.
//
//	c, err := stratum.NewClient(stratum.ClientOptions{URL: "stratum+tcp://pool:3333", User: "me.rig"})
//	go c.Run(ctx)
//	for a := range c.Assignments() { … }
//
// To be a pool, implement Handler, make a Server and give it listeners; EncodeJob
// and Server.Broadcast bring a job to all miners.
//
// Job turns a mining.notify into 80-byte headers, Difficulty and Target convert
// between pool difficulty and 256-bit targets.
//
// docs/stratum.md lists what is supported and which clients' quirks are honoured.
package stratum

// DefaultVersionMask is the version bits that may be rolled (BIP 320).
const DefaultVersionMask = 0x1fffe000

// WideVersionMask is the version bits that BIP 323 (a draft) lets be rolled: eight more.
const WideVersionMask = 0x1fffffe0

// Error is a refusal as it stands in a reply: [code, text, null].
type Error struct {
	Code int
	Text string
}

func (e *Error) Error() string { return e.Text }

// Codes of Error (slush's, understood by all miners).
const (
	CodeOther         = 20
	CodeStale         = 21 // job not found
	CodeDuplicate     = 22
	CodeLowDifficulty = 23
	CodeUnauthorized  = 24
	CodeNotSubscribed = 25
)
