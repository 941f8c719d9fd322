package miner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"lode/miner/internal/scan"
)

// worker is one hashing thread.
type worker struct {
	engine *Engine
	index  int
	wake   chan struct{} // a signal to look at the engine again

	assignment *assignment
	cursor     cursor
	kernel     *scan.Kernel
	scanner    scan.Scanner
	scanners   [2]readyScanner // plain, rolling
	kind       atomic.Int32    // of its core
	owed       time.Duration   // rest that the duty cycle still asks for

	mark  time.Duration // the engine's clock when the last batch ended; 0: unknown
	gives bool          // its cpu to whoever wants it
	gave  time.Duration // the engine's clock when it did so last
	sense *sense        // nil: it does not look out for others
	tid   atomic.Int32  // of the thread, for its clock; 0: it does not run
	cpu   atomic.Int64  // its cpu time at the end, nanoseconds

	idle   atomic.Bool   // of SCHED_IDLE
	floor  atomic.Uint64 // nanoseconds a hash on a free core, bits of a float64; 0: not known
	giving giving

	_        [64]byte // the counters have cache lines of their own
	hashes   atomic.Uint64
	hitCount atomic.Uint64
	dropped  atomic.Uint64
	_        [64]byte
}

// readyScanner is a scanner and the kernel that it is of.
type readyScanner struct {
	kernel *scan.Kernel
	scan.Scanner
}

func newWorker(e *Engine, index int) *worker {
	w := &worker{engine: e, index: index, wake: make(chan struct{}, 1)}
	if e.options.Sense {
		w.sense = new(sense)
	}
	w.gives = e.options.Sense || e.options.Idle || e.options.Nice > 0
	w.cursor.midstates = scan.NewMidstates()
	return w
}

// take turns to a kernel. What it needs is made by the thread that uses it, and only if
// there is work for it.
func (w *worker) take(k *scan.Kernel) {
	ready := &w.scanners[0]
	if k.Rolling {
		ready = &w.scanners[1]
	}
	if ready.kernel != k {
		*ready = readyScanner{k, k.New()}
	}
	if cap(w.cursor.job.States) < k.States {
		w.cursor.job.States = make([]scan.State, 0, k.States)
	}
	w.kernel, w.scanner = k, ready.Scanner
}

// run hashes until the engine stops, on one of these cpus.
func (w *worker) run(place place) {
	// The thread keeps its priority and cpu: it is not unlocked, so that the
	// runtime ends it with the goroutine.
	runtime.LockOSThread()
	e := w.engine
	w.idle.Store(e.options.placeThread(place))
	w.tid.Store(threadID())
	if e.options.CoreSched && (w.idle.Load() || e.group.givesWay()) {
		e.cookie.join(w.tid.Load(), &e.system, e.options.Log)
	}
	w.kind.Store(int32(place.kind))
	if w.sense != nil {
		w.sense.sensor.Slow, w.sense.core = place.alone, place.shared
	}
	for !w.engine.stopped.Load() {
		a := w.engine.current.Load()
		if a != nil && a != w.assignment {
			w.begin(a)
			w.mark = 0
		}
		if a == nil || w.cursor.done || w.index >= int(w.engine.active.Load()) {
			<-w.wake
			w.mark = 0
			continue
		}
		w.step()
	}
	w.cpu.Store(int64(w.engine.system.cpuTime(w.index)))
	w.tid.Store(0)
}

// step does a batch, and what there is to do between two: rest and heed others.
func (w *worker) step() {
	duty := w.duty()
	timed := duty < 1 || w.gives
	if timed && w.mark == 0 {
		w.resume()
	}
	hashes := w.batch()
	if !timed {
		w.mark = 0
		return
	}
	now := w.engine.clock()
	if w.gives && now-w.gave >= giveEvery && (w.sense == nil || w.sense.governor.Yields()) {
		w.engine.system.yield(w.index)
		now = w.engine.clock()
		w.gave = now
	}
	worked := now - w.mark
	w.mark = now
	if w.sense != nil {
		worked = w.heed(worked, hashes)
	}
	if duty < 1 && w.rest(worked, duty) {
		w.mark = 0
	}
}

// giveEvery is how often a thread that gives its cpu to others tells the kernel to choose
// anew who has it. Priority alone is not enough: under EEVDF (Linux 6.6 and later) whoever
// wakes up may by a hair not be "eligible" yet, even beside SCHED_IDLE, and has to wait for
// the next tick, 1 to 10 ms. It costs about 1 µs. See sched_yield(2).
const giveEvery = 400 * time.Microsecond

func (w *worker) duty() float64 { return math.Float64frombits(w.engine.duty.Load()) }

// begin turns to the first point of a work.
func (w *worker) begin(a *assignment) {
	e := w.engine
	w.assignment = a
	w.take(a.kernels.at(int(w.kind.Load())).of(a.work))
	s := share(a.work, w.index, len(e.workers), e.nonces, a.kernels.nonces(a.work))
	w.cursor.begin(a.work, s, w.kernel.States, a.mask)
	if !w.cursor.done {
		w.scanner.Reset(&w.cursor.job)
	}
}

// batch hashes for a fraction of a millisecond and says how many hashes that were.
func (w *worker) batch() int {
	c := &w.cursor
	states := len(c.job.States)
	count := w.kernel.Batch / states / w.kernel.Nonces * w.kernel.Nonces
	count = int(min(uint64(count), c.space.nonceEnd-c.nonce))
	for _, found := range w.scanner.Scan(uint32(c.nonce), count) {
		w.check(found)
	}
	w.hashes.Add(uint64(count * states))
	if c.advance(uint64(count)) {
		w.scanner.Reset(&c.job)
	}
	return count * states
}

// rest sleeps for the share of time that the duty cycle leaves free, in pieces
// that are long enough to be worth a sleep. It says whether it slept.
func (w *worker) rest(worked time.Duration, duty float64) bool {
	const piece = 5 * time.Millisecond
	w.owed += time.Duration(float64(worked) * (1 - duty) / duty)
	if w.owed < piece {
		return false
	}
	begin := time.Now()
	time.Sleep(w.owed)
	w.owed = max(w.owed-time.Since(begin), -4*piece) // it slept longer: a credit, but a bounded one
	return true
}

// check hashes a candidate again and reports it if it is a hit.
func (w *worker) check(found scan.Candidate) {
	c := &w.cursor
	version := c.work.version(c.version + uint64(found.State))
	header := c.header
	binary.LittleEndian.PutUint32(header[:], version)
	binary.LittleEndian.PutUint32(header[76:], found.Nonce)
	once := sha256.Sum256(header[:])
	hash := sha256.Sum256(once[:])
	display := hash
	slices.Reverse(display[:])
	if bytes.Compare(display[:], c.work.Target[:]) > 0 {
		return
	}
	w.hitCount.Add(1)
	hit := Hit{
		Work:        c.work,
		Extranonce2: c.extranonce2,
		Version:     version,
		Time:        c.time,
		Nonce:       found.Nonce,
		Hash:        hash,
	}
	select {
	case w.engine.hits <- hit:
	default:
		w.dropped.Add(1)
	}
}
