package jobs

import (
	"sync"
	"sync/atomic"
	"time"

	"lode/pool/template"
	"lode/stratum"
	"lode/stratum/merkle"
)

// Job is work as it was sent to miners.
type Job struct {
	*Work
	Number uint64
	Clean  bool   // earlier jobs are worthless
	Tip    uint64 // how many clean jobs there have been

	sent time.Time
	// retired is when another job made this one worthless, in nanoseconds after sent, and one
	// more; 0: not. What time it is said to be may be set meanwhile.
	retired atomic.Int64

	usual    [Editions]atomic.Pointer[Variant] // those that were asked for last
	size     atomic.Int64                      // bytes of the coinbase, once a variant was built
	mu       sync.Mutex                        // guards variants
	variants map[variantKey]*Variant
}

// variantKey is the size of the whole extranonce and the edition.
type variantKey struct{ size, edition int }

// Variant is an edition of a job for one size of the extranonce.
type Variant struct {
	Job   *stratum.Job
	Roots *merkle.Roots
	Work  template.Work

	size    int
	since   time.Time
	encoded [2]atomic.Pointer[stratum.EncodedJob] // not clean, clean; nil: it was not sent yet, or
	rested  atomic.Bool                           // another job is the current one
}

// Key is that of an edition.
func (j *Job) Key(edition int) Key { return KeyOf(j.Number, edition) }

// Retired reports whether the job has been worthless for grace.
func (j *Job) Retired(now time.Time, grace time.Duration) bool {
	retired := j.retired.Load()
	return retired != 0 && now.Sub(j.sent)-time.Duration(retired-1) >= grace
}

// retire notes that the job is worthless from now on, if it is not already.
func (j *Job) retire(now time.Time) {
	j.retired.CompareAndSwap(0, max(int64(now.Sub(j.sent)), 0)+1)
}

// Variant builds or finds an edition of the job for miners whose extranonce1 and
// extranonce2 have size bytes together.
func (j *Job) Variant(size, edition int) (*Variant, error) {
	if v := j.usual[edition].Load(); v != nil && v.size == size {
		return v, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	v := j.variants[variantKey{size, edition}]
	if v == nil {
		var err error
		if v, err = j.build(size, edition); err != nil {
			return nil, err
		}
		j.variants[variantKey{size, edition}] = v
	}
	j.usual[edition].Store(v)
	return v, nil
}

func (j *Job) build(size, edition int) (*Variant, error) {
	w, err := j.Origin.Make(size, j.Key(edition))
	if err != nil {
		return nil, err
	}
	v := &Variant{size: size, since: j.Since, Work: w, Job: &stratum.Job{
		ID: j.Key(edition).ID(), PrevBlock: j.Prev, Version: j.Version, Bits: j.Bits, Time: j.Time,
	}}
	if !j.Origin.OwnCoinbase() {
		v.Job.Time += uint32(edition)
	}
	v.Job.Coinbase1, v.Job.Coinbase2 = w.Coinbase()
	v.Job.MerkleBranch = w.Branch()
	v.Roots = merkle.New(v.Job.Coinbase1, v.Job.Coinbase2, v.Job.MerkleBranch)
	// Only a pool's can be great, and its editions have the same. So those that miners ask for
	// push no job out of the table.
	j.size.CompareAndSwap(0, int64(len(v.Job.Coinbase1)+len(v.Job.Coinbase2)))
	return v, nil
}

// Variants is how many have been built.
func (j *Job) Variants() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.variants)
}

// Line is the variant as miners get it.
func (v *Variant) Line(clean bool) *stratum.EncodedJob {
	encoded := &v.encoded[0]
	if clean {
		encoded = &v.encoded[1]
	}
	if e := encoded.Load(); e != nil {
		return e
	}
	job := *v.Job
	job.Clean = clean
	e := stratum.EncodeJob(&job)
	e.Since = v.since
	if !v.rested.Load() {
		encoded.Store(e)
	}
	return e
}

// rest lets go of what is only needed to send the job: another one is the current one.
func (j *Job) rest() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, v := range j.variants {
		v.rested.Store(true)
		for i := range v.encoded {
			v.encoded[i].Store(nil)
		}
	}
}
