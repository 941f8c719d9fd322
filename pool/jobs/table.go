package jobs

import (
	"sync"
	"sync/atomic"
	"time"

	"lode/pool/share"
)

// How long and how many jobs are remembered. A block for a job that was replaced is still
// worth its submission; one for another tip, as long as the race may be open, and then it
// need not be possible to assemble it any more.
const (
	memory        = share.Memory
	retiredMemory = 2 * time.Minute
	limit         = 1024
	// limitBytes is of coinbases, and limitLeast is how many jobs are remembered whatever
	// theirs are: a pool may send 160 KB with each of two jobs a second.
	limitBytes = 32 << 20
	limitLeast = 16
	// limitMemory is of what origins keep: the list of the transactions of a full block has
	// half a MB, and a node behind a balancer may have another template twice a second.
	limitMemory = 64 << 20
)

// Table remembers the jobs that miners may still send shares for. Nothing that a miner
// does changes it.
type Table struct {
	first   uint64              // number before the first job's
	current atomic.Pointer[Job] // nil: none yet
	grace   time.Duration       // for shares of jobs that another one made worthless

	mu       sync.RWMutex // guards the rest
	last     uint64
	byNumber map[uint64]*Job
	order    []*Job // oldest first
	tip      uint64
}

// NewTable makes an empty one; first is the number before the first job's, grace is for how
// long shares still count when another job has made theirs worthless.
func NewTable(first uint64, grace time.Duration) *Table {
	return &Table{first: first, grace: grace, last: first, byNumber: make(map[uint64]*Job)}
}

// Add makes the current job of w. clean retires all jobs before it.
func (t *Table) Add(now time.Time, w *Work, clean bool) *Job {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	if clean {
		t.tip++
		for _, old := range t.order {
			old.retire(now)
		}
	}
	j := &Job{Work: w, Number: t.last, Clean: clean, Tip: t.tip, sent: now, variants: make(map[variantKey]*Variant)}
	t.byNumber[j.Number] = j
	t.order = append(t.order, j)
	if before := t.current.Swap(j); before != nil {
		before.rest()
	}
	t.forget(now)
	return j
}

// Unsearched is work at a time at which no job that is remembered has searched the same.
func (t *Table) Unsearched(w *Work) *Work {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, j := range t.order {
		w = w.after(j.Work)
	}
	return w
}

// Forget forgets the jobs that no share can come for any more. Add does so too; it is to be
// called from time to time where there are no new ones.
func (t *Table) Forget(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(now)
}

func (t *Table) forget(now time.Time) {
	bytes, memory := int64(0), int64(0)
	for _, j := range t.order {
		bytes += j.size.Load()
		memory += j.memory()
	}
	for len(t.order) > limit || len(t.order) > limitLeast && (bytes > limitBytes || memory > limitMemory) || len(t.order) > 1 && t.order[0].useless(now, t.grace) {
		bytes -= t.order[0].size.Load()
		memory -= t.order[0].memory()
		delete(t.byNumber, t.order[0].Number)
		t.order[0] = nil
		t.order = t.order[1:]
	}
}

// memory is what the job's origin keeps for it.
func (j *Job) memory() int64 {
	if k, ok := j.Origin.(Keeper); ok {
		return k.Memory()
	}
	return 0
}

func (j *Job) useless(now time.Time, grace time.Duration) bool {
	return now.Sub(j.sent) > memory || j.Retired(now, max(retiredMemory, grace))
}

// Get finds a job and its edition by the id; nil: it is not known, or not any more.
func (t *Table) Get(id string) (*Job, Key) {
	key, ok := ParseID(id)
	if !ok {
		return nil, 0
	}
	if j := t.current.Load(); j != nil && j.Number == key.Number() {
		return j, key // as most are
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byNumber[key.Number()], key
}

// Latest is the current job; nil: there has been none.
func (t *Table) Latest() *Job { return t.current.Load() }

// Last is the number of the job made last.
func (t *Table) Last() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.last
}

// Made is how many jobs there have been.
func (t *Table) Made() uint64 { return t.Last() - t.first }
