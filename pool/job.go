package pool

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/share"
	"lode/pool/template"
	"lode/stratum"
	"lode/stratum/merkle"
)

// How long and how many jobs are remembered. A block candidate for a job that was
// replaced is still worth its submission.
const (
	jobMemory = share.Memory
	jobLimit  = 1024
)

// ntimeRoom is how far a miner may move a job's time ahead, in seconds (the common
// bound of pools; nodes refuse 7200 s ahead of their clock).
const ntimeRoom = 7000

// work is what an upstream has to be searched: the common base of several jobs.
type work struct {
	source  int // index of the upstream
	prev    chainhash.Hash
	height  int64 // 0: unknown
	bits    uint32
	network stratum.Target
	// networkDifficulty is that of network.
	networkDifficulty float64
	version           uint32 // with the bits of mask cleared
	mask              uint32
	time              uint32
	minTime, maxTime  uint32 // maxTime 0: none
	since             time.Time
	clean             bool   // the pool wants earlier jobs forgotten
	place             *place // where a pool's work can be searched

	node   *template.Work // of a node
	script []byte         // payout script that goes with node
	pool   *poolWork      // of a pool
}

// editions is how many forms a job has. They are the same work with another id and other
// hashes: a miner takes a new difficulty with the next job, and some drop a job whose id
// they have seen. The forms are fixed beforehand and the same for all miners, so that
// whatever single miners do, there are never more of them.
const editions = 16

// jobKey is the number of a job and that of an edition in one: editions that a miner is
// sent have growing keys. Written with base 36 it is the job id.
type jobKey uint64

func keyOf(number uint64, edition int) jobKey { return jobKey(number*editions + uint64(edition)) }

func (k jobKey) number() uint64 { return uint64(k) / editions }
func (k jobKey) edition() int   { return int(k % editions) }
func (k jobKey) id() string     { return strconv.FormatUint(uint64(k), 36) }

// parseKey reads a job id, without allocations; ok: it is one that id can have made.
func parseKey(id string) (k jobKey, ok bool) {
	const longest = 12 // 36^12 < 2^64
	if len(id) == 0 || len(id) > longest || id[0] == '0' {
		return 0, false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= '0' && c <= '9':
			k = 36*k + jobKey(c-'0')
		case c >= 'a' && c <= 'z':
			k = 36*k + jobKey(c-'a') + 10
		default:
			return 0, false
		}
	}
	return k, true
}

// job is work as it was sent to miners.
type job struct {
	*work
	number uint64
	clean  bool   // earlier jobs are worthless
	tip    uint64 // how many clean jobs there have been
	sent   time.Time
	// retired is when another job made this one worthless, in unix nanoseconds; 0: not.
	retired atomic.Int64

	usual    [editions]atomic.Pointer[variant] // those that were asked for last
	mu       sync.Mutex
	variants map[variantKey]*variant
	template func(size, edition int) (*template.Work, error)
}

// variantKey is the size of the whole extranonce and the edition.
type variantKey struct{ size, edition int }

// variant is an edition of a job for one size of the extranonce.
type variant struct {
	size    int
	job     *stratum.Job
	roots   *merkle.Roots
	work    *template.Work // of a node
	encoded [2]*stratum.EncodedJob
}

// key is that of an edition.
func (j *job) key(edition int) jobKey { return keyOf(j.number, edition) }

