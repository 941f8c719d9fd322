package stratum

// Share is one mining.submit.
type Share struct {
	Worker      string
	JobID       string
	Extranonce2 []byte
	Time        uint32 // unix seconds
	Nonce       uint32
	// VersionBits is the sixth parameter; HasVersionBits whether it was there.
	VersionBits    uint32
	HasVersionBits bool
	// Worth is the difficulty that an accepted share counts as: the Handler sets it. 0: that
	// of the connection.
	Worth Difficulty

	bareID bool // JobID is a number, and is written as one
}
