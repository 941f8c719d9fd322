package jobs

import "strconv"

// Editions is how many forms a job has. They are the same work with another id and other
// hashes: a miner takes a new difficulty with the next job, and some drop a job whose id
// they have seen. The forms are fixed beforehand and the same for all miners, so that
// whatever single miners do, there are never more of them.
const Editions = 16

// Key is the number of a job and that of an edition in one: editions that a miner is
// sent have growing keys. Written with base 36 it is the job id.
type Key uint64

// KeyOf is the key of an edition, 0 to Editions-1.
func KeyOf(number uint64, edition int) Key { return Key(number*Editions + uint64(edition)) }

// Number is that of the job.
func (k Key) Number() uint64 { return uint64(k) / Editions }

// Edition is which one of the job it is.
func (k Key) Edition() int { return int(k % Editions) }

// ID is what miners know the edition by.
func (k Key) ID() string { return strconv.FormatUint(uint64(k), 36) }

// ParseID reads a job id, without allocations; ok: it is one that ID can have made.
func ParseID(id string) (k Key, ok bool) {
	const longest = 12 // 36^12 < 2^64
	if len(id) == 0 || len(id) > longest || id[0] == '0' {
		return 0, false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9':
			k = 36*k + Key(c-'0')
		case c >= 'a' && c <= 'z':
			k = 36*k + Key(c-'a') + 10
		default:
			return 0, false
		}
	}
	return k, true
}