// variant builds or finds an edition of the job for miners whose extranonce1 and
// extranonce2 have size bytes together.
func (j *job) variant(size, edition int) (*variant, error) {
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

// build makes a variant. An edition of a node's work has a coinbase of its own, that of a
// pool's work can differ in time alone.
func (j *job) build(size, edition int) (*variant, error) {
	v := &variant{size: size, job: &stratum.Job{
		ID: j.key(edition).id(), PrevBlock: j.prev, Version: j.version, Bits: j.bits, Time: j.time,
	}}
	if j.pool != nil {
		if err := j.pool.fill(v.job, size); err != nil {
			return nil, err
		}
		v.job.Time += uint32(edition)
	} else {
		w, err := j.template(size, edition)
		if err != nil {
			return nil, err
		}
		v.work = w
		v.job.Coinbase1, v.job.Coinbase2, v.job.MerkleBranch = w.Coinbase1, w.Coinbase2, w.Branch
	}
	v.roots = merkle.New(v.job.Coinbase1, v.job.Coinbase2, v.job.MerkleBranch)
	for i, clean := range []bool{false, true} {
		encode := *v.job
		encode.Clean = clean
		v.encoded[i] = stratum.EncodeJob(&encode)
		v.encoded[i].Since = j.since
	}
	return v, nil
}

func (v *variant) line(clean bool) *stratum.EncodedJob {
	if clean {
		return v.encoded[1]
	}
	return v.encoded[0]
}

// jobs remembers the jobs that miners may still send shares for.
type jobs struct {
	first    uint64 // number before the first job's
	instance []byte // sets the coinbases of this proxy apart
	options  func(script []byte, size int, instance []byte) template.Options

	mu       sync.RWMutex // guards the rest
	last     uint64
	byNumber map[uint64]*job
	order    []*job // oldest first
	tip      uint64
	current  *job // nil: none yet
}

func newJobs(instance []byte, first uint64, options func([]byte, int, []byte) template.Options) *jobs {
	return &jobs{first: first, instance: instance, options: options, last: first, byNumber: make(map[uint64]*job)}
}

// add makes the current job of w. clean retires all jobs before it.
func (s *jobs) add(now time.Time, w *work, clean bool) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	j := &job{work: w, number: s.last, clean: clean, sent: now, variants: make(map[variantKey]*variant)}
	if w.node != nil {
		// Each job has a coinbase of its own: a miner that begins anew with a job's
		// extranonces must not find the shares of the job before once more.
		j.template = func(size, edition int) (*template.Work, error) {
			instance := binary.BigEndian.AppendUint32(append([]byte(nil), s.instance...), uint32(j.key(edition)))
			return w.node.Resized(s.options(w.script, size, instance))
		}
	}
	if clean {
		s.tip++
		for _, old := range s.order {
			old.retired.CompareAndSwap(0, now.UnixNano())
		}
	}
	j.tip = s.tip
	s.byNumber[j.number] = j
	s.order = append(s.order, j)
	for len(s.order) > jobLimit || len(s.order) > 1 && now.Sub(s.order[0].sent) > jobMemory {
		delete(s.byNumber, s.order[0].number)
		s.order[0] = nil
		s.order = s.order[1:]
	}
	s.current = j
	return j
}

// again is the work for one more job on the same base. Work of a node has a coinbase
// for each job; that of a pool can differ in time alone.
func (w *work) again(now time.Time) *work {
	next := *w
	if w.node != nil {
		return &next
	}
	// The editions have taken the next seconds.
	behind := now.Sub(w.since) / time.Second
	if behind < editions {
		return nil
	}
	next.time += uint32(min(behind, 1<<20))
	next.since = w.since.Add(behind * time.Second)
	if w.maxTime > 0 {
		if next.time = min(next.time, w.maxTime-editions+1); next.time < w.time+editions {
			return nil
		}
	}
	return &next
}

// get finds a job and its edition by the id; nil: it is not known, or not any more.
func (s *jobs) get(id string) (*job, jobKey) {
	key, ok := parseKey(id)
	if !ok {
		return nil, 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byNumber[key.number()], key
}

// latest is the current job; nil: there has been none.
func (s *jobs) latest() *job {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// lastNumber is the number of the job made last.
func (s *jobs) lastNumber() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// capDifficulty lowers a difficulty to what a pool asks for.
func (w *work) capDifficulty(d float64) float64 {
	if w.pool != nil {
		return w.pool.capDifficulty(d)
	}
	return d
}

// made is how many jobs there have been.
func (s *jobs) made() uint64 { return s.lastNumber() - s.first }

// timeError judges a share's time.
func (w *work) timeError(ntime uint32) *stratum.Error {
	switch {
	case ntime < w.minTime:
		return errTimeTooOld
	case uint64(ntime) > uint64(w.time)+ntimeRoom, w.maxTime > 0 && ntime > w.maxTime:
		return errTimeTooNew
	}
	return nil
}

func newNodeWork(source int, t *template.Template, w *template.Work, mask uint32, since time.Time) (*work, error) {
	network, err := stratum.TargetFromBits(t.Bits)
	if err != nil {
		return nil, fmt.Errorf("block template: %w", err)
	}
	mask &^= t.RequiredBits
	minTime := t.MinTime
	if minTime == 0 {
		minTime = t.CurrentTime
	}
	maxTime, now := t.MaxTime, max(t.CurrentTime, t.MinTime)
	if t.FixedTime {
		minTime, maxTime = now, now
	}
	return &work{
		source: source, prev: t.PreviousHash, height: t.Height, bits: t.Bits,
		network: network, networkDifficulty: float64(network.Difficulty()),
		version: t.Version &^ mask, mask: mask,
		time: now, minTime: minTime, maxTime: maxTime,
		since: since, node: w,
	}, nil
}
