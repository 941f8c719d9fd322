package vardiff

// bookSize is how many changes of difficulty a Book remembers. Changes are 20 s
// apart, except for bursts; older jobs are long replaced.
const bookSize = 8

// Book remembers for one connection the difficulty that was in force when each job
// was sent. Jobs are known by numbers that grow. The zero value is an empty book.
//
// A raise holds for the jobs that are sent after it; a share for an older job is
// judged as before. A lower difficulty holds for all jobs at once: no share can be
// refused because of it.
type Book struct {
	entries [bookSize]bookEntry
	n       int
}

type bookEntry struct {
	from       uint64 // first job
	difficulty float64
}

// Set notes that jobs from number from on are sent with the difficulty.
func (b *Book) Set(from uint64, difficulty float64) {
	for i := range b.entries[:b.n] {
		b.entries[i].difficulty = min(b.entries[i].difficulty, difficulty)
	}
	if b.n > 0 && b.entries[b.n-1].from >= from {
		// Two changes before one job: the later holds.
		b.entries[b.n-1] = bookEntry{b.entries[b.n-1].from, difficulty}
		return
	}
	if b.n == bookSize {
		// The oldest two become one, with the kinder difficulty.
		b.entries[1].from = b.entries[0].from
		b.entries[1].difficulty = min(b.entries[0].difficulty, b.entries[1].difficulty)
		copy(b.entries[:], b.entries[1:])
		b.n--
	}
	b.entries[b.n] = bookEntry{from, difficulty}
	b.n++
}

// Difficulty is what a share for the job is judged by; 0 if the book is empty or
// the job older than all its entries.
func (b *Book) Difficulty(job uint64) float64 {
	for i := b.n - 1; i >= 0; i-- {
		if b.entries[i].from <= job {
			return b.entries[i].difficulty
		}
	}
	return 0
}
