package stratum

// Handler is the pool behind a Server. Calls for one connection come one after
// another, in the order of its lines; calls for several connections come at once.
// A *Error that a method returns is sent to the miner, any other error as CodeOther.
//
// What a method sends on its Conn goes ahead of the reply to the line that it is
// called for, which confuses some miners before they have logged in. Authorized and
// SuggestDifficulty are called when the replies are on their way: the first is the place for
// difficulty and job.
type Handler interface {
	// Connected is called before the first line is read; an error refuses the connection.
	Connected(c *Conn) error
	// Subscribe assigns the search space. resume is the session id that the
	// client asks to resume, or "". It is called again for a repeated subscribe,
	// which is to be answered with the same extranonce1.
	Subscribe(c *Conn, resume string) (Subscription, error)
	Authorize(c *Conn, user, password string) error
	// Authorized is called when the connection has subscribed and the reply to its
	// first accepted authorize is on its way: now send difficulty and job. It is
	// called once more after each repeated subscribe. From the moment before the
	// call on, Broadcast includes the connection.
	Authorized(c *Conn)
	// Submit judges a share of a worker that was authorized on the connection; nil
	// accepts it. The Share and its Extranonce2 are reused after the call; its
	// strings may be kept.
	Submit(c *Conn, s *Share) error
	// SuggestDifficulty is a client's wish (mining.suggest_difficulty, suggest_target,
	// or d= in the password) or, where least is true, what it cannot do with less than
	// (minimum-difficulty); d is Valid. Some devices repeat it every 30 s.
	SuggestDifficulty(c *Conn, d Difficulty, least bool)
	// Transactions gives the raw transactions of a job for mining.get_transactions, or an
	// error where they are more than MaxTransactions leaves room for. Several jobs may be
	// asked for in turn: it should cost little.
	Transactions(c *Conn, jobID string) ([][]byte, error)
	// Disconnected is the last call for a connection whose Connected returned nil.
	Disconnected(c *Conn, reason error)
}

// Subscription is the answer to mining.subscribe.
type Subscription struct {
	SessionID       string
	Extranonce1     []byte
	Extranonce2Size int
}

// BatchHandler is a Handler that judges several shares in less time than one after
// another. Server then calls SubmitBatch where a miner's input holds several, and
// Submit where it holds one.
type BatchHandler interface {
	Handler
	// SubmitBatch judges shares of one connection in their order, as Submit does, and
	// sets their verdicts. What it sends on its Conn goes ahead of all the replies.
	SubmitBatch(c *Conn, batch []*Submission)
}

// Submission is a share in a batch.
type Submission struct {
	Share
	Verdict error // what Submit would return
}

// StrayHandler is a Handler that wants to see shares of workers that were not authorized
// on their connection. They are refused whatever it does, but one may be a block.
type StrayHandler interface {
	Handler
	// SubmitStray is called as Submit is, on connections that have subscribed. The
	// Worker is printable text, or "".
	SubmitStray(c *Conn, s *Share)
}
